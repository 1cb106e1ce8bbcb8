"""Metrics of the stream-learning field that river lacks, with river's metric interface."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from inspect import signature
from numbers import Integral, Real
from operator import eq
from typing import Any, Self

import numpy as np
from river import metrics

CHUNK = 256
"""Labels that `KappaM` counts at once, beside as many numbers as there are classes for each."""


ROUNDING = 1e-6
"""By which a probability may leave [0, 1]."""

MICRO = (metrics.MicroPrecision, metrics.MicroFBeta, metrics.MicroJaccard)
"""Averages over samples; river's other ones inherit from these."""

NEGLIGIBLE = 1e-12
"""Share of all weight below which a class counts as absent."""


class AnsweredConfusionMatrix(metrics.ConfusionMatrix):
    """A confusion matrix in which the answer `None`, no prediction, is wrong and no class of its own.

    With river's own, a model that once had no answer has a class more: macro F1 of two classes is a mean over three.

    Examples
    --------
    >>> from river import metrics
    >>> from driftmoe.metrics import AnsweredConfusionMatrix
    >>> metric = metrics.MacroRecall(AnsweredConfusionMatrix())
    >>> for y_true, y_pred in zip("aab", [None, "a", "b"]):
    ...     metric.update(y_true, y_pred)
    >>> metric  # (1 / 2 + 1) / 2
    MacroRecall: 75.00%
    """

    @property
    def classes(self) -> list[Hashable]:
        """Labels that were true or predicted."""
        return [c for c in super().classes if c is not None]


def without_none(metric: Any) -> Any:
    """Return a metric that has seen nothing, or one like it to which the answer `None` is no class of its own.

    Micro averages stay as they are, which count samples, not classes, and to which it is as wrong as another answer;
    so do measures of clusterings, to which the samples without an answer are a group like any other.
    """
    if (
        isinstance(metric, metrics.base.MultiClassMetric)
        and not isinstance(metric, MICRO)
        and metric.works_with_weights  # no measure of a clustering does
        and type(getattr(metric, "cm", None)) is metrics.ConfusionMatrix
    ):
        return metric.clone({"cm": AnsweredConfusionMatrix()})
    return metric


def pass_over(metric: Any, y_true: Hashable, w: float = 1.0) -> None:
    """Let a metric know the label of a sample that does not count: a baseline remembers it, others need nothing."""
    if hasattr(metric, "pass_over"):
        metric.pass_over(y_true, w)


class BaselineKappa(metrics.base.ClassificationMetric):
    """How much better than a trivial classifier: (p - p_baseline) / (1 - p_baseline).

    1 is perfect, 0 is as good as the baseline, below 0 is worse. `KappaM` and `KappaTemporal` are the two in use; they
    differ in the baseline only. Where the baseline makes no mistake the quotient is undefined and 0 is returned.
    """

    def __init__(self) -> None:
        # Not the base class's, which makes a confusion matrix: that cannot tell what the baseline said.
        self._total = self._correct = self._baseline_correct = 0.0

    def update(self, y_true: Hashable, y_pred: Hashable, w: float = 1.0) -> None:
        """Take in one prediction; samples must come in the order of the stream."""
        total, correct, baseline_correct = self._judged(y_true, y_pred, w)
        self._total += total
        self._correct += correct
        self._baseline_correct += baseline_correct

    def pass_over(self, y_true: Hashable, w: float = 1.0) -> None:
        """Remember the label of a sample that does not count, which the baseline knows all the same."""
        self._baseline(y_true, w)

    def revert(self, y_true: Hashable, y_pred: Hashable, w: float = 1.0) -> None:
        """Not available: what the baseline answered depends on the order in which samples came."""
        raise NotImplementedError(
            f"{type(self).__name__} cannot take back a sample; use `driftmoe.metrics.Windowed` instead of river's "
            "`Rolling`, or call restart() at the border of each window"
        )

    def restart(self) -> None:
        """Begin a new window: the counts start at zero, the baseline keeps what it remembers."""
        self._total = self._correct = self._baseline_correct = 0.0

    def get(self) -> float:
        """Return the current value; 0 before any sample."""
        return _improvement(self._correct, self._baseline_correct, self._total)

    def _judged(self, y_true: Hashable, y_pred: Hashable, w: float) -> tuple[float, float, float]:
        """Return a sample's weight, in all, where it was right, and where the baseline was, which remembers it."""
        return w, w * (y_true == y_pred), w * (self._baseline(y_true, w) == y_true)

    def _baseline(self, y_true: Hashable, w: float = 1.0) -> Any:
        """Return what the baseline says of the sample whose label is `y_true`, and remember that label."""
        raise NotImplementedError

    def _baseline_hits(self, y_true: Sequence[Hashable], weights: np.ndarray) -> float:
        """Return the weight of those of some samples on which the baseline is right, and remember their labels."""
        return sum(w for t, w in zip(y_true, weights.tolist(), strict=True) if self._baseline(t, w) == t)


class KappaM(BaselineKappa):
    """Kappa against the majority class: how much better than always saying the most frequent label.

    Equal to MOA's: the majority is that of the labels up to and including the current one.

    Parameters
    ----------
    window
        Count the majority over the last `window` labels, as MOA's windowed evaluator does; over all by default.
    classes
        Labels in the order that decides between equally frequent ones; labels not named follow as they come.

    Raises
    ------
    ValueError
        If `window` is below 1.

    References
    ----------
    Bifet, de Francisci Morales, Read, Holmes, Pfahringer (2015). Efficient online evaluation of big data stream
    classifiers. KDD, section 3.3.

    Examples
    --------
    >>> from driftmoe.metrics import KappaM
    >>> metric = KappaM()
    >>> for y_true, y_pred in zip("aabab", "aabbb"):
    ...     metric.update(y_true, y_pred)
    >>> metric
    KappaM: 50.00%
    """

    def __init__(self, window: int | None = None, classes: Sequence[Hashable] = ()) -> None:
        super().__init__()
        if window is not None and (not isinstance(window, Integral) or window < 1):
            raise ValueError(
                f"window={window!r}; choose a whole number of labels, at least 1, or None for all"
            )
        self.window = window
        self.classes = list(classes)  # river cannot clone what was given an empty tuple
        self._labels: list[Hashable] = list(dict.fromkeys(classes))
        self._ranks: dict[Hashable, int] = {label: rank for rank, label in enumerate(self._labels)}
        self._counts = [0.0] * len(self._labels)  # by rank
        self._majority = 0  # its rank
        self._recent: deque[int] = deque()  # ranks of the labels in the window, and their weights
        self._recent_weights: deque[float] = deque()

    def _baseline(self, y_true: Hashable, w: float = 1.0) -> Hashable:
        counts, rank = self._counts, self._rank(y_true)
        counts[rank] += w
        if self.window is not None:
            self._recent.append(rank)
            self._recent_weights.append(w)
            if len(self._recent) > self.window:
                forgotten = self._recent.popleft()
                counts[forgotten] -= self._recent_weights.popleft()
                # Another may have become the majority; else only the new label may.
                if forgotten == self._majority:
                    self._majority = counts.index(max(counts))
        if (-counts[rank], rank) < (-counts[self._majority], self._majority):
            self._majority = rank
        return self._labels[self._majority]

    def _baseline_hits(self, y_true: Sequence[Hashable], weights: np.ndarray) -> float:
        parts = range(0, len(y_true), CHUNK)
        return sum(self._hits(y_true[i : i + CHUNK], weights[i : i + CHUNK]) for i in parts)

    def _hits(self, y_true: Sequence[Hashable], weights: np.ndarray) -> float:
        """Count how often `_baseline` would be right: the majority after each label from the counts after each."""
        for label in dict.fromkeys(y_true):
            self._rank(label)
        came = np.fromiter(map(self._ranks.__getitem__, y_true), np.int64, len(y_true))
        change = np.zeros((len(came), len(self._counts)))
        change[np.arange(len(came)), came] = weights
        if self.window is not None:
            self._recent.extend(came.tolist())
            self._recent_weights.extend(weights.tolist())
            n = max(len(self._recent) - self.window, 0)
            ranks, of_ranks = (
                [recent.popleft() for _ in range(n)] for recent in (self._recent, self._recent_weights)
            )
            change[np.arange(len(came) - n, len(came)), ranks] -= of_ranks
        counts = change.cumsum(axis=0) + self._counts
        majority = counts.argmax(axis=1)
        self._counts, self._majority = counts[-1].tolist(), int(majority[-1])
        return float(weights[majority == came].sum())

    def _rank(self, label: Hashable) -> int:
        """Return the place of a label among those that came, or were named, before; a new one is the last."""
        rank = self._ranks.setdefault(label, len(self._labels))
        if rank == len(self._labels):
            self._labels.append(label)
            self._counts.append(0.0)
        return rank


class KappaTemporal(BaselineKappa):
    """Kappa against no change: how much better than repeating the last label.

    Near or below 0 a classifier has learnt no more than that labels come in runs, however high its accuracy.
    Equal to MOA's, but for the very first sample, for which MOA's baseline says class 0 and this one nothing.

    References
    ----------
    Žliobaitė, Bifet, Read, Pfahringer, Holmes (2015). Evaluation methods and decision theory for classification of
    streaming data with temporal dependence. Machine Learning 98, section 4.

    Examples
    --------
    >>> from driftmoe.metrics import KappaTemporal
    >>> metric = KappaTemporal()
    >>> for y_true, y_pred in zip("aabab", "aabbb"):
    ...     metric.update(y_true, y_pred)
    >>> metric
    KappaTemporal: 75.00%
    """

    def __init__(self) -> None:
        super().__init__()
        self._previous: Hashable = None

    def _baseline(self, y_true: Hashable, w: float = 1.0) -> Hashable:
        previous, self._previous = self._previous, y_true
        return previous

    def _baseline_hits(self, y_true: Sequence[Hashable], weights: np.ndarray) -> float:
        previous = [self._previous, *y_true]
        self._previous = previous[-1]
        hits = np.fromiter(map(eq, y_true, previous), np.bool_, len(y_true))
        return float(weights[hits].sum())


class GMean(metrics.base.MultiClassMetric):
    """Geometric mean of the recalls of the classes that were true; 0 as soon as one of them is never recognised.

    river's `GeometricMean` also counts a class that was predicted only, and is then 0 whatever the others are.

    References
    ----------
    Kubat, Matwin (1997). Addressing the curse of imbalanced training sets. ICML.

    Examples
    --------
    >>> from driftmoe.metrics import GMean
    >>> metric = GMean()
    >>> for y_true, y_pred in zip("aaaab", "aaabb"):
    ...     metric.update(y_true, y_pred)
    >>> metric
    GMean: 86.60%
    """

    def get(self) -> float:
        """Return the current value; 0 before any sample."""
        # Where samples were taken back, rounding leaves a trace of them, on either side of 0.
        least = self.cm.total_weight * NEGLIGIBLE
        recalls = [max(self.cm[c][c], 0.0) / n for c, n in self.cm.sum_row.items() if n > least]
        return math.prod(recalls) ** (1.0 / len(recalls)) if recalls else 0.0


class Brier(metrics.base.MeanMetric, metrics.base.MultiClassMetric):
    """Mean squared distance between the predicted probabilities and the truth: 0 is perfect, 2 the worst.

    Sum over the classes, as Brier wrote it: with two classes it is twice the one-sided form.

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
    """How far confidence is from accuracy: the mean over bins of equal confidence of |accuracy - confidence|.

    Parameters
    ----------
    n_bins
        Bins of equal width over [0, 1] into which samples fall by the probability of the most probable class.

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
        self._surplus: list[float] = [0.0] * n_bins  # of confidence over hits

    def update(self, y_true: Hashable, y_pred: Mapping[Hashable, float], w: float = 1.0) -> None:
        """Take in one prediction; one without any probability has no confidence."""
        for label, p in y_pred.items():
            if not -ROUNDING <= p <= 1.0 + ROUNDING:
                raise ValueError(
                    f"probability {p} of label {label!r}; a model has to give numbers from 0 to 1"
                )
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


class _Wrapper(metrics.base.WrapperMetric, metrics.base.ClassificationMetric):  # type: ignore[override]  # of _fmt, between river's own two
    """A metric of classification made from another one, of which it counts some samples less, or not at all."""

    def __init__(self, cls: Callable[..., Any], **kwargs: Any) -> None:
        if not callable(cls):
            raise ValueError(
                f"{type(self).__name__} got {cls!r}; give the class of a metric, as in "
                f"{type(self).__name__}({type(cls).__name__}), and its arguments behind"
            )
        self._cls, self._kwargs = cls, kwargs
        self._metric: Any = self._make()

    def _make(self) -> Any:
        return without_none(self._cls(**deepcopy(self._kwargs)))  # lest two share a confusion matrix

    @property
    def metric(self) -> Any:
        """The metric of the samples that count."""
        return self._metric

    def revert(self, y_true: Hashable, y_pred: Any, w: float = 1.0) -> None:
        """Not available: which samples count is decided here."""
        raise NotImplementedError(f"{type(self).__name__} cannot take back a sample; it forgets by itself")

    def clone(self, new_params: Mapping[str, Any] | None = None, include_attributes: bool = False) -> Self:
        """Return one like this that has seen nothing; `new_params` are arguments to change."""
        if include_attributes:
            raise ValueError("include_attributes=True; use copy.deepcopy for one that has seen the same")
        arguments = {"cls": self._cls, **self._kwargs, **self._own_params(), **(new_params or {})}
        return type(self)(**arguments)

    def _own_params(self) -> dict[str, Any]:
        raise NotImplementedError

    def _get_params(self) -> dict[str, Any]:
        return {"cls": self._cls, **self._own_params(), **self._kwargs}


class Windowed(_Wrapper):
    """A metric of the last samples alone, of any that can revert, and of kappa-M and kappa-temporal.

    As `river.utils.Rolling`, but a river metric itself, which can be cloned and added to others.

    Parameters
    ----------
    cls
        Class of the metric.
    size
        Samples that count.
    **kwargs
        Arguments of the metric. `Windowed(KappaM, 1000, window=1000)` is MOA's windowed kappa-M, sliding: the majority
        is that of the last 1000 labels as each sample came. Without `window` it is that of all labels.

    Raises
    ------
    ValueError
        If `size` is below 1, `cls` makes nothing, or the metric takes no weights.

    References
    ----------
    Gama, Sebastião, Rodrigues (2013). On evaluating stream learning algorithms. Machine Learning 90, section 3.2.

    Examples
    --------
    >>> from driftmoe.metrics import KappaTemporal, Windowed
    >>> metric = Windowed(KappaTemporal, size=3)
    >>> for y_true, y_pred in zip("aabab", "aabbb"):
    ...     metric.update(y_true, y_pred)
    >>> metric  # of b, a, b, of which no change would know none
    Windowed(KappaTemporal): 66.67%
    """

    def __init__(self, cls: Callable[..., Any], size: int = 1000, **kwargs: Any) -> None:
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"size={size!r}; choose a whole number of samples, at least 1")
        super().__init__(cls, **kwargs)
        if "w" not in signature(self._metric.update).parameters:
            raise ValueError(
                f"{type(self._metric).__name__} forgets by itself and knows no weights; use it as it is"
            )
        self.size: int = size
        self._recent: deque[Any] = deque()

    def update(self, y_true: Hashable, y_pred: Any, w: float = 1.0) -> None:
        """Take in one prediction, and forget the oldest of more than `size`."""
        if isinstance(self._metric, BaselineKappa):
            self._recent.append(self._metric._judged(y_true, y_pred, w))
            if len(self._recent) > self.size:
                self._recent.popleft()
            return
        if isinstance(y_pred, Mapping):
            y_pred = dict(y_pred)  # who made it may use it again
        self._metric.update(y_true, y_pred, w)
        self._recent.append((y_true, y_pred, w))
        if len(self._recent) > self.size:
            self._metric.revert(*self._recent.popleft())

    def pass_over(self, y_true: Hashable, w: float = 1.0) -> None:
        """Let a baseline remember the label of a sample that does not count."""
        pass_over(self._metric, y_true, w)

    def get(self) -> float:
        """Return what the metric gives for the last samples; 0 or what the metric says before any."""
        if not isinstance(self._metric, BaselineKappa):
            return float(self._metric.get())
        if not self._recent:
            return 0.0
        # Summed anew: what is left of weights that were added and taken away again would pass for a sample.
        total, correct, baseline_correct = (math.fsum(sums) for sums in zip(*self._recent, strict=True))
        return _improvement(correct, baseline_correct, total)

    def _own_params(self) -> dict[str, Any]:
        return {"size": self.size}


class Fading(_Wrapper):
    """A metric that forgets: each sample counts `factor` times as much as the one after it.

    It takes any metric that is a quotient of sums over samples, each with its weight: accuracy, the kappas, F1, Brier
    and most others.

    Parameters
    ----------
    cls
        Class of the metric, or what else makes one. What has `update` and `get` alone, as `Scores`, can be faded, too.
    factor
        In (0, 1). With 0.999 the last 1000 samples or so count.
    **kwargs
        Arguments of the metric.

    Raises
    ------
    ValueError
        If `factor` is out of range, `cls` makes nothing, or the metric is none of weighted samples.

    Notes
    -----
    Weights grow instead of shrinking, which costs one division a sample, and quotients of sums do not notice. Before
    they grow too large, a second copy of the metric begins with small ones; it takes over once all that it has
    missed is below the precision of a number.

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
                f"{type(self._metric).__name__} knows no weights, by which older samples would count less; use a "
                "window instead, or choose another metric"
            )
        self.factor: float = factor
        self._heir: Any = None
        self._weight: float = 1.0

    def pass_over(self, y_true: Hashable, w: float = 1.0) -> None:
        """Let a baseline remember the label of a sample that does not count."""
        pass_over(self._metric, y_true, w * self._weight)

    def update(self, y_true: Hashable, y_pred: Any, w: float = 1.0) -> None:
        """Take in one prediction."""
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


class RamHours:
    """Memory held times time, in GB·h: a gigabyte (10^9 bytes) for an hour is 1.

    Between two measurements memory counts as the mean of the two.

    References
    ----------
    Bifet, Holmes, Pfahringer, Frank (2010). Fast perceptron decision tree learning from evolving data streams. PAKDD.

    Examples
    --------
    >>> from driftmoe.metrics import RamHours
    >>> ram_hours = RamHours()
    >>> ram_hours.update(2_000_000_000, seconds=0)
    >>> ram_hours.update(4_000_000_000, seconds=1800)
    >>> ram_hours.get()
    1.5
    """

    def __init__(self) -> None:
        self._gigabyte_seconds = 0.0
        self._before: tuple[float, float] | None = None

    def update(self, n_bytes: float, seconds: float) -> None:
        """Take in that `n_bytes` were held when `seconds` had passed since the start."""
        before_bytes, before = self._before or (n_bytes, 0.0)
        self._gigabyte_seconds += (before_bytes + n_bytes) / 2e9 * (seconds - before)
        self._before = (n_bytes, seconds)

    def get(self, seconds: float | None = None) -> float:
        """Return the GB·h until the last measurement, or until later, with the memory that was measured last."""
        since = 0.0
        if seconds is not None and self._before is not None:
            n_bytes, before = self._before
            since = n_bytes / 1e9 * (seconds - before)
        return (self._gigabyte_seconds + since) / 3600.0


@dataclass(frozen=True)
class Recovery:
    """What one drift cost.

    Attributes
    ----------
    position
        Sample at which the change began.
    before
        Accuracy in the last window before it, a share.
    lost
        `before` less the accuracy in the worst window until the next drift; 0 where none is worse.
    mistakes
        Wrong predictions until recovery above those that `before` would have made; 0 where there are fewer.
    samples
        Samples from the begin of the change to the end of the first window that lies after the whole of it and is as
        accurate as before; `None` when that did not happen before the next drift. It is no less than a gradual
        change takes.
    """

    position: int
    before: float
    lost: float
    mistakes: float
    samples: int | None


def drift_recovery(
    ends: Sequence[int],
    accuracy: Sequence[float],
    drifts: Sequence[tuple[int, int]],
    *,
    tolerance: float = 0.01,
) -> list[Recovery]:
    """Return what each known drift cost, read off the curve of a run.

    Parameters
    ----------
    ends
        Samples up to the end of each window, rising; a window reaches from the end before to its own.
    accuracy
        Accuracy in each window, as a share.
    drifts
        Known drifts as (position, width): the centre and the length of the change, in samples, in order. Of a sigmoid
        change, as in `streams.drift`, that is the steep part: the new concept has 12 % of the samples at its begin
        and 88 % at its end.
    tolerance
        Accuracy counts as regained when it is at most this much lower than before.

    Returns
    -------
    recoveries
        One per drift that has a window before it and one after. How finely a drift is resolved depends on the
        windows: the result cannot be finer than they are, nor surer, since one window says what was before and one
        that it is regained. The accuracy of a window of n samples is uncertain by about 0.5 / sqrt(n).

    Raises
    ------
    ValueError
        If `ends` and `accuracy` differ in length.

    Examples
    --------
    >>> from driftmoe.metrics import drift_recovery
    >>> drift_recovery([100, 200, 300, 400], [0.9, 0.9, 0.6, 0.9], [(200, 1)])
    [Recovery(position=200, before=0.9, lost=0.3, mistakes=30.0, samples=200)]
    """
    if len(ends) != len(accuracy):
        raise ValueError(f"{len(ends)} ends of windows and {len(accuracy)} accuracies; give one for each")
    begins = [max(position - width // 2, 0) for position, width in drifts]
    is_over = [position + width // 2 for position, width in drifts]
    recoveries = []
    for begin, over, until in zip(begins, is_over, [*begins, math.inf][1:], strict=True):
        windows = list(zip([0, *ends][:-1], ends, accuracy, strict=True))
        earlier = [value for _, end, value in windows if end <= begin]
        later = [(start, end, value) for start, end, value in windows if begin < end <= until]
        if not earlier or not later:
            continue
        before, mistakes, samples = earlier[-1], 0.0, None
        for start, end, value in later:
            if start >= over and value >= before - tolerance:
                samples = end - begin
                break
            mistakes += (before - value) * (end - start)
        lost = max(0.0, before - min(value for _, _, value in later))
        recoveries.append(Recovery(begin, before, round(lost, 12), round(max(mistakes, 0.0), 9), samples))
    return recoveries


class Scores:
    """The figures of one result row, kept together for speed.

    Parameters
    ----------
    window
        Figures are of the last `window` samples, in steps as `restart` marks them, and the majority for kappa-M is that
        of the last `window` labels; by default all samples count.
    classes
        As in `KappaM`.
    step
        Samples between two calls of `restart`; `window` by default, and then a window begins anew with each of them.

    Raises
    ------
    ValueError
        If `step` does not divide `window`.
    """

    def __init__(
        self, window: int | None = None, classes: Sequence[Hashable] = (), step: int | None = None
    ) -> None:
        if window and step and window % step:
            raise ValueError(f"step={step} does not divide window={window}; choose one that does")
        self._kappa_m, self._kappa_t = KappaM(window, classes), KappaTemporal()
        self._steps: deque[_Step] = deque([_Step()], maxlen=window // step if window and step else 1)

    def update(self, y_true: Hashable, y_pred: Hashable, w: float = 1.0) -> None:
        """Take in one prediction; `None`, no prediction, is a wrong one."""
        self.update_many((y_true,), (y_pred,), (w,))

    def update_many(
        self,
        y_true: Sequence[Hashable],
        y_pred: Sequence[Hashable],
        weights: Sequence[float] | None = None,
    ) -> None:
        """Take in some predictions in order: the same as `update` for each."""
        step = self._steps[-1]
        if weights is None:
            for pair, n in Counter(zip(y_true, y_pred, strict=True)).items():
                step.pairs[pair] += n
        else:
            for t, p, w in zip(y_true, y_pred, weights, strict=True):
                step.pairs[t, p] += w
        of_each = np.ones(len(y_true)) if weights is None else np.asarray(weights, dtype=np.float64)
        step.majority_correct += self._kappa_m._baseline_hits(y_true, of_each)
        step.previous_correct += self._kappa_t._baseline_hits(y_true, of_each)

    def pass_over(self, y_true: Hashable, w: float = 1.0) -> None:
        """Let the baselines of the kappas remember the label of a sample that does not count."""
        self._kappa_m.pass_over(y_true, w)
        self._kappa_t.pass_over(y_true, w)

    def restart(self) -> None:
        """Begin a new step, and with it forget the oldest; the baselines of the kappas keep what they remember."""
        self._steps.append(_Step())

    def get(self) -> dict[str, float]:
        """Return the figures as shares: accuracy, kappa, kappa_m, kappa_t, f1_macro, g_mean."""
        confusion = metrics.ConfusionMatrix()
        for step in self._steps:
            for (t, p), w in step.pairs.items():
                confusion.update(t, p, w)
        confusion.n_samples = confusion.total_weight  # it counts calls
        correct, total = confusion.total_true_positives, confusion.total_weight
        return {
            "accuracy": metrics.Accuracy(confusion).get(),
            "kappa": metrics.CohenKappa(confusion).get(),
            "kappa_m": _improvement(correct, sum(step.majority_correct for step in self._steps), total),
            "kappa_t": _improvement(correct, sum(step.previous_correct for step in self._steps), total),
            "f1_macro": macro_f1(confusion),
            "g_mean": GMean(confusion).get(),
        }


class _Step:
    """Sums over the samples of one step."""

    def __init__(self) -> None:
        self.pairs: defaultdict[tuple[Hashable, Hashable], float] = defaultdict(float)
        self.majority_correct = self.previous_correct = 0.0


def macro_f1(confusion: metrics.ConfusionMatrix) -> float:
    """Return the mean F1 over the classes that were true or predicted; `None` is no class."""
    classes = [c for c in confusion.classes if c is not None]
    if not classes:
        return 0.0
    f1 = [2.0 * confusion[c][c] / (confusion.sum_row[c] + confusion.sum_col[c]) for c in classes]
    return sum(f1) / len(f1)


def _improvement(correct: float, baseline_correct: float, total: float) -> float:
    if baseline_correct >= total:
        return 0.0
    return (correct - baseline_correct) / (total - baseline_correct)
