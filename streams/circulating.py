"""Real data sets of which copies circulate, most of them edited by those who passed them on.

Where a SHA-256 is given, it is that of the file at its location. Where none is, the first copy must have the published
number of rows, features and classes.
"""

from __future__ import annotations

from streams.source import Source

_EDITED = (
    "https://raw.githubusercontent.com/ogozuacik/concept-drift-datasets-scikit-multiflow/"
    "fcbad97fe3df0e6d31020a6a74e3b456fd3a8377/real-world/"
)
_ARFF = (
    "https://raw.githubusercontent.com/Anjin-Liu/ConceptDriftDatasets/"
    "32048078fcdce2f639c882b4d92c2c1d1f019d77/RealWorld/"
)
_CC_BY = "CC BY 4.0"
_LOSING = (
    "V. Losing, B. Hammer, H. Wersing (2016). KNN classifier with self adjusting memory for heterogeneous "
)
_KATAKIS = "I. Katakis, G. Tsoumakas, I. Vlahavas "
KDD99 = "S. Stolfo, W. Fan, W. Lee, A. Prodromidis, P. Chan (1999). KDD Cup 1999 data. UCI machine learning repository."


def _usenet(number: int, sha256: str, description: str) -> Source:
    return Source(
        file=f"usenet{number}.arff",
        description=f"Messages of newsgroups, shown one by one to a user: interesting (1) or not (0)? {description} "
        "99 flags of words.",
        n_samples=1_500,
        n_features=99,
        n_classes=2,
        urls=(f"{_ARFF}Classification/usenet{number}/usenet{number}.arff",),
        sha256=sha256,
        drifts=(300, 600, 900, 1_200),
        others=(f"usenet{number}.csv",),
        citation=_KATAKIS
        + "(2008). An ensemble of classifiers for coping with recurring contexts in data streams. "
        "ECAI.",
    )


CIRCULATING: dict[str, Source] = {
    "rialto": Source(
        file="rialto.csv",
        description="Pictures of a webcam beside the Rialto bridge in Venice, on 20 days: which of ten buildings is "
        "it? 27 numbers, a histogram of its colours. The labels come in a fixed order, 0 to 9 in turn.",
        n_samples=82_250,
        n_features=27,
        classes=tuple(range(10)),
        n_classes=10,
        urls=(_EDITED + "rialto.csv",),
        parquet_sha256="138b4b81159965db6963037db4b57ad54628f3adf4f9aa1989f7a1226cb95046",
        others=("rialto.arff",),
        citation=_LOSING + "concept drift. ICDM.",
    ),
    "outdoor": Source(
        file="outdoorStream.csv",
        description="Pictures of objects in a garden, ten in a row of each approach: which of 40 is it? 21 numbers, a "
        "histogram of its colours. Labels repeat.",
        n_samples=4_000,
        n_features=21,
        classes=tuple(range(40)),
        urls=(_EDITED + "outdoorStream.csv",),
        sha256="e8a9f253094f9738273bd823bb171582df57fafc17bd07b92e852b138aa7d1e0",
        n_classes=40,
        others=("outdoor.arff", "outdoor.csv"),
        citation="V. Losing, B. Hammer, H. Wersing (2015). Interactive online learning for obstacle classification on "
        "a mobile robot. IJCNN.",
    ),
    "powersupply": Source(
        file="powersupply.arff",
        description="Hours of an Italian electricity company, 1995 to 1998: which hour of the day is it? Two numbers, "
        "the power from the main grid and from others. The labels come in a fixed order, 0 to 23 in turn but for "
        "one.",
        n_samples=29_928,
        n_features=2,
        urls=("https://www.cse.fau.edu/~xqzhu/Stream/powersupply.arff", _ARFF + "powersupply.arff"),
        sha256="3922fce2b263777668bf62f5203650a32b8a79e211132c512c3ca1e9807c1c90",
        n_classes=24,
        others=("powersupply.csv",),
        citation="X. Zhu (2010). Stream data mining repository.",
    ),
    "usenet1": _usenet(
        1,
        "103b2ecb08b7251e39f82e1cac9f9e0c9d2691bd45a6ffd5e797e3d64da7d99d",
        "The interest changes after every 300 messages, and returns.",
    ),
    "usenet2": _usenet(
        2,
        "af81185cd58425efd60f0a45e0c03ac74ab6643a5042e590f67ca6e5b5ad2b9b",
        "One topic at a time is interesting, another one after every 300 messages.",
    ),
    "luxembourg": Source(
        file="LUdata.csv",
        description="Answers to the European Social Survey in Luxembourg, 2002 to 2007: is somebody's use of the "
        "internet high or low? Which of 0 and 1 is high could not be found out. 31 numbers, made of 20 other answers.",
        n_samples=1_901,
        n_features=31,
        target="target",
        classes=(0, 1),
        urls=(_EDITED + "LUdata.csv",),
        sha256="856d5684b4550f8d6c854ef3407b43293c0f8ad9794ec3a04dff675ade6b989f",
        n_classes=2,
        others=("luxembourg.arff", "LUweka.arff"),
        licence="CC BY-NC-SA 4.0, which the European Social Survey states of its data; none stated of this extract",
        citation="I. Zliobaite (2011). Combining similarity in time and space for training set formation under concept "
        "drift. Intelligent Data Analysis 15.",
    ),
    "phishing": Source(
        file="phishing.csv",
        # The authors code phishing as -1, the circulating copy as 0: 4 898 sites beside 6 157 honest ones.
        description="Web sites: one that steals passwords (0) or an honest one (1)? 46 flags.",
        n_samples=11_055,
        n_features=46,
        classes=(0, 1),
        urls=(_EDITED + "phishing.csv",),
        sha256="2df92c2ef5ca683852dcfb4a06756ec767ed8383c0a2244f347434a71f02dcf0",
        n_classes=2,
        parquet_sha256="589b2daaa5dbf4f3c0cac7217b54fbc1ae46bfc28cbb7b4c6f52bf6b2a24c015",
        others=("phishing.arff",),
        licence=_CC_BY,
        citation="R. Mohammad, F. Thabtah, L. McCluskey (2012). An assessment of features related to phishing websites "
        "using an automated technique. ICITST.",
    ),
    "spam": Source(
        file="spam_corpus_x2_feature_selected.arff",
        description="Mails of the SpamAssassin collection in order of time: spam or not? 500 flags of words.",
        n_samples=9_324,
        n_features=500,
        n_classes=2,
        urls=(_ARFF + "Classification/spam_corpus_x2_feature_selected/spam_corpus_x2_feature_selected.arff",),
        others=("spam.arff",),
        citation=_KATAKIS
        + "(2010). Tracking recurring contexts using ensemble classifiers: an application to email "
        "filtering. Knowledge and Information Systems 22.",
    ),
    "ozone": Source(
        file="eighthr.data",
        description="Days around Houston, 1998 to 2004: is there too much ozone over eight hours (1) or not (0)? 72 "
        "numbers of the weather, some missing; 160 days of 2 534 are of class 1.",
        n_samples=2_534,
        n_features=72,
        header=False,
        drop=("x0",),
        classes=(0.0, 1.0),
        n_classes=2,
        urls=("https://archive.ics.uci.edu/ml/machine-learning-databases/ozone/eighthr.data",),
        licence=_CC_BY,
        citation="K. Zhang, W. Fan (2008). Forecasting skewed biased stochastic ozone days: analyses, solutions and "
        "beyond. Knowledge and Information Systems 14.",
    ),
    "wisdm": Source(
        file="WISDM_ar_v1.1_transformed.arff",
        description="Ten seconds each of a telephone in a pocket: walking, jogging, stairs up or down, sitting or "
        "standing? 43 numbers of its acceleration, some missing, without the number of the person.",
        n_samples=5_418,  # its page states 5 424, one more of each class
        n_features=43,
        drop=("UNIQUE_ID", "user"),
        n_classes=6,
        others=("wisdm.arff", "wisdm.csv"),  # copies without the numbers of sample and person
        licence="none named; its authors ask to cite the paper, and to pass their readme.txt on with the data",
        citation="J. Kwapisz, G. Weiss, S. Moore (2010). Activity recognition using cell phone accelerometers. "
        "Workshop on Knowledge Discovery from Sensor Data at KDD.",
    ),
    "kdd99_http": Source(
        file="kdd99_http.csv",
        description="Connections of KDD Cup 1999 to web servers: an attack (1) or not (0)? Duration and bytes sent and "
        "received, as logarithms; 2 211 of 567 498 are attacks.",
        n_samples=567_498,
        n_features=3,
        target="class",
        classes=(0, 1),
        n_classes=2,
        parquet_sha256="14ef997939ca57e2ee26bd5c0007f9ba5198f5d47069f13ee459243681d05aac",
        licence=_CC_BY,
        citation=KDD99,
    ),
}
"""Name -> facts."""
