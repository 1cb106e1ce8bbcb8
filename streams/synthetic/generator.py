"""Base of all generators: the reader, checks of arguments in MOA's units, and the balance of classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from streams.java_random import kernel, seeded
from streams.stream import Block, Feature, Reader, Stream

Fill = Callable[[np.ndarray, np.ndarray], None]
"""A position in an endless stream: each call fills the rows of `X` and `y` with the next samples."""


class Generator(Stream):
    """Base class of generators: an endless stream, or its first `n_samples`. A subclass writes `_start`."""

    def __init__(
        self, *, features: Sequence[Feature], n_classes: int, seed: int | None, n_samples: int | None
    ) -> None:
        if n_samples is not None:
            check_integer("n_samples", n_samples, 0)
        super().__init__(features=features, classes=range(n_classes), n_samples=n_samples)
        java_seed("seed", seed)
        self.seed = seed

    def _start(self) -> Fill:
        """Return a new position at the start."""
        raise NotImplementedError

    def _random(self) -> np.ndarray:
        """Return the random state from which samples are drawn."""
        return seeded(java_seed("seed", self.seed))

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        fill, done = self._start(), 0

        def read(n: int) -> Block:
            nonlocal done
            if self.n_samples is not None:
                n = min(n, self.n_samples - done)
            done += n
            X, y = np.empty((n, self.n_features)), np.empty(n, dtype=np.int64)
            fill(X, y)
            return Block(X, y)

        return read


def java_seed(name: str, seed: int | None) -> int:
    """Return the seed as MOA takes it: a 32-bit integer, 1 by default."""
    if seed is None:
        return 1
    check_integer(name, seed, -(2**31), 2**31 - 1)
    return int(seed)


def whole_percent(name: str, share: float) -> int:
    """Return a probability in whole percent, the unit of MOA's options."""
    percent = round(100 * share)
    if not 0 <= percent <= 100 or abs(100 * share - percent) > 1e-9:
        raise ValueError(
            f"{name}={share}; MOA counts it in whole percent: choose one of 0.0, 0.01, 0.02, ..., 1.0"
        )
    return percent


def check_integer(name: str, value: int, low: int, high: int | None = None) -> None:
    """Refuse an argument that is not an integer from `low` to `high`."""
    if not isinstance(value, int | np.integer):
        raise ValueError(f"{name}={value!r} is not an integer; choose {_range_text(name, low, high)}")
    check_number(name, value, low, high)


def check_number(name: str, value: float, low: float, high: float | None = None) -> None:
    """Refuse an argument that is not a number from `low` to `high`."""
    if not (low <= value and (high is None or value <= high)):
        raise ValueError(f"{name}={value!r} is out of range; choose {_range_text(name, low, high)}")


def _range_text(name: str, low: float, high: float | None) -> str:
    return f"{name} >= {low}" if high is None else f"{low} <= {name} <= {high}"


ANY_CLASS = -1


def first_wanted(balance: bool) -> np.ndarray:
    """Return the class that `is_wanted` waits for at the start: 1 if classes are balanced, else any."""
    return np.array([1 if balance else ANY_CLASS])


@kernel
def is_wanted(target: int, wanted: np.ndarray) -> bool:
    """Return whether a sample of class `target` is kept. If classes are balanced, then wait for the other class."""
    if wanted[0] == ANY_CLASS:
        return True
    if target != wanted[0]:
        return False
    wanted[0] = 1 - target
    return True
