"""Kappa statistics against a trivial classifier: kappa-M, kappa-temporal and kappa-order."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Hashable, Sequence
from itertools import chain, islice, repeat
from numbers import Integral
from operator import eq
from typing import Any

import numpy as np
from river import metrics

from driftmoe.markov import MAX_PAIRS, Succession
from driftmoe.state import State, check_names

CHUNK = 256
"""Labels that `KappaM` counts at once. The memory for this is CHUNK times the number of classes."""

LARGEST = 2.0**52
"""Bound of whole numbers whose sums are exact."""

ROUNDING = 1e-12
"""Share of all weight that may be lacking in a sum of it."""


def check_weight(w: float) -> None:
    """Raise ValueError if the weight of a sample is below 0 or no number: the baselines take back no sample."""
    if not w >= 0.0:
        raise ValueError(f"w={w}; give a weight of 0 or more")


class BaselineKappa(metrics.base.ClassificationMetric):
    """Improvement over a trivial classifier: (p - p_baseline) / (1 - p_baseline).

    1 is perfect, 0 is as good as the baseline, below 0 is worse. If the baseline makes no mistake, the quotient is
    undefined, and the value is 0; for `KappaOrder` see there. The classes differ only in the baseline.

    Examples
    --------
    >>> from driftmoe.metrics import BaselineKappa, KappaM, KappaTemporal
    >>> issubclass(KappaM, BaselineKappa), issubclass(KappaTemporal, BaselineKappa)
    (True, True)
    """

    def __init__(self) -> None:
        # The base class would make a confusion matrix, which does not know what the baseline predicted.
        self._total = self._correct = self._baseline_correct = 0.0

    def update(self, y_true: Hashable, y_pred: Hashable, w: float = 1.0) -> None:
        """Add one prediction, with a weight of 0 or more. Samples must come in the order of the stream."""
        check_weight(w)
        total, correct, baseline_correct = self.judged(y_true, y_pred, w)
        self._total += total
        self._correct += correct
        self._baseline_correct += baseline_correct

    def pass_over(self, y_true: Hashable, w: float = 1.0) -> None:
        """Let the baseline see the label of a sample that does not count."""
        check_weight(w)
        self._baseline(y_true, w)

    def revert(self, y_true: Hashable, y_pred: Hashable, w: float = 1.0) -> None:
        """Raise NotImplementedError: what the baseline predicted depends on the order of the samples."""
        raise NotImplementedError(
            f"{type(self).__name__} cannot take back a sample; use `driftmoe.metrics.Windowed` instead of river's "
            "`Rolling`, or call restart() at the start of each window"
        )

    def restart(self) -> None:
        """Begin a new window: the counts start at zero, the baseline keeps its memory."""
        self._total = self._correct = self._baseline_correct = 0.0

    def get(self) -> float:
        """Return the current value; 0 before any sample."""
        return self.gain(self._correct, self._baseline_correct, self._total)

    @staticmethod
    def gain(correct: float, baseline_correct: float, total: float) -> float:
        """Return the value from the weight of the samples that each got right, and of all."""
        return improvement(correct, baseline_correct, total)

    def judged(self, y_true: Hashable, y_pred: Hashable, w: float) -> tuple[float, float, float]:
        """Return the weight of a sample, that weight if `y_pred` is right else 0, and the same for the baseline.

        The baseline remembers the label.
        """
        return w, w * (y_true == y_pred), w * (self._baseline(y_true, w) == y_true)

    def _baseline(self, y_true: Hashable, w: float = 1.0) -> Any:
        """Return what the baseline predicts for a sample, and show it the label of that sample, `y_true`."""
        raise NotImplementedError

    def baseline_hits(self, y_true: Sequence[Hashable], weights: np.ndarray | None = None) -> float:
        """Return the total weight of the samples that the baseline predicts correctly, and show it their labels.

        Each counts 1 if no weights are given.
        """
        of_each = [1.0] * len(y_true) if weights is None else weights.tolist()
        return sum(w for t, w in zip(y_true, of_each, strict=True) if self._baseline(t, w) == t)


class KappaM(BaselineKappa):
    """Kappa against the majority class: the improvement over always predicting the most frequent label.

    The value equals MOA's: the majority is taken over the labels up to and including the current one.

    Parameters
    ----------
    window
        Take the majority over the last `window` labels, as MOA's windowed evaluator does; over all by default.
    classes
        Labels in the order that decides between equally frequent ones. Other labels follow in order of appearance.

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
        self.classes = list(classes)  # river cannot clone an object whose argument is an empty tuple
        self._labels: list[Hashable] = list(dict.fromkeys(classes))
        self._ranks: dict[Hashable, int] = {label: rank for rank, label in enumerate(self._labels)}
        self._counts = [0.0] * len(self._labels)  # by rank
        self._majority = 0  # its rank
        self._recent: deque[int] = deque()  # ranks of the labels in the window
        self._recent_weights: deque[float] = deque()
        self._prepare()

    def _prepare(self) -> None:
        """Set what follows from the rest: the length of the windows, and whether sums are exact in any order.

        Sums are exact if all counts are whole numbers and all weights in the window are 1.
        """
        size = None if self.window is None else min(int(self.window), sys.maxsize)
        self._recent, self._recent_weights = deque(self._recent, size), deque(self._recent_weights, size)
        is_exact = all(c < LARGEST and float(c).is_integer() for c in self._counts)
        self._is_plain = is_exact and all(w == 1.0 for w in self._recent_weights)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()  # also where an earlier version did not keep it

    def _baseline(self, y_true: Hashable, w: float = 1.0) -> Hashable:
        counts, rank = self._counts, self._rank(y_true)
        counts[rank] += w
        self._is_plain = self._is_plain and w == 1.0
        if self.window is not None:
            forgotten = self._recent[0] if len(self._recent) == self.window else None
            if forgotten is not None:
                counts[forgotten] -= self._recent_weights[0]
            self._recent.append(rank)
            self._recent_weights.append(w)
            # Any label may now be the majority. Otherwise only the new label can have become it.
            if forgotten == self._majority:
                self._majority = counts.index(max(counts))
        if (-counts[rank], rank) < (-counts[self._majority], self._majority):
            self._majority = rank
        return self._labels[self._majority]

    def baseline_hits(self, y_true: Sequence[Hashable], weights: np.ndarray | None = None) -> float:
        """Do as `BaselineKappa.baseline_hits`, `CHUNK` labels at a time."""
        if weights is not None and not (len(y_true) == 1 and weights[0] == 1.0):
            self._is_plain = False
        if not self._is_plain:
            of_each = np.ones(len(y_true)) if weights is None else weights
            parts = range(0, len(y_true), CHUNK)
            return sum(self._weighted_hits(y_true[i : i + CHUNK], of_each[i : i + CHUNK]) for i in parts)
        if len(y_true) == 1:
            self._baseline(y_true[0])
            return float(self._majority == self._ranks[y_true[0]])
        return float(sum(self._hits(y_true[i : i + CHUNK]) for i in range(0, len(y_true), CHUNK)))

    def _hits(self, y_true: Sequence[Hashable]) -> int:
        """Compute what `_baseline` would give label by label, where each label counts 1.

        Only labels that come near the majority are followed, as no other can be it within these labels.
        """
        came = self._ranks_of(y_true)
        counts = np.array(self._counts)
        n_came, gone = np.bincount(came, minlength=len(counts)), came[:0]
        if self.window is not None:
            n_gone = max(len(self._recent) + len(came) - self.window, 0)
            ranks = came.tolist()
            gone = np.fromiter(islice(chain(self._recent, ranks), n_gone), np.int64, n_gone)
            self._recent.extend(ranks)
            self._recent_weights.extend(repeat(1.0, len(ranks)))
        least = counts - np.bincount(gone, minlength=len(counts))
        near = np.flatnonzero(counts + n_came >= least.max())
        self._counts = (least + n_came).tolist()
        if len(near) == 1:
            self._majority = int(near[0])
            return int(n_came[self._majority])
        change = (came == near[:, np.newaxis]).astype(np.int64)
        change[:, len(came) - len(gone) :] -= gone == near[:, np.newaxis]
        majority = near[(change.cumsum(axis=1) + counts[near, np.newaxis]).argmax(axis=0)]
        self._majority = int(majority[-1])
        return int(np.count_nonzero(majority == came))

    def _weighted_hits(self, y_true: Sequence[Hashable], weights: np.ndarray) -> float:
        """Compute what `_baseline` would give label by label, from the class counts after each label."""
        came = self._ranks_of(y_true)
        change = np.zeros((len(came), len(self._counts)))
        change[np.arange(len(came)), came] = weights
        if self.window is not None:
            n = max(len(self._recent) + len(came) - self.window, 0)
            ranks = [*islice(chain(self._recent, came.tolist()), n)]
            of_ranks = [*islice(chain(self._recent_weights, weights.tolist()), n)]
            self._recent.extend(came.tolist())
            self._recent_weights.extend(weights.tolist())
            change[np.arange(len(came) - n, len(came)), ranks] -= of_ranks
        counts = change.cumsum(axis=0) + self._counts
        majority = counts.argmax(axis=1)
        self._counts, self._majority = counts[-1].tolist(), int(majority[-1])
        return float(weights[majority == came].sum())

    def state(self) -> State:
        """Return what the baseline remembers; see `driftmoe.state`."""
        return {
            "labels": list(self._labels),
            "counts": list(self._counts),
            "majority": self._majority,
            "recent": list(self._recent),
            "recent_weights": list(self._recent_weights),
        }

    def restore(self, state: State) -> None:
        """Restore the state of a metric that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("labels", "counts", "majority", "recent", "recent_weights"), self)
        self._labels, self._counts = list(state["labels"]), list(state["counts"])
        self._ranks = {label: rank for rank, label in enumerate(self._labels)}
        self._majority = state["majority"]
        self._recent, self._recent_weights = deque(state["recent"]), deque(state["recent_weights"])
        self._prepare()

    def _ranks_of(self, labels: Sequence[Hashable]) -> np.ndarray:
        """Return the rank of each label. New labels get the last ranks."""
        if not self._ranks.keys() >= set(labels):
            for label in dict.fromkeys(labels):
                self._rank(label)
        return np.fromiter(map(self._ranks.__getitem__, labels), np.int64, len(labels))

    def _rank(self, label: Hashable) -> int:
        """Return the rank of a label. A new label gets the last rank."""
        rank = self._ranks.setdefault(label, len(self._labels))
        if rank == len(self._labels):
            self._labels.append(label)
            self._counts.append(0.0)
        return rank


class KappaTemporal(BaselineKappa):
    """Kappa against no change: the improvement over repeating the last label.

    A value near or below 0 means that a classifier has learned no more than that labels come in runs, however high its
    accuracy is. The value equals MOA's except on the very first sample, where MOA's baseline predicts class 0 and this
    one nothing.

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

    def state(self) -> State:
        """Return what the baseline remembers; see `driftmoe.state`."""
        return {"previous": self._previous}

    def restore(self, state: State) -> None:
        """Restore the state of another metric of this class; see `driftmoe.state`."""
        check_names(state, ("previous",), self)
        self._previous = state["previous"]

    def baseline_hits(self, y_true: Sequence[Hashable], weights: np.ndarray | None = None) -> float:
        """Do as `BaselineKappa.baseline_hits`, for all labels at once."""
        previous = [self._previous, *y_true]
        self._previous = previous[-1]
        hits = np.fromiter(map(eq, y_true, previous), np.bool_, len(y_true))
        return float(np.count_nonzero(hits) if weights is None else weights[hits].sum())


class KappaOrder(BaselineKappa):
    """Kappa against the order of the labels: the improvement over the label that most often followed the last one.

    A value near or below 0 means that a classifier has learned no more than which label follows which, however high its
    accuracy is. It is the stricter of kappa-M and kappa-temporal, or near it, on streams whose labels are independent
    or come in runs, and the only one of the three that sees any other order: on labels 0 to 9 in turn no change is
    always wrong, so that kappa-temporal credits a model that knows the order with all that it gets right.

    Parameters
    ----------
    max_pairs
        Greatest number of pairs of a label and the next that the baseline counts, and of single labels; see
        `driftmoe.markov.Succession`.

    Raises
    ------
    ValueError
        If `max_pairs` is below 1.

    Notes
    -----
    With p the accuracy of the classifier and p_o that of the baseline on the same samples, the value is (p - p_o) /
    (1 - p_o). At each sample the baseline predicts, from the labels before it and their weights, the label with the
    largest weight among those that came right after the last one; the largest weight overall if the last one came for
    the first time; and nothing at the very first sample, which is wrong. Of equal weights that which was reached first
    counts. Then it learns the label of the sample. It never forgets, also where only the last samples count in the
    figures, and knows each label at once, also where the classifier gets labels late. Where the baseline makes no
    mistake, as on labels in turn once it has seen each, the value is 0 if the classifier makes none either, and else
    NaN: no number says how far it is behind.

    See Also
    --------
    driftmoe.markov.MarkovClassifier : the baseline as a model.

    Examples
    --------
    >>> from driftmoe.metrics import KappaOrder
    >>> metric = KappaOrder()
    >>> for y_true, y_pred in zip("abcabc", "aacabc"):
    ...     metric.update(y_true, y_pred)
    >>> metric  # the baseline is right on the last three of six, and the classifier on five: (5 - 3) / (6 - 3)
    KappaOrder: 66.67%
    """

    def __init__(self, max_pairs: int = MAX_PAIRS) -> None:
        super().__init__()
        self.max_pairs = max_pairs
        self._succession = Succession(1, max_pairs)

    def _baseline(self, y_true: Hashable, w: float = 1.0) -> Hashable:
        said: Hashable = self._succession.follow((y_true,), (w,))[0]
        return said

    def baseline_hits(self, y_true: Sequence[Hashable], weights: np.ndarray | None = None) -> float:
        """Do as `BaselineKappa.baseline_hits`, for all labels at once."""
        if weights is None:
            return float(self._succession.n_right(y_true))
        of_each = weights.tolist()
        said = self._succession.follow(y_true, of_each)
        return sum(w for t, p, w in zip(y_true, said, of_each, strict=True) if p == t)

    @staticmethod
    def gain(correct: float, baseline_correct: float, total: float) -> float:
        """Return the value from the weight of the samples that each got right, and of all; NaN if it is undefined."""
        whole = total * (1.0 - ROUNDING)
        if baseline_correct >= whole:
            return 0.0 if correct >= whole else math.nan
        return improvement(correct, baseline_correct, total)

    def state(self) -> State:
        """Return what the baseline remembers; see `driftmoe.state`."""
        return self._succession.state()

    def restore(self, state: State) -> None:
        """Restore the state of a metric that was built with the same arguments; see `driftmoe.state`."""
        succession = Succession(1, self.max_pairs)
        succession.restore(state)
        self._succession = succession


def pass_over(metric: Any, y_true: Hashable, w: float = 1.0) -> None:
    """Let a metric see the label of a sample that does not count. Only a baseline remembers it.

    Examples
    --------
    >>> from driftmoe.metrics import KappaTemporal, pass_over
    >>> metric = KappaTemporal()
    >>> pass_over(metric, "a")  # now "no change" says "a"
    >>> metric.update("b", "b")
    >>> metric.get()
    1.0
    """
    if hasattr(metric, "pass_over"):
        metric.pass_over(y_true, w)


def improvement(correct: float, baseline_correct: float, total: float) -> float:
    """Return the kappa of a classifier over its baseline, from the weight of the samples that each got right."""
    if baseline_correct >= total:
        return 0.0
    return (correct - baseline_correct) / (total - baseline_correct)
