"""Metrics of the stream-learning field that river lacks, with river's metric interface."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable, Sequence
from operator import eq
from typing import Any

import numpy as np
from river import base, metrics

CHUNK = 256
"""Labels that `KappaM` counts at once, beside as many numbers as there are classes for each."""


class BaselineKappa(metrics.base.Metric):
    """How much better than a trivial classifier: (p - p_baseline) / (1 - p_baseline).

    1 is perfect, 0 is as good as the baseline, below 0 is worse. `KappaM` and `KappaTemporal` are the two in use; they
    differ in the baseline only. Where the baseline makes no mistake the quotient is undefined and 0 is returned.
    """

    _fmt = ".2%"

    def __init__(self) -> None:
        self._total = 0.0
        self._correct = 0.0
        self._baseline_correct = 0.0

    def update(self, y_true: Hashable, y_pred: Hashable, w: float = 1.0) -> None:
        """Take in one prediction; samples must come in the order of the stream."""
        self._total += w
        self._correct += w * (y_true == y_pred)
        self._baseline_correct += w * (self._baseline(y_true) == y_true)

    def update_many(self, y_true: Sequence[Hashable], y_pred: Sequence[Hashable]) -> None:
        """Take in some predictions in order: the same as `update` for each."""
        self._total += len(y_true)
        self._correct += sum(map(eq, y_true, y_pred))
        self._baseline_correct += self._baseline_hits(y_true)

    def revert(self, y_true: Hashable, y_pred: Hashable, w: float = 1.0) -> None:
        """Not available: what the baseline answered depends on the order in which samples came."""
        raise NotImplementedError(
            f"{type(self).__name__} cannot take back a sample; call restart() at the border of each window instead"
        )

    def restart(self) -> None:
        """Begin a new window: the counts start at zero, the baseline keeps what it remembers."""
        self._total = self._correct = self._baseline_correct = 0.0

    def get(self) -> float:
        """Return the current value; 0 before any sample."""
        if self._baseline_correct >= self._total:
            return 0.0
        return (self._correct - self._baseline_correct) / (self._total - self._baseline_correct)

    @property
    def bigger_is_better(self) -> bool:
        """Whether a larger value is a better one."""
        return True

    @property
    def requires_labels(self) -> bool:
        """Whether the metric reads labels rather than probabilities."""
        return True

    def works_with(self, model: base.Estimator) -> bool:
        """Return whether a model gives what the metric reads."""
        return isinstance(model, base.Classifier)

    def _baseline(self, y_true: Hashable) -> Any:
        """Return what the baseline says of the sample whose label is `y_true`, and remember that label."""
        raise NotImplementedError

    def _baseline_hits(self, y_true: Sequence[Hashable]) -> int:
        """Return on how many of some samples the baseline is right, and remember their labels."""
        return sum(map(eq, y_true, map(self._baseline, y_true)))


class KappaM(BaselineKappa):
    """Kappa against the majority class: how much better than always saying the most frequent label.

    Equal to MOA's: the majority is that of the labels up to and including the current one.

    Parameters
    ----------
    window
        Count the majority over the last `window` labels, as MOA's windowed evaluator does; over all by default.
    classes
        Labels in the order that decides between equally frequent ones; labels not named follow as they come.

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
        self.window = window
        self.classes = classes
        self._labels: list[Hashable] = list(dict.fromkeys(classes))
        self._ranks: dict[Hashable, int] = {label: rank for rank, label in enumerate(self._labels)}
        self._counts = [0] * len(self._labels)  # by rank
        self._majority = 0  # its rank
        self._recent: deque[int] | None = None if window is None else deque()  # ranks

    def _baseline(self, y_true: Hashable) -> Hashable:
        counts, rank = self._counts, self._rank(y_true)
        counts[rank] += 1
        if self._recent is not None and self.window is not None:
            self._recent.append(rank)
            if len(self._recent) > self.window:
                forgotten = self._recent.popleft()
                counts[forgotten] -= 1
                if (
                    forgotten == self._majority
                ):  # another may have become the majority; else only the new label may
                    self._majority = counts.index(max(counts))
        if (-counts[rank], rank) < (-counts[self._majority], self._majority):
            self._majority = rank
        return self._labels[self._majority]

    def _baseline_hits(self, y_true: Sequence[Hashable]) -> int:
        return sum(self._hits(y_true[i : i + CHUNK]) for i in range(0, len(y_true), CHUNK))

    def _hits(self, y_true: Sequence[Hashable]) -> int:
        """Count how often `_baseline` would be right: the majority after each label from the counts after each."""
        for label in dict.fromkeys(y_true):
            self._rank(label)
        came = np.fromiter(map(self._ranks.__getitem__, y_true), np.int64, len(y_true))
        change = np.zeros((len(came), len(self._counts)), np.int64)
        change[np.arange(len(came)), came] = 1
        if self._recent is not None and self.window is not None:
            self._recent.extend(came.tolist())
            forgotten = [self._recent.popleft() for _ in range(len(self._recent) - self.window)]
            change[np.arange(len(came) - len(forgotten), len(came)), forgotten] -= 1
        counts = change.cumsum(axis=0) + self._counts
        majority = counts.argmax(axis=1)
        self._counts, self._majority = counts[-1].tolist(), int(majority[-1])
        return int((majority == came).sum())

    def _rank(self, label: Hashable) -> int:
        """Return the place of a label among those that came, or were named, before; a new one is the last."""
        rank = self._ranks.setdefault(label, len(self._labels))
        if rank == len(self._labels):
            self._labels.append(label)
            self._counts.append(0)
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

    def _baseline(self, y_true: Hashable) -> Hashable:
        previous, self._previous = self._previous, y_true
        return previous

    def _baseline_hits(self, y_true: Sequence[Hashable]) -> int:
        previous = [self._previous, *y_true]
        self._previous = previous[-1]
        return sum(map(eq, y_true, previous))


class Scores:
    """The figures of one result row, kept together for speed: one confusion matrix serves three of them.

    Parameters
    ----------
    window
        As in `KappaM`.
    classes
        As in `KappaM`.
    """

    def __init__(self, window: int | None = None, classes: Sequence[Hashable] = ()) -> None:
        self._confusion = metrics.ConfusionMatrix()
        self._kappa_m = KappaM(window, classes)
        self._kappa_t = KappaTemporal()

    def update(self, y_true: Hashable, y_pred: Hashable) -> None:
        """Take in one prediction; `None`, no prediction at all, counts as a wrong one."""
        self._confusion.update(y_true, y_pred)
        self._kappa_m.update(y_true, y_pred)
        self._kappa_t.update(y_true, y_pred)

    def update_many(self, y_true: Sequence[Hashable], y_pred: Sequence[Hashable]) -> None:
        """Take in some predictions in order: the same as `update` for each."""
        for (t, p), n in Counter(zip(y_true, y_pred, strict=True)).items():
            self._confusion.update(t, p, n)
            self._confusion.n_samples += n - 1  # it counts calls
        self._kappa_m.update_many(y_true, y_pred)
        self._kappa_t.update_many(y_true, y_pred)

    def restart(self) -> None:
        """Begin a new window; the baselines of the kappas keep what they remember."""
        self._confusion = metrics.ConfusionMatrix()
        self._kappa_m.restart()
        self._kappa_t.restart()

    def get(self) -> dict[str, float]:
        """Return the figures as shares: accuracy, kappa, kappa_m, kappa_t, f1_macro, g_mean."""
        return {
            "accuracy": metrics.Accuracy(self._confusion).get(),
            "kappa": metrics.CohenKappa(self._confusion).get(),
            "kappa_m": self._kappa_m.get(),
            "kappa_t": self._kappa_t.get(),
            "f1_macro": macro_f1(self._confusion),
            "g_mean": g_mean(self._confusion),
        }


def macro_f1(confusion: metrics.ConfusionMatrix) -> float:
    """Return the mean F1 over the classes that were true or predicted; `None` is no class."""
    classes = [c for c in confusion.classes if c is not None]
    if not classes:
        return 0.0
    f1 = [2.0 * confusion[c][c] / (confusion.sum_row[c] + confusion.sum_col[c]) for c in classes]
    return sum(f1) / len(f1)


def g_mean(confusion: metrics.ConfusionMatrix) -> float:
    """Return the geometric mean of the recalls of the classes that occurred; 0 where one was never recognised.

    river's `GeometricMean` also counts classes that were only ever predicted, which have no recall.

    References
    ----------
    Kubat, Matwin (1997). Addressing the curse of imbalanced training sets: one-sided selection. ICML, section 2.
    """
    recalls = [confusion[c][c] / confusion.sum_row[c] for c in confusion.classes if confusion.sum_row[c] > 0]
    return math.prod(recall ** (1 / len(recalls)) for recall in recalls) if recalls else 0.0


def ram_hours(n_bytes: float, seconds: float) -> float:
    """Return the RAM-hours of a model that held `n_bytes` for `seconds`: one is a gibibyte held for an hour.

    References
    ----------
    Bifet, Holmes, Pfahringer, Frank (2010). Fast perceptron decision tree learning from evolving data streams. PAKDD,
    section 5.

    Examples
    --------
    >>> from driftmoe.metrics import ram_hours
    >>> ram_hours(2**30, 1800)
    0.5
    """
    return n_bytes / 2**30 * seconds / 3600
