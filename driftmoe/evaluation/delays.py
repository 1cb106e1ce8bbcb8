"""Samples with the delay of their label, which may never come, and with their weight."""

from __future__ import annotations

import heapq
import math
import numbers
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from driftmoe.evaluation.checks import labelled
from driftmoe.evaluation.clock import TimeDelay

Delay = int | tuple[int, int] | str | Callable[[Any, Any], int] | TimeDelay
Weight = str | Callable[[Any, Any], float]

OF_LABELS = 1
"""Goes with the seed of the evaluation, so that the draws of labels are others than those of delays."""


class Row(NamedTuple):
    """A sample, the number of samples after which its label comes, and its weight.

    The delay is `None` if the label never comes. In blocks, features and label are a row of the block: an array, and
    the index of a class.
    """

    x: Any
    y: Any
    delay: int | None
    weight: float | None


class Waiting:
    """Samples that have arrived and wait for their labels.

    Parameters
    ----------
    warm_start
        Number of first samples whose labels come at once.

    Attributes
    ----------
    n_arrived, n_learnt
        Number of samples that have arrived, and of those whose label has come.
    """

    def __init__(self, warm_start: int) -> None:
        self.n_arrived = self.n_learnt = 0
        self._warm_start = warm_start
        self._heap: list[tuple[int, int, Row]] = []

    def arrive(self, row: Row) -> Row:
        """Let a sample wait, and return it with features that its caller cannot change.

        One whose label never comes does not wait, except in the warm start, where all labels come at once.
        """
        i, delay = self.n_arrived, row.delay if self.n_arrived >= self._warm_start else 0
        self.n_arrived += 1
        if delay is None:
            return row
        if delay > 0 and not isinstance(row.x, str | np.ndarray):
            row = row._replace(x=dict(row.x))  # the caller may reuse the dictionary
        heapq.heappush(self._heap, (i + delay, i, row))
        return row

    def is_next(self, row: Row) -> bool:
        """Return whether the label of a sample has come, and no other sample is learnt before it."""
        if not self._heap:
            return False
        when, _, first = self._heap[0]
        return first is row and when < self.n_arrived

    def add(self, when: int, i: int, row: Row) -> None:
        """Let a sample wait that arrived as number `i`, and is learnt after sample `when` has arrived."""
        heapq.heappush(self._heap, (when, i, row))

    def due(self) -> Iterator[Row]:
        """Yield the samples whose labels have come, older ones first, and let them wait no longer."""
        while self._heap and self._heap[0][0] < self.n_arrived:
            self.n_learnt += 1
            yield heapq.heappop(self._heap)[2]


def with_delays_and_weights(
    samples: Iterable[tuple[Mapping[Any, Any], Hashable]],
    delay: Delay,
    weight: Weight | None,
    seed: int | None,
    label_share: float = 1.0,
) -> Iterator[Row]:
    """Yield the samples with their delays and weights, without the features that hold these."""
    hidden = hidden_by(delay, weight)
    rng, of_labels = np.random.default_rng(seed), labels_rng(seed)
    by_clock = iter(delay.of(samples).tolist()) if isinstance(delay, TimeDelay) else None
    for x, y in labelled(samples):
        n_late = delay_of(x, y, delay, rng) if by_clock is None else next(by_clock)
        of_sample = None if weight is None else weight_of(x, y, weight)
        if hidden:
            x = {name: value for name, value in x.items() if name not in hidden}
        never = label_share < 1.0 and of_labels.random() >= label_share
        yield Row(x, y, None if never else n_late, of_sample)


def labels_rng(seed: int | None) -> np.random.Generator:
    """Return the generator that draws which labels come; the delays have another."""
    return np.random.default_rng(None if seed is None else [seed, OF_LABELS])


def hidden_by(delay: Delay, weight: Weight | None) -> frozenset[str]:
    """Return the features that hold delays, times and weights, which models do not see."""
    clock = delay.column if isinstance(delay, TimeDelay) else delay
    return frozenset(name for name in (clock, weight) if isinstance(name, str))


def delay_of(x: Mapping[Any, Any], y: Hashable, delay: Delay, rng: np.random.Generator) -> int:
    """Return the delay of a sample, drawn if it is random."""
    d: Any
    if isinstance(delay, str):
        if delay not in x:
            raise ValueError(
                f"delay={delay!r} is not a feature of this sample, which has {', '.join(map(str, x))}; give a number "
                "of samples, a range, or the name of a feature that holds it"
            )
        d = x[delay]
    elif isinstance(delay, tuple):
        d = rng.integers(*delay, endpoint=True)
    else:
        d = delay(x, y) if callable(delay) else delay
    if not isinstance(d, int | float | np.number) or not d >= 0 or float(d) % 1:
        raise ValueError(
            f"delay={d}; a label comes a whole number of samples after its own, not before: choose 0, 1, 2, ..."
        )
    return int(d)


def weight_of(x: Mapping[Any, Any], y: Hashable, weight: Weight) -> float:
    """Return the weight of a sample."""
    if isinstance(weight, str) and weight not in x:
        raise ValueError(
            f"weight={weight!r} is not a feature of this sample, which has {', '.join(map(str, x))}; give the name of "
            "a feature that holds it, or a function of sample and label"
        )
    w = float(x[weight] if isinstance(weight, str) else weight(x, y))
    if not 0.0 < w < math.inf:
        raise ValueError(f"weight={w}; choose finite weights above 0")
    return w


def check_delay(delay: Any, stream: Iterable[Any]) -> None:
    """Raise ValueError unless the delay is a number of samples, a range of them, a name, a function, or a time.

    One in time reads the stream once more, so that an iterator, which gives its samples only once, is refused.
    """
    if isinstance(delay, TimeDelay) and iter(stream) is iter(stream):
        raise ValueError(
            f"a delay in time reads the stream twice, and this {type(stream).__name__} gives its samples only once; "
            "give a list, or a stream that begins anew each time"
        )
    is_range = (
        isinstance(delay, tuple) and len(delay) == 2 and all(isinstance(d, numbers.Integral) for d in delay)
    )
    if (
        isinstance(delay, numbers.Real | str | TimeDelay)
        or callable(delay)
        or (is_range and 0 <= delay[0] <= delay[1])
    ):
        return
    raise ValueError(
        f"delay={delay!r}; give a number of samples, a range (low, high) with 0 <= low <= high, the name of a feature, "
        "a TimeDelay, or a function of sample and label"
    )


def check_label_share(label_share: Any) -> None:
    """Raise ValueError unless the share of labels that come is above 0 and at most 1."""
    is_number = isinstance(label_share, numbers.Real) and not isinstance(label_share, bool)
    if not is_number or not 0.0 < label_share <= 1.0:
        raise ValueError(
            f"label_share={label_share!r}; choose the share of the samples whose labels come, above 0 and at most 1, "
            "such as 0.1"
        )


def check_weight(weight: Any) -> None:
    """Raise ValueError unless the weight is None, a name or a function."""
    if not (weight is None or isinstance(weight, str) or callable(weight)):
        raise ValueError(
            f"weight={weight!r}; give the name of a feature that holds it, or a function of sample and label"
        )
