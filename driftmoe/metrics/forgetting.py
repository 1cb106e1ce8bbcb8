"""Metrics of the recent past, made from other metrics."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from copy import deepcopy
from inspect import signature
from math import fsum
from numbers import Integral, Real
from typing import Any, Self

from river import metrics

from driftmoe.metrics.kappa import BaselineKappa, pass_over
from driftmoe.metrics.scores import without_none


class _Wrapper(metrics.base.WrapperMetric, metrics.base.ClassificationMetric):  # type: ignore[override]  # of _fmt, between river's own two
    """A classification metric made from another one, in which some samples count less or not at all."""

    def __init__(self, cls: Callable[..., Any], **kwargs: Any) -> None:
        if not callable(cls):
            raise ValueError(
                f"{type(self).__name__} got {cls!r}; give the class of a metric, as in "
                f"{type(self).__name__}({type(cls).__name__}), followed by its arguments"
            )
        self._cls, self._kwargs = cls, kwargs
        self._metric: Any = self._make()

    def _make(self) -> Any:
        return without_none(
            self._cls(**deepcopy(self._kwargs))
        )  # two metrics must not share a confusion matrix

    @property
    def metric(self) -> Any:
        """The metric of the samples that count."""
        return self._metric

    def revert(self, y_true: Hashable, y_pred: Any, w: float = 1.0) -> None:
        """Raise NotImplementedError: this metric decides by itself which samples count."""
        raise NotImplementedError(f"{type(self).__name__} cannot take back a sample; it forgets by itself")

    def clone(self, new_params: Mapping[str, Any] | None = None, include_attributes: bool = False) -> Self:
        """Return a new metric with the same arguments, except those in `new_params`."""
        if include_attributes:
            raise ValueError("include_attributes=True; use copy.deepcopy to copy a metric with its samples")
        arguments = {"cls": self._cls, **self._kwargs, **self._own_params(), **(new_params or {})}
        return type(self)(**arguments)

    def _own_params(self) -> dict[str, Any]:
        raise NotImplementedError

    def _get_params(self) -> dict[str, Any]:
        return {"cls": self._cls, **self._own_params(), **self._kwargs}


class Windowed(_Wrapper):
    """A metric over the last `size` samples, for any metric that can revert, and for kappa-M and kappa-temporal.

    It does the same as `river.utils.Rolling`, but is itself a river metric, so that it can be cloned and combined.

    Parameters
    ----------
    cls
        Class of the metric.
    size
        Number of last samples that count.
    **kwargs
        Arguments of the metric. `Windowed(KappaM, 1000, window=1000)` is MOA's windowed kappa-M over a sliding window:
        the majority is taken over the last 1000 labels at each sample. Without `window` it is taken over all labels.

    Raises
    ------
    ValueError
        If `size` is below 1, `cls` is not callable, or the metric takes no weights.

    References
    ----------
    Gama, Sebastião, Rodrigues (2013). On evaluating stream learning algorithms. Machine Learning 90, section 3.2.

    Examples
    --------
    >>> from driftmoe.metrics import KappaTemporal, Windowed
    >>> metric = Windowed(KappaTemporal, size=3)
    >>> for y_true, y_pred in zip("aabab", "aabbb"):
    ...     metric.update(y_true, y_pred)
    >>> metric  # over b, a, b, none of which repeats the label before it
    Windowed(KappaTemporal): 66.67%
    """

    def __init__(self, cls: Callable[..., Any], size: int = 1000, **kwargs: Any) -> None:
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"size={size!r}; choose a whole number of samples, at least 1")
        super().__init__(cls, **kwargs)
        if "w" not in signature(self._metric.update).parameters:
            raise ValueError(
                f"{type(self._metric).__name__} forgets by itself and takes no weights; use it as it is"
            )
        self.size: int = size
        self._recent: deque[Any] = deque()

    def update(self, y_true: Hashable, y_pred: Any, w: float = 1.0) -> None:
        """Add one prediction, and forget the oldest if there are more than `size`."""
        if isinstance(self._metric, BaselineKappa):
            self._recent.append(self._metric.judged(y_true, y_pred, w))
            if len(self._recent) > self.size:
                self._recent.popleft()
            return
        if isinstance(y_pred, Mapping):
            y_pred = dict(y_pred)  # the caller may reuse the dictionary
        self._metric.update(y_true, y_pred, w)
        self._recent.append((y_true, y_pred, w))
        if len(self._recent) > self.size:
            self._metric.revert(*self._recent.popleft())

    def pass_over(self, y_true: Hashable, w: float = 1.0) -> None:
        """Let a baseline see the label of a sample that does not count."""
        pass_over(self._metric, y_true, w)

    def get(self) -> float:
        """Return the metric over the last samples. Before any sample, it is that of the empty metric, or 0."""
        if not isinstance(self._metric, BaselineKappa):
            return float(self._metric.get())
        if not self._recent:
            return 0.0
        # A new sum: the rounding errors of weights that were added and subtracted would look like a sample.
        total, correct, baseline_correct = (fsum(sums) for sums in zip(*self._recent, strict=True))
        return self._metric.gain(correct, baseline_correct, total)

    def _own_params(self) -> dict[str, Any]:
        return {"size": self.size}


class Fading(_Wrapper):
    """A metric that forgets: each sample counts `factor` times as much as the one after it.

    It works for any metric that is a quotient of weighted sums over samples: accuracy, the kappas, F1, Brier and most
    others.

    Parameters
    ----------
    cls
        Class of the metric, or a function that returns one. An object with only `update` and `get`, such as `Scores`,
        can be faded too.
    factor
        In (0, 1). With 0.999 about the last 1000 samples count.
    **kwargs
        Arguments of the metric.

    Raises
    ------
    ValueError
        If `factor` is out of range, `cls` is not callable, or the metric takes no weights.

    Notes
    -----
    The weights of new samples grow, instead of the weights of old samples shrinking. A quotient of sums stays the same,
    and the cost is one division per sample. Before the weights become too large, a second copy of the metric starts
    with small ones. It takes over when all that it has missed is below the precision of a float.

    References
    ----------
    Gama, Sebastião, Rodrigues (2013). On evaluating stream learning algorithms. Machine Learning 90, section 3.3.

    Examples
    --------
    >>> from river import metrics
    >>> from driftmoe.metrics import Fading
    >>> metric = Fading(metrics.Accuracy, factor=0.5)
    >>> for y_true, y_pred in zip("aaa", "aba"):
    ...     metric.update(y_true, y_pred)
    >>> metric  # (1 + 0.25) / (1 + 0.5 + 0.25)
    Fading(Accuracy): 71.43%
    """

    _HEIR_BEGINS, _HEIR_TAKES_OVER = 1e100, 1e150

    def __init__(self, cls: Callable[..., Any], factor: float = 0.999, **kwargs: Any) -> None:
        if not isinstance(factor, Real) or not 0.0 < factor < 1.0:
            raise ValueError(f"factor={factor!r}; choose 0 < factor < 1, such as 0.999")
        super().__init__(cls, **kwargs)
        if not getattr(self._metric, "works_with_weights", True):
            raise ValueError(
                f"{type(self._metric).__name__} takes no weights, by which older samples would count less; use a "
                "window instead, or choose another metric"
            )
        self.factor: float = factor
        self._heir: Any = None
        self._weight: float = 1.0

    def pass_over(self, y_true: Hashable, w: float = 1.0) -> None:
        """Let a baseline see the label of a sample that does not count."""
        pass_over(self._metric, y_true, w * self._weight)

    def update(self, y_true: Hashable, y_pred: Any, w: float = 1.0) -> None:
        """Add one prediction."""
        self._weight /= self.factor
        self._metric.update(y_true, y_pred, w * self._weight)
        if self._weight < self._HEIR_BEGINS:
            return
        if self._heir is None:
            self._heir = self._make()
        self._heir.update(y_true, y_pred, w * (self._weight / self._HEIR_BEGINS))
        if self._weight > self._HEIR_TAKES_OVER:
            self._metric, self._heir = self._heir, None
            self._weight /= self._HEIR_BEGINS

    def _own_params(self) -> dict[str, Any]:
        return {"factor": self.factor}
