"""Wrappers that make any stream harder: noise, gaps, imbalance, classes and features that come and go.

A wrapper changes some values of a sample, leaves samples out, or moves them a little. Everything else stays equal, bit
for bit, to the samples of `wrapper.stream`. Each reader draws from a generator of its own, so that two readings agree
whatever the sizes of their blocks. Two wrappers with the same seed draw the same numbers: when you put one over the
other, give each its own seed.

The wrappers that leave samples out are in `streams.selections`, those that put drifts in in `streams.injected`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from streams.injected import FeaturePermutation, LabelSwap
from streams.selections import PATIENCE, ClassesAppear, ClassImbalance, PriorShift
from streams.stream import Block, Drift, Reader, Stream, seed_or_one, until
from streams.wrapping import Wrapper, check_mapping, rejoined

__all__ = [
    "PATIENCE",
    "ClassImbalance",
    "ClassesAppear",
    "FeatureNoise",
    "FeaturePermutation",
    "FeaturesAppear",
    "FeaturesVanish",
    "LabelNoise",
    "LabelSwap",
    "MissingValues",
    "PriorShift",
    "ShuffleWindow",
    "Take",
    "Wrapper",
]


class Take(Wrapper):
    """The first samples of a stream.

    Parameters
    ----------
    stream
        Any stream.
    n_samples
        Number of samples to take, at least 0. The stream may end earlier.

    Raises
    ------
    ValueError
        If `n_samples` is negative.

    Examples
    --------
    >>> import streams
    >>> from streams.wrappers import Take
    >>> len(list(Take(streams.make("sea"), 3)))
    3
    """

    def __init__(self, stream: Stream, n_samples: int) -> None:
        if n_samples < 0:
            raise ValueError(f"n_samples={n_samples}; choose 0 or more")
        known = n_samples if stream.n_samples is None else min(n_samples, stream.n_samples)
        super().__init__(stream, n_samples=known)

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept among these samples."""
        return [drift for drift in self.stream.drifts if drift.position < self.n_samples]

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        return until(self.stream.reader(), self.n_samples)


class _Alteration(Wrapper):
    """The samples of a stream, in the same order, with some values changed."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, n_samples=stream.n_samples)

    @abstractmethod
    def _alterer(self) -> Callable[[Block], Block]:
        """Return a function that takes the blocks of one reading in order and returns changed copies of them."""

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        read, alter = self.stream.reader(), self._alterer()
        return lambda n: alter(read(n))


class LabelNoise(_Alteration):
    """Labels that are replaced at random by one of the other classes, each with equal chance.

    Parameters
    ----------
    stream
        A stream of two or more classes, all of which are known.
    rate
        Probability that a label is replaced, in [0, 1].
    seed
        Seed of the noise; `None` is the default, 1.

    Raises
    ------
    ValueError
        If `rate` is outside [0, 1], or the stream has fewer than two classes. While reading, if a class comes that was
        unknown when this object was made: with one more class to choose from, a second reading would draw other labels.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> from streams.wrappers import LabelNoise
    >>> flipped = next(LabelNoise(SEA(), 1.0).blocks(100)).y
    >>> bool((flipped == 1 - next(SEA().blocks(100)).y).all())
    True
    """

    def __init__(self, stream: Stream, rate: float, *, seed: int | None = 1) -> None:
        _check_rate(rate)
        if len(stream.classes) < 2:
            raise ValueError(f"label noise: classes={stream.classes}; it needs two or more")
        super().__init__(stream)
        self.rate = rate
        self.seed = seed_or_one(seed)
        self._n_known = len(stream.classes)

    def _alterer(self) -> Callable[[Block], Block]:
        random, n_classes = np.random.default_rng(self.seed), self._n_known

        def alter(block: Block) -> Block:
            if (block.y >= n_classes).any():
                raise ValueError(
                    f"label noise: class {self.classes[int(block.y.max())]!r} comes, but only "
                    f"{self.classes[:n_classes]} were known when the noise was put on; "
                    "declare all classes of the stream, or read it once before"
                )
            drawn = random.random((len(block.y), 2))
            away = 1 + (drawn[:, 1] * (n_classes - 1)).astype(np.int64)
            return Block(block.X, np.where(drawn[:, 0] < self.rate, (block.y + away) % n_classes, block.y))

        return alter


class FeatureNoise(_Alteration):
    """Normal noise of mean 0 that is added to numeric features.

    Parameters
    ----------
    stream
        Any stream.
    deviation
        Standard deviation of the noise, in the unit of the feature, at least 0.
    features
        Names of numeric features; `None` for all of them.
    seed
        Seed of the noise; `None` is the default, 1.

    Raises
    ------
    ValueError
        If `deviation` is negative, a name is unknown, or a feature is nominal.
    TypeError
        If `features` is a single name instead of a list.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> from streams.wrappers import FeatureNoise
    >>> noisy = next(FeatureNoise(SEA(), 0.5).blocks(1000)).X
    >>> round(float((noisy - next(SEA().blocks(1000)).X).std()), 1)
    0.5
    """

    def __init__(
        self, stream: Stream, deviation: float, *, features: Sequence[str] | None = None, seed: int | None = 1
    ) -> None:
        if not deviation >= 0.0:
            raise ValueError(f"deviation={deviation}; choose 0 or more")
        super().__init__(stream)
        numeric = [f.name for f in stream.features if not f.is_nominal]
        self._columns = _columns(stream, numeric if features is None else features)
        self.noisy_features = [stream.features[c].name for c in self._columns]
        if nominal := [stream.features[c].name for c in self._columns if stream.features[c].is_nominal]:
            raise ValueError(f"feature noise: {nominal} are nominal; choose among {numeric}")
        self.deviation = deviation
        self.seed = seed_or_one(seed)

    def _alterer(self) -> Callable[[Block], Block]:
        random = np.random.default_rng(self.seed)

        def alter(block: Block) -> Block:
            X = block.X.copy()
            X[:, self._columns] += self.deviation * random.standard_normal((len(X), len(self._columns)))
            return Block(X, block.y)

        return alter


class MissingValues(_Alteration):
    """Values that are missing (NaN) completely at random.

    Parameters
    ----------
    stream
        Any stream.
    rate
        Probability that a value is missing, in [0, 1].
    features
        Names of the features; `None` for all of them.
    seed
        Seed of the gaps; `None` is the default, 1.

    Raises
    ------
    ValueError
        If `rate` is outside [0, 1], or a name is unknown.
    TypeError
        If `features` is a single name instead of a list.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> from streams.wrappers import MissingValues
    >>> block = next(MissingValues(SEA(), 1.0, features=["attrib2"]).blocks(2))
    >>> (block.X != block.X).tolist()
    [[False, True, False], [False, True, False]]
    """

    def __init__(
        self, stream: Stream, rate: float, *, features: Sequence[str] | None = None, seed: int | None = 1
    ) -> None:
        _check_rate(rate)
        super().__init__(stream)
        self._columns = _columns(stream, [f.name for f in stream.features] if features is None else features)
        self.gappy_features = [stream.features[c].name for c in self._columns]
        self.rate = rate
        self.seed = seed_or_one(seed)

    def _alterer(self) -> Callable[[Block], Block]:
        random = np.random.default_rng(self.seed)

        def alter(block: Block) -> Block:
            X = block.X.copy()
            is_missing = random.random((len(X), len(self._columns))) < self.rate
            X[:, self._columns] = np.where(is_missing, np.nan, X[:, self._columns])
            return Block(X, block.y)

        return alter


class _FeatureSchedule(_Alteration):
    """Features that are missing (NaN) for a part of the stream."""

    def __init__(self, stream: Stream, positions: Mapping[str, int]) -> None:
        super().__init__(stream)
        check_mapping("positions", positions)
        self._columns = _columns(stream, list(positions))
        self.positions = dict(positions)

    @abstractmethod
    def _is_hidden(self, index: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return which of the scheduled features are missing at a sample, bool, shape (n, n_scheduled)."""

    def _alterer(self) -> Callable[[Block], Block]:
        positions, done = np.array(list(self.positions.values())), 0

        def alter(block: Block) -> Block:
            nonlocal done
            X, index = block.X.copy(), np.arange(done, done + len(block.y))[:, None]
            X[:, self._columns] = np.where(self._is_hidden(index, positions), np.nan, X[:, self._columns])
            done += len(X)
            return Block(X, block.y)

        return alter


class FeaturesAppear(_FeatureSchedule):
    """Features that are missing (NaN) before a given sample, like those of a sensor that is installed later.

    Parameters
    ----------
    stream
        Any stream.
    positions
        Name of a feature -> index of the first sample that has it.

    Raises
    ------
    ValueError
        If a name is unknown.
    TypeError
        If `positions` is not a mapping.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> from streams.wrappers import FeaturesAppear
    >>> block = next(FeaturesAppear(SEA(), {"attrib3": 2}).blocks(3))
    >>> (block.X != block.X)[:, 2].tolist()  # missing
    [True, True, False]
    """

    def _is_hidden(self, index: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return index < positions


class FeaturesVanish(_FeatureSchedule):
    """Features that are missing (NaN) from a given sample on, like those of a sensor that fails.

    Parameters
    ----------
    stream
        Any stream.
    positions
        Name of a feature -> index of the first sample without it.

    Raises
    ------
    ValueError
        If a name is unknown.
    TypeError
        If `positions` is not a mapping.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> from streams.wrappers import FeaturesVanish
    >>> block = next(FeaturesVanish(SEA(), {"attrib3": 2}).blocks(3))
    >>> (block.X != block.X)[:, 2].tolist()  # missing
    [False, False, True]
    """

    def _is_hidden(self, index: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return index >= positions


class ShuffleWindow(Wrapper):
    """Samples that are shuffled within consecutive windows. One window is held in memory.

    Every sample moves by less than a window. Local order, such as runs of a class, is lost; slower changes stay.

    Parameters
    ----------
    stream
        Any stream.
    window
        Samples in a window, at least 1.
    seed
        Seed of the order; `None` is the default, 1.

    Raises
    ------
    ValueError
        If `window` is below 1.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> from streams.wrappers import ShuffleWindow
    >>> shuffled, plain = next(ShuffleWindow(SEA(), 10).blocks(10)).X, next(SEA().blocks(10)).X
    >>> sorted(shuffled.tolist()) == sorted(plain.tolist()), shuffled.tolist() == plain.tolist()
    (True, False)
    """

    def __init__(self, stream: Stream, window: int, *, seed: int | None = 1) -> None:
        if window < 1:
            raise ValueError(f"window={window} samples; choose at least 1")
        super().__init__(stream, n_samples=stream.n_samples)
        self.window = window
        self.seed = seed_or_one(seed)

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept. Each takes the windows in which it lies: their samples are of both concepts."""
        return [self._in_windows(drift) for drift in self.stream.drifts]

    def _in_windows(self, drift: Drift) -> Drift:
        begin, end = drift.position - drift.width // 2, drift.position + drift.width // 2
        first, last = begin // self.window * self.window, -(-end // self.window) * self.window
        if self.n_samples is not None:
            last = min(last, self.n_samples)
        first = max(first, 0)
        return Drift((first + last) // 2, last - first) if first < last else drift  # else between two windows

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        read, random = self.stream.reader(), np.random.default_rng(self.seed)

        def shuffled_window() -> Block | None:
            block = read(self.window)
            if not len(block.y):
                return None
            order = random.permutation(len(block.y))
            return Block(block.X[order], block.y[order])

        return rejoined(shuffled_window, self.n_features)


def _columns(stream: Stream, names: Sequence[str]) -> list[int]:
    if isinstance(names, str):
        raise TypeError(f"features={names!r} is a single name; give a list: [{names!r}]")
    known = [feature.name for feature in stream.features]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"unknown features {unknown}; available: {', '.join(known)}")
    return [known.index(name) for name in names]


def _check_rate(rate: float) -> None:
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"rate={rate}; choose a probability between 0 and 1")
