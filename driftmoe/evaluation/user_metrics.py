"""The river metrics that a user asks for beside the standard figures."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from river.metrics import MCC, CrossEntropy, LogLoss, RollingPRAUC, RollingROCAUC
from river.metrics.base import BinaryMetric, Metric, WrapperMetric
from river.metrics.base import Metrics as Several

from driftmoe.metrics import Scores, without_none

Metrics = Metric | Sequence[Metric] | Mapping[str, Metric]


def by_name(metrics: Metrics | None) -> dict[str, Any]:
    """Return the metrics by name, after a check that they can be computed for the run and for each window."""
    named: list[tuple[str, Any]]
    if isinstance(metrics, Mapping):
        named = list(metrics.items())
    elif isinstance(metrics, Metric) and not isinstance(metrics, Several):
        named = [(type(metrics).__name__, metrics)]
    elif isinstance(metrics, Iterable | None) and not isinstance(metrics, str):
        named = [(type(metric).__name__, metric) for metric in metrics or ()]
    else:
        raise ValueError(
            f"metrics={metrics!r}; give a river metric, several, or a dictionary of them by name"
        )
    for name, metric in named:
        if not isinstance(name, str):
            raise ValueError(f"a metric is named {name!r}; choose text for its name")
        if isinstance(metric, type):
            raise ValueError(
                f"metric {metric.__name__} is a class; give a metric of it, such as {metric.__name__}()"
            )
        if not isinstance(metric, Metric):
            raise ValueError(
                f"metric {metric!r} of class {type(metric).__name__} is not a river metric; give the metric itself, "
                "which is computed for each window, too"
            )
        if not hasattr(metric, "requires_labels") or not _is_number(metric):
            raise ValueError(f"{name} is not a classification metric that gives a number; choose another")
        if name in (*Scores().get(), "mean_cost"):
            raise ValueError(
                f"a metric is named {name!r}, as one of the standard figures; choose another name"
            )
    if len({name for name, _ in named}) < len(named):
        raise ValueError(
            f"metrics {', '.join(name for name, _ in named)}: two have one name; give a dictionary with a name for each"
        )
    return dict(named)


def _is_number(metric: Metric) -> bool:
    try:
        return isinstance(fresh(metric).get(), numbers.Real)
    except NotImplementedError:  # reports, which hold several metrics
        return False


def reader_of(name: str, metric: Any) -> Callable[[Hashable, Hashable, Any], tuple[Any, Any]]:
    """Return a function from label, prediction and probabilities to truth and prediction as a metric reads them.

    A metric of two classes gets True for the positive label and False for others, because river's own compare with
    `pos_val` twice, and then find no positive sample if `pos_val` is not True.
    """
    inner = innermost(metric)
    if not isinstance(inner, BinaryMetric):
        if not inner.requires_labels:
            # If the true label has no probability, river's cross-entropy takes it as certain.
            is_entropy = isinstance(inner, CrossEntropy)
            return lambda y, label, proba: (y, {y: 0.0, **proba} if is_entropy else proba)
        return lambda y, label, proba: (y, label)
    pos_val, counts_negatives = getattr(inner, "pos_val", True), isinstance(inner, MCC)

    def of_label(y: Hashable, label: Hashable, proba: Any) -> tuple[bool, bool]:
        truth = is_positive(y)
        if label is None:  # wrong; for metrics that ignore true negatives, a negative
            return truth, counts_negatives and not truth
        return truth, label == pos_val

    def of_proba(y: Hashable, label: Hashable, proba: Mapping[Any, float]) -> tuple[bool, dict[bool, float]]:
        truth = is_positive(y)
        p = proba.get(pos_val, 0.0) if proba else float(not truth)
        return truth, {True: p, False: 1.0 - p}

    def is_positive(y: Hashable) -> bool:
        if pos_val is True and y not in (True, False):
            instead = "give such labels"
            if isinstance(inner, LogLoss):
                instead += ", or choose CrossEntropy, which takes any"
            elif isinstance(inner, RollingROCAUC):
                instead += f", or choose ROCAUC(pos_val={y!r})"
            elif not isinstance(inner, RollingPRAUC):  # rolling metrics take no text
                instead = f"name the one that counts as positive, as in {type(inner).__name__}(pos_val={y!r})"
            raise ValueError(f"{name} reads labels as True and False, and {y!r} is neither; {instead}")
        return bool(y == pos_val)

    return of_label if inner.requires_labels else of_proba


def fresh(metric: Any) -> Any:
    """Return a new metric of this kind that reads what the function from `reader_of` returns."""
    inner = innermost(metric)
    if isinstance(inner, BinaryMetric) and getattr(inner, "pos_val", True) is not True:
        return metric.clone({"pos_val": True})
    return without_none(metric.clone())


def innermost(metric: Any) -> Any:
    """Return the metric within wrappers."""
    while isinstance(metric, WrapperMetric):
        metric = metric.metric
    return metric


def update_metric(metric: Any, y: Any, said: Any, w: float) -> None:
    """Add a prediction to a metric, with its weight if that is not 1."""
    if w == 1.0:
        metric.update(y, said)  # not all take a weight
    else:
        metric.update(y, said, w)


def values_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the value of each metric."""
    return {name: metric.get() for name, metric in metrics.items()}
