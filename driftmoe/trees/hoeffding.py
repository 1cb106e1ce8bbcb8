class HoeffdingTreeClassifier: pass
