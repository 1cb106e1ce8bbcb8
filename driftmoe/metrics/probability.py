"""Metrics that read class probabilities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from numbers import Integral

from river import metrics

ROUNDING = 1e-6
"""Distance by which a probability may lie outside [0, 1]."""


class Brier(metrics.base.MeanMetric, metrics.base.MultiClassMetric):
    """Mean squared distance between predicted probabilities and truth: 0 is perfect, 2 is the worst value.

    This is Brier's own definition, a sum over all classes. With two classes it is twice the one-sided form.

    References
    ----------
    Brier (1950). Verification of forecasts expressed in terms of probability. Monthly Weather Review 78.

    Examples
    --------
    >>> from driftmoe.metrics import Brier
    >>> metric = Brier()
    >>> metric.update("a", {"a": 0.5, "b": 0.25, "c": 0.25})
    >>> metric
    Brier: 0.375
    """

    _fmt = ",.6f"

    @property
    def bigger_is_better(self) -> bool:
        """Whether a larger value is a better one."""
        return False

    @property
    def requires_labels(self) -> bool:
        """Whether the metric reads labels rather than probabilities."""
        return False

    def _eval(self, y_true: Hashable, y_pred: Mapping[Hashable, float]) -> float:
        of_truth = y_pred.get(y_true, 0.0)
        return sum(p * p for p in y_pred.values()) - of_truth**2 + (1.0 - of_truth) ** 2


class ExpectedCalibrationError(metrics.base.MultiClassMetric):
    """Expected calibration error: the mean over bins of similar confidence of |accuracy - confidence|.

    Parameters
    ----------
    n_bins
        Number of bins of equal width over [0, 1]. The confidence of a sample is its highest class probability.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017). On calibration of modern neural networks. ICML, equation 5.

    Examples
    --------
    >>> from driftmoe.metrics import ExpectedCalibrationError
    >>> metric = ExpectedCalibrationError()
    >>> for y_true in "aaab":
    ...     metric.update(y_true, {"a": 0.95, "b": 0.05})
    >>> metric
    ExpectedCalibrationError: 20.00%
    """

    def __init__(self, n_bins: int = 15) -> None:
        if not isinstance(n_bins, Integral) or n_bins < 1:
            raise ValueError(f"n_bins={n_bins!r}; choose a whole number of bins, at least 1")
        super().__init__()
        self.n_bins: int = n_bins
        self._weight: list[float] = [0.0] * n_bins
        self._surplus: list[float] = [0.0] * n_bins  # of confidence over correct predictions

    def update(self, y_true: Hashable, y_pred: Mapping[Hashable, float], w: float = 1.0) -> None:
        """Add one prediction. An empty one has confidence 0."""
        for label, p in y_pred.items():
            if not -ROUNDING <= p <= 1.0 + ROUNDING:
                raise ValueError(f"probability {p} of label {label!r}; a model must give numbers from 0 to 1")
        label, confidence = max(y_pred.items(), key=lambda item: item[1]) if y_pred else (None, 0.0)
        of = min(int(confidence * self.n_bins), self.n_bins - 1)
        self._weight[of] += w
        self._surplus[of] += w * (confidence - (label == y_true))

    def revert(self, y_true: Hashable, y_pred: Mapping[Hashable, float], w: float = 1.0) -> None:
        """Take back one prediction."""
        self.update(y_true, y_pred, -w)

    def get(self) -> float:
        """Return the current value; 0 before any sample."""
        total = sum(self._weight)
        return sum(map(abs, self._surplus)) / total if total > 0.0 else 0.0

    @property
    def bigger_is_better(self) -> bool:
        """Whether a larger value is a better one."""
        return False

    @property
    def requires_labels(self) -> bool:
        """Whether the metric reads labels rather than probabilities."""
        return False
