"""Hoeffding trees in arrays: a pool of them, and one alone as a river estimator."""

from driftmoe.trees.hoeffding import HoeffdingTreeClassifier
from driftmoe.trees.pool import TreePool

__all__ = ["HoeffdingTreeClassifier", "TreePool"]
