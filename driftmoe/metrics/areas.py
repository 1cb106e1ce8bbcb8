"""River's areas under curves, without a value where only one class came.

River gives them the worst value there, 0, so that a window without a rare class looks like a model that fails.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from river import metrics


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
