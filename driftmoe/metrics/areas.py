"""Areas under curves, without a value where only one class came.

River gives its own the worst value there, 0, so that a window without a rare class looks like a model that fails. An
area under the curve of precision and recall over all samples is ours.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from river import metrics

MOST_SURE = 14.0
"""Log-odds beyond which probabilities are not told apart: one in a million."""


class ROCAUC(metrics.ROCAUC):
    """River's area under the ROC curve; NaN unless both positive and negative samples came.

    Examples
    --------
    >>> from driftmoe.metrics.areas import ROCAUC
    >>> metric = ROCAUC(n_thresholds=100)
    >>> metric.update(True, {True: 0.8, False: 0.2})
    >>> metric.get()
    nan
    >>> metric.update(False, {True: 0.3, False: 0.7})
    >>> metric
    ROCAUC: 100.00%
    """

    def __init__(self, n_thresholds: int = 10, pos_val: Any = True) -> None:
        if n_thresholds < 2:
            raise ValueError(f"n_thresholds={n_thresholds!r}; choose at least 2")
        super().__init__(n_thresholds, pos_val)

    def get(self) -> float:
        """Return the area, or NaN where it is not defined."""
        n_of = self.cms[0].sum_row
        return float(super().get()) if n_of.get(True, 0.0) > 0.0 < n_of.get(False, 0.0) else math.nan


class _Rolling:
    """Of the last samples: NaN unless there are positive and negative ones among them."""

    def __init__(self, window_size: int = 1000, pos_val: Any = True) -> None:
        if window_size < 1:
            raise ValueError(f"window_size={window_size!r}; choose at least 1 sample")
        super().__init__(window_size, pos_val)  # type: ignore[call-arg]
        self._truths: deque[bool] = deque(maxlen=window_size)

    def update(self, y_true: Any, y_pred: Any) -> None:
        """Add a sample."""
        super().update(y_true, y_pred)  # type: ignore[misc]
        self._truths.append(bool(y_true))

    def get(self) -> float:
        """Return the area, or NaN where it is not defined."""
        return float(super().get()) if len(set(self._truths)) == 2 else math.nan  # type: ignore[misc]


class RollingROCAUC(_Rolling, metrics.RollingROCAUC):  # type: ignore[misc]
    """River's area under the ROC curve of the last samples; NaN unless they are of both classes."""


class RollingPRAUC(_Rolling, metrics.RollingPRAUC):  # type: ignore[misc]
    """River's area under the curve of precision and recall of the last samples; NaN unless they are of both classes."""


class AveragePrecision(metrics.base.BinaryMetric):
    """Area under the curve of precision and recall over all samples; NaN unless both classes came.

    It is the mean, over the positive samples, of the precision among all samples that are as probable or more. A model
    that knows nothing has the share of the positive class. River's `RollingPRAUC` is of the last samples, among which
    few or none may be of a rare class.

    Parameters
    ----------
    n_bins
        Number of bins of equal width in log-odds. Probabilities in one bin are not told apart.
    pos_val
        Label of the positive class.

    References
    ----------
    Davis and Goadrich (2006). The relationship between precision-recall and ROC curves. ICML.

    Examples
    --------
    >>> from driftmoe.metrics import AveragePrecision
    >>> metric = AveragePrecision()
    >>> for y_true, p in [(True, 0.8), (False, 0.6), (True, 0.4), (False, 0.1)]:
    ...     metric.update(y_true, {True: p, False: 1.0 - p})
    >>> metric
    AveragePrecision: 83.33%
    """

    def __init__(self, n_bins: int = 1000, pos_val: Any = True) -> None:
        if not isinstance(n_bins, Integral) or n_bins < 2:
            raise ValueError(f"n_bins={n_bins!r}; choose a whole number of bins, at least 2")
        self.n_bins: int = n_bins
        self.pos_val = pos_val
        self._weight: dict[bool, list[float]] = {is_positive: [0.0] * n_bins for is_positive in (True, False)}

    @property
    def requires_labels(self) -> bool:
        """Whether the metric reads labels rather than probabilities."""
        return False

    def update(self, y_true: Any, y_pred: Any, w: float = 1.0) -> None:
        """Add one prediction: {True: probability}, or the probability of the positive class."""
        p = y_pred.get(True, 0.0) if isinstance(y_pred, Mapping) else float(y_pred)
        odds = MOST_SURE if p >= 1.0 else math.log(p / (1.0 - p)) if p > 0.0 else -MOST_SURE
        place = int((odds + MOST_SURE) / (2.0 * MOST_SURE) * self.n_bins)
        self._weight[bool(y_true == self.pos_val)][min(max(place, 0), self.n_bins - 1)] += w

    def revert(self, y_true: Any, y_pred: Any, w: float = 1.0) -> None:
        """Take back one prediction."""
        self.update(y_true, y_pred, -w)

    def get(self) -> float:
        """Return the area, or NaN where it is not defined."""
        n_positive, n_negative = (sum(self._weight[is_positive]) for is_positive in (True, False))
        if not (n_positive > 0.0 and n_negative > 0.0):
            return math.nan
        area = found = others = 0.0
        for right, wrong in zip(reversed(self._weight[True]), reversed(self._weight[False]), strict=True):
            found, others = found + right, others + wrong
            area += right * found / (found + others) if right > 0.0 else 0.0
        return area / n_positive
