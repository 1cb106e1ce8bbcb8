"""A baseline that predicts from labels alone: the one that most often followed the last ones.

It is the classifier that a stream's order makes possible. Where labels come in runs it repeats the last one, where they
are independent it says the most frequent one, and where they come in a fixed order it says the next one. A model that
does no better has learnt nothing from the features.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Integral
from operator import eq
from typing import Any

from river import base

from driftmoe.state import State, check_names

__all__ = ["MAX_PAIRS", "MarkovClassifier", "Succession"]

MAX_PAIRS = 100_000
"""Default of the greatest number of pairs of last labels and next label that are counted."""

MAX_ORDER = 100
"""Greatest number of last labels. The time for a label grows with its square, and a pair holds as many labels."""


class Succession:
    """Counts which label follows the last ones.

    Parameters
    ----------
    order
        Number of last labels, 0 to `MAX_ORDER`. With 0 it counts labels alone.
    max_pairs
        Greatest number of pairs, of last labels and a next label, that are counted over all lengths up to `order`; at
        least 1. Of an endless stream of new ones, the first are counted.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Counts are kept for the last `order` labels, the last `order` - 1, and so on down to none. The answer is that of the
    most labels which have come in this order before. Of labels that followed equally often it is the one that was
    the first to do so as often.

    Examples
    --------
    >>> from driftmoe.markov import Succession
    >>> succession = Succession()
    >>> for label in "abcab":
    ...     succession.learn(label)
    >>> succession.predict()  # after "b" came "c"
    'c'
    """

    def __init__(self, order: int = 1, max_pairs: int = MAX_PAIRS) -> None:
        for name, value, least in (("order", order, 0), ("max_pairs", max_pairs, 1)):
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name}={value!r}; choose a whole number, at least {least}")
        if order > MAX_ORDER:
            raise ValueError(f"order={order} last labels; choose at most {MAX_ORDER}")
        self.order, self.max_pairs, self.n_pairs = order, max_pairs, 0
        self._recent: deque[Hashable] = deque(maxlen=order)
        self._followers: dict[tuple[Hashable, ...], _Followers] = {}  # by the last labels
        self._of_one: dict[Hashable, _Followers] = {}  # those of one last label, where `n_right` has met them

    def predict(self) -> Any:
        """Return the label that most often followed the last ones; `None` before any label."""
        recent = tuple(self._recent)
        for first in range(len(recent) + 1):
            if after := self._followers.get(recent[first:]):
                return after.best
        return None

    def shares(self) -> dict[Any, float]:
        """Return the share of each label among those that followed the last ones; empty before any label."""
        recent = tuple(self._recent)
        for first in range(len(recent) + 1):
            if after := self._followers.get(recent[first:]):
                total = sum(after.counts.values())
                return {label: n / total for label, n in after.counts.items()}
        return {}

    def learn(self, label: Hashable, weight: float = 1.0) -> None:
        """Count a label after the last ones, as so many; it is then the last one itself, also if it counts as none."""
        self.follow((label,), (weight,))

    def follow(self, labels: Sequence[Hashable], weights: Sequence[float]) -> list[Any]:
        """Return what `predict` says before each of the labels, each of which is learnt with its weight."""
        if len(labels) != len(weights):
            raise ValueError(f"{len(labels)} labels and {len(weights)} weights; give a weight for each label")
        followers, order, said = self._followers, self.order, []
        recent = tuple(self._recent)
        for label, weight in zip(labels, weights, strict=True):
            best: Hashable = None
            is_open = True  # until a length is found at which these labels have come before
            for first in range(len(recent) + 1):
                after = followers.get(recent[first:])
                if after is not None and is_open:
                    best, is_open = after.best, False
                if not weight:
                    continue
                if after is None or label not in after.counts:
                    if self.n_pairs >= self.max_pairs:
                        continue
                    self.n_pairs += 1
                    if after is None:
                        after = followers[recent[first:]] = _Followers({}, label, 0.0)
                n = after.counts[label] = after.counts.get(label, 0.0) + weight
                if n > after.most:
                    after.most = n
                    if label != after.best:  # of equal labels, such as 1 and True, the first one stays
                        after.best = label
            said.append(best)
            recent = (*recent, label)[-order:] if order else ()
        self._recent.extend(labels)
        return said

    def n_right(self, labels: Sequence[Hashable]) -> int:
        """Return how many labels are what `predict` says before them. Each is then learnt, with weight 1.

        The same as `follow`, and several times faster where `order` is 1.
        """
        if self.order != 1:
            return sum(map(eq, self.follow(labels, [1.0] * len(labels)), labels))
        n_right = i = 0
        while i < len(labels):
            last = self._recent[-1] if self._recent else None
            if last is not None and last in self._of_one:
                n, i = self._pass(labels, i)
                n_right += n
            if i < len(labels):  # labels that have not come before, or not in this order
                n_right += self.follow((labels[i],), (1.0,))[0] == labels[i]
                i += 1
                if (after := self._followers.get((last,))) is not None:
                    self._of_one[last] = after
        return n_right

    def _pass(self, labels: Sequence[Hashable], first: int) -> tuple[int, int]:
        """Do as `n_right` from a label on, up to one of which the counts know too little. Return also its index.

        The counts know the last label.
        """
        alone, of_one, n_right, i = self._followers[()], self._of_one, 0, first
        counts_alone, last = alone.counts, self._recent[-1]
        for i, label in enumerate(islice(labels, first, None), first):  # noqa: B007 - where it ended is returned
            after, n_alone = of_one.get(last), counts_alone.get(label)
            if after is None or n_alone is None:
                break
            n_right += label == after.best
            counts = after.counts
            n = counts.get(label)
            if n is None and self.n_pairs < self.max_pairs:
                self.n_pairs, n = self.n_pairs + 1, 0.0
            if n is not None:
                n = counts[label] = n + 1.0
                if n > after.most:
                    after.most = n
                    if label != after.best:
                        after.best = label
            n_alone = counts_alone[label] = n_alone + 1.0
            if n_alone > alone.most:
                alone.most = n_alone
                if label != alone.best:
                    alone.best = label
            last = label
        else:
            i = len(labels)
        self._recent.append(last)
        return n_right, i

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"_of_one": {}} | state)  # which earlier versions did not have

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Succession) and self.order == other.order and self.state() == other.state()

    def state(self) -> State:
        """Return the counts and the last labels, as plain values; see `driftmoe.state`."""
        return {
            "recent": list(self._recent),
            "counts": [
                [list(last), after.best, [[label, n] for label, n in after.counts.items()]]
                for last, after in self._followers.items()
            ],
        }

    def restore(self, state: State) -> None:
        """Restore the state of one with the same arguments; see `driftmoe.state`."""
        check_names(state, ("recent", "counts"), self)
        self._recent = deque(state["recent"], maxlen=self.order)
        self._followers, self._of_one = {}, {}
        for last, best, pairs in state["counts"]:
            counts = {label: n for label, n in pairs}
            self._followers[tuple(last)] = _Followers(counts, best, counts[best])
        self.n_pairs = sum(len(after.counts) for after in self._followers.values())


@dataclass(slots=True)
class _Followers:
    """The labels that came after some last ones: the weight of each, and the label that was the first with the most."""

    counts: dict[Hashable, float]
    best: Hashable
    most: float


class MarkovClassifier(base.Classifier):
    """Predicts the label that has most often followed the last ones, whatever the features are.

    A baseline beside no change and the majority: it is as good as either on most streams, and far better where labels
    come in a fixed order. It learns online, and reads no feature. Labels that come late are taken as they come: it then
    says what follows the last one that it knows.

    Parameters
    ----------
    order
        Number of last labels that it looks at, 1 to `MAX_ORDER`.
    max_pairs
        Greatest number of pairs, of last labels and a next label, that it counts; at least 1. It bounds the memory, to
        some 250 bytes a pair, 800 at `order=100`. Of more pairs, the first that come are counted.

    Raises
    ------
    ValueError
        If an argument is out of range.

    See Also
    --------
    driftmoe.metrics.KappaOrder : what a model gains over this baseline.

    References
    ----------
    Žliobaitė, Bifet, Read, Pfahringer, Holmes (2015). Evaluation methods and decision theory for classification of
    streaming data with temporal dependence. Machine Learning 98, section 3, whose persistent classifier repeats the
    last label instead.

    Examples
    --------
    >>> from driftmoe.markov import MarkovClassifier
    >>> model = MarkovClassifier(order=2)
    >>> for label in [0, 0, 1, 0, 0, 1, 0, 0]:
    ...     model.learn_one({}, label)
    >>> model.predict_one({}), model.predict_proba_one({})
    (1, {1: 1.0})
    """

    def __init__(self, order: int = 1, max_pairs: int = MAX_PAIRS) -> None:
        if order == 0:
            raise ValueError(
                "order=0 looks at no last label, which is river.dummy.PriorClassifier; choose 1 or more"
            )
        self.order = order
        self.max_pairs = max_pairs
        self._succession = Succession(order, max_pairs)

    @property
    def _multiclass(self) -> bool:
        return True

    def learn_one(self, x: dict[Any, Any], y: Hashable, w: float = 1.0) -> None:
        """Count a label after the last ones, as `w` labels, 0 or more; with 0 it is only the last one itself."""
        if not 0.0 <= w < math.inf:
            raise ValueError(f"w={w}; choose a finite weight of 0 or more")
        self._succession.learn(y, w)

    def predict_one(self, x: dict[Any, Any]) -> Any:  # type: ignore[override]  # river's signature has **kwargs, which would swallow mistakes
        """Return the label that most often followed the last ones; `None` before any label."""
        return self._succession.predict()

    def predict_proba_one(self, x: dict[Any, Any]) -> dict[Any, float]:  # type: ignore[override]  # as above
        """Return the share of each label among those that followed the last ones; empty before any label."""
        return self._succession.shares()
