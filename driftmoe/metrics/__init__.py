"""Metrics of the stream-learning field that river lacks, with river's metric interface.

`kappa` compares with a trivial classifier, `order` says how far labels alone tell the next one. `scores` holds the
standard figures of a result line, `areas` and `probability` metrics of probabilities, `forgetting` metrics of the
recent past, `cost` the cost of decisions, memory over time and the cost of drifts, and `named` finds metrics, river's
among them, by their names.
"""

from __future__ import annotations

from driftmoe.metrics.areas import AveragePrecision
from driftmoe.metrics.cost import MeanCost, RamHours, Recovery, drift_recovery
from driftmoe.metrics.forgetting import Fading, Windowed
from driftmoe.metrics.kappa import BaselineKappa, KappaM, KappaOrder, KappaTemporal, pass_over
from driftmoe.metrics.named import NAMED, STANDARD, Shown, asked, metrics_of, names_of, shown
from driftmoe.metrics.order import ORDERED, LabelOrder, exceeds, label_order, order_in
from driftmoe.metrics.probability import Brier, ExpectedCalibrationError
from driftmoe.metrics.scores import AnsweredConfusionMatrix, GMean, Scores, macro_f1, without_none

__all__ = [
    "NAMED",
    "ORDERED",
    "STANDARD",
    "AnsweredConfusionMatrix",
    "AveragePrecision",
    "BaselineKappa",
    "Brier",
    "ExpectedCalibrationError",
    "Fading",
    "GMean",
    "KappaM",
    "KappaOrder",
    "KappaTemporal",
    "LabelOrder",
    "MeanCost",
    "RamHours",
    "Recovery",
    "Scores",
    "Shown",
    "Windowed",
    "asked",
    "drift_recovery",
    "exceeds",
    "label_order",
    "macro_f1",
    "metrics_of",
    "names_of",
    "order_in",
    "pass_over",
    "shown",
    "without_none",
]
