"""The samples that wait for their labels, in the order in which they came."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator

Name = tuple[str, str]
"""Key and id."""


class Waiting:
    """Names of samples, each with its number in the store and when it came.

    Parameters
    ----------
    samples
        Name, number and arrival of each, in order.

    Examples
    --------
    >>> from driftmoe.service.waiting import Waiting
    >>> waiting = Waiting([(("default", "a"), 1, 100.0), (("default", "b"), 2, 101.0)])
    >>> waiting.discard(("default", "a"))
    >>> waiting.of("default")
    (1, 101.0)
    """

    def __init__(self, samples: Iterable[tuple[Name, int, float]] = ()) -> None:
        self._samples: OrderedDict[Name, tuple[int, float]] = OrderedDict()
        self._n: Counter[str] = Counter()
        for name, seq, arrived in samples:
            self.add(name, seq, arrived)

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._samples)

    def __iter__(self) -> Iterator[Name]:
        """Iterate over the names, the one that came first before the others."""
        return iter(self._samples)

    def add(self, name: Name, seq: int, arrived: float) -> None:
        """Add a sample that does not wait yet."""
        self._samples[name] = seq, arrived
        self._n[name[0]] += 1

    def discard(self, name: Name) -> None:
        """Take a sample out, if it waits."""
        if self._samples.pop(name, None) is not None:
            self._count_out(name[0])

    def take_first(self) -> tuple[Name, int]:
        """Take the first sample out; return its name and number."""
        name, (seq, _) = self._samples.popitem(last=False)
        self._count_out(name[0])
        return name, seq

    def first_arrived(self) -> float:
        """Return when the first sample came; infinity if none waits."""
        return next(iter(self._samples.values()))[1] if self._samples else math.inf

    def of(self, key: str | None) -> tuple[int, float | None]:
        """Return how many samples wait, of one key or all, and when the first of them came. For any thread.

        The first ones are seldom far from the start, so that nothing is copied unless another thread comes between.
        """
        n = len(self._samples) if key is None else self._n.get(key, 0)
        if not n:
            return 0, None
        try:
            return n, _first(self._samples, key)
        except RuntimeError:  # another thread has changed it meanwhile
            return n, _first(self._samples.copy(), key)

    def _count_out(self, key: str) -> None:
        self._n[key] -= 1
        if not self._n[key]:
            del self._n[key]


def _first(samples: OrderedDict[Name, tuple[int, float]], key: str | None) -> float | None:
    return next((arrived for (of, _), (_, arrived) in samples.items() if key in (None, of)), None)
