"""Difficulties to put over any stream: noise, gaps, imbalance, classes and features that come and go.

A wrapper changes some values of a sample, leaves samples out or moves them a little, and nothing else: what
it leaves is equal, bit for bit, to what `wrapper.stream` gives. Each draws from a generator of its own, made
anew by every reader, so two readings agree whatever the sizes of their blocks; wrappers over wrappers with
one seed draw the same numbers, so give each its own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from river.datasets import base

from streams.java_random import kernel
from streams.stream import (
    DEFAULT_BLOCK_SIZE,
    Block,
    Drift,
    Feature,
    Reader,
    Stream,
    composed_fingerprint,
    until,
)

PATIENCE = 1_000_000
"""Samples in a row that a wrapper which leaves samples out may find unfit before it gives up."""


class Wrapper(Stream):
    """A stream made of another one, with its features, classes and drifts.

    Parameters
    ----------
    stream
        The stream beneath.
    n_samples
        Length, or `None` where it is not known.
    """

    def __init__(self, stream: Stream, *, n_samples: int | None) -> None:
        super().__init__(features=stream.features, classes=stream.classes, n_samples=n_samples)
        self.stream = stream

    @property
    def features(self) -> list[Feature]:
        """The columns of the stream beneath."""
        return self.stream.features

    @property
    def classes(self) -> list[Hashable]:
        """The class labels of the stream beneath, in the order of their index."""
        return self.stream.classes

    @property
    def n_classes(self) -> int:
        """Number of classes that the stream beneath knows by now; a file may show more."""
        return len(self.classes)

    @n_classes.setter
    def n_classes(self, n_classes: int) -> None:
        """Pass over the number that river's constructor sets once and for all."""

    @property
    def task(self) -> str:
        """Kind of task, which follows from the number of classes."""
        return base.BINARY_CLF if self.n_classes == 2 else base.MULTI_CLF

    @task.setter
    def task(self, task: str) -> None:
        """Pass over the task that river's constructor sets once and for all."""

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept, in order of position."""
        return self.stream.drifts

    def fingerprint(self) -> str:
        """Return a SHA-256 of the fingerprint of the stream beneath and of what is done to it."""
        return composed_fingerprint(self, [self.stream])


class Take(Wrapper):
    """The first samples of a stream.

    Parameters
    ----------
    stream
        Any stream.
    n_samples
        Samples to take, at least 0; the stream may end before.

    Raises
    ------
    ValueError
        If `n_samples` is negative.
    """

    def __init__(self, stream: Stream, n_samples: int) -> None:
        if n_samples < 0:
            raise ValueError(f"n_samples={n_samples}; choose 0 or more")
        known = n_samples if stream.n_samples is None else min(n_samples, stream.n_samples)
        super().__init__(stream, n_samples=known)

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept among the samples taken."""
        return [drift for drift in self.stream.drifts if drift.position < self.n_samples]

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        return until(self.stream.reader(), self.n_samples)


class _Alteration(Wrapper):
    """Samples of a stream with some values changed: as many, in the same order."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, n_samples=stream.n_samples)

    @abstractmethod
    def _alterer(self) -> Callable[[Block], Block]:
        """Return a function that changes the blocks of one reading, given in order; it must not write into
        them."""

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        read, alter = self.stream.reader(), self._alterer()
        return lambda n: alter(read(n))


class LabelNoise(_Alteration):
    """Labels replaced at random by one of the other classes, each as likely.

    Parameters
    ----------
    stream
        A stream of two or more classes, all known.
    rate
        Probability that a label is replaced, in [0, 1].
    seed
        Seed of the noise; `None` is the default, 1.

    Raises
    ------
    ValueError
        If `rate` is outside [0, 1] or if the stream has fewer than two classes. While reading, if a class
        comes that was unknown when the noise was put on: with more classes to choose from, the labels before
        it would be others the next time.
    """

    def __init__(self, stream: Stream, rate: float, *, seed: int | None = 1) -> None:
        _check_rate(rate)
        if len(stream.classes) < 2:
            raise ValueError(f"label noise: classes={stream.classes}; it needs two or more")
        super().__init__(stream)
        self.rate = rate
        self.seed = _seed(seed)
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
    """Normal noise of mean 0 added to numeric features.

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
        If `deviation` is negative, or if a name is unknown or that of a nominal feature.
    TypeError
        If `features` is one name rather than a list of names.
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
        self.seed = _seed(seed)

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
        Names of the features concerned; `None` for all of them.
    seed
        Seed of the gaps; `None` is the default, 1.

    Raises
    ------
    ValueError
        If `rate` is outside [0, 1] or if a name is unknown.
    TypeError
        If `features` is one name rather than a list of names.
    """

    def __init__(
        self, stream: Stream, rate: float, *, features: Sequence[str] | None = None, seed: int | None = 1
    ) -> None:
        _check_rate(rate)
        super().__init__(stream)
        self._columns = _columns(stream, [f.name for f in stream.features] if features is None else features)
        self.gappy_features = [stream.features[c].name for c in self._columns]
        self.rate = rate
        self.seed = _seed(seed)

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
        _check_mapping("positions", positions)
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
    """Features that are missing (NaN) until some sample, as of a sensor installed later.

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
        If `positions` is no mapping.
    """

    def _is_hidden(self, index: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return index < positions


class FeaturesVanish(_FeatureSchedule):
    """Features that are missing (NaN) from some sample on, as of a sensor that fails.

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
        If `positions` is no mapping.
    """

    def _is_hidden(self, index: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return index >= positions


class ShuffleWindow(Wrapper):
    """Samples shuffled within consecutive windows, in the memory of one window.

    No sample moves by as much as a window. Local order, such as runs of a class, is lost; slower change
    stays.

    Parameters
    ----------
    stream
        Any stream.
    window
        Samples of a window, at least 1.
    seed
        Seed of the order; `None` is the default, 1.

    Raises
    ------
    ValueError
        If `window` is below 1.
    """

    def __init__(self, stream: Stream, window: int, *, seed: int | None = 1) -> None:
        if window < 1:
            raise ValueError(f"window={window} samples; choose at least 1")
        super().__init__(stream, n_samples=stream.n_samples)
        self.window = window
        self.seed = _seed(seed)

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        read, random = self.stream.reader(), np.random.default_rng(self.seed)

        def shuffled_window() -> Block | None:
            block = read(self.window)
            if not len(block.y):
                return None
            order = random.permutation(len(block.y))
            return Block(block.X[order], block.y[order])

        return _rejoined(shuffled_window, self.n_features)


class _Selection(Wrapper):
    """Some samples of a stream, in order."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, n_samples=None)

    @abstractmethod
    def _selector(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function of the targets of consecutive samples: which to keep, bool, shape (n,)."""

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        # Blocks of one size beneath, whatever size is asked for, so that no result depends on it.
        read, select = self.stream.reader(), self._selector()

        def kept_block() -> Block | None:
            for _ in range(0, PATIENCE, DEFAULT_BLOCK_SIZE):
                block = read(DEFAULT_BLOCK_SIZE)
                if not len(block.y):
                    return None
                keep = select(block.y)
                if keep.any():
                    return Block(block.X[keep], block.y[keep])
            raise ValueError(
                f"{type(self).__name__}: none of {PATIENCE} consecutive samples is of a class that is due; "
                "ask for classes that the stream still has"
            )

        return _rejoined(kept_block, self.n_features)

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept, at the sample of this stream where they are.

        Found by reading the stream beneath up to the end of its last drift: for a synthetic stream a tenth of
        a second per million samples.
        """
        beneath = self.stream.drifts
        if not beneath:
            return []
        ends = [(d.position - d.width // 2, d.position, d.position + (d.width + 1) // 2) for d in beneath]
        read, select = self.stream.reader(), self._selector()
        keep = [np.zeros(0, dtype=np.bool_)]
        left = max(end for *_, end in ends)
        while left > 0 and len(y := read(min(left, DEFAULT_BLOCK_SIZE)).y):
            keep.append(select(y))
            left -= len(y)
        kept_before = np.cumsum(np.concatenate([[False], *keep]))
        begin, centre, end = kept_before[np.array(ends).T.clip(0, len(kept_before) - 1)]
        return [Drift(int(p), int(w)) for p, w in zip(centre, end - begin, strict=True)]


class PriorShift(_Selection):
    """Classes in shares that move over time, from one set of proportions to another.

    Each sample is of a class drawn with the proportions of its place; samples beneath are left out until one
    of that class comes. Whatever their own shares, each class keeps its distribution of features, and the
    order is kept.

    Parameters
    ----------
    stream
        Any stream.
    before
        Class label -> its share before the change; shares add up to 1, a class not named has 0.
    after
        The same after the change.
    position
        Centre of the change, in samples of this stream.
    width
        Samples over which the shares move, evenly; 0 to change at once.
    seed
        Seed of the classes drawn; `None` is the default, 1.

    Raises
    ------
    ValueError
        If a label is unknown, a share negative, the sum not 1 or `width` negative. While reading, if a class
        with a share does not come in a million samples.
    TypeError
        If the shares are no mapping.

    Notes
    -----
    `n_samples` is `None`: how many samples are left out depends on the stream. For a share p of a class that
    has the share q beneath, about p/q samples are read for each one given, summed over the classes.
    """

    def __init__(
        self,
        stream: Stream,
        before: Mapping[Hashable, float],
        after: Mapping[Hashable, float],
        *,
        position: int,
        width: int,
        seed: int | None = 1,
    ) -> None:
        if width < 0:
            raise ValueError(f"width={width} samples; choose 0 (at once) or more")
        super().__init__(stream)
        self._shares = np.array([_shares(stream, before), _shares(stream, after)])
        self.before = dict(before)
        self.after = dict(after)
        self.position = position
        self.width = width
        self.seed = _seed(seed)

    def _selector(self) -> Callable[[np.ndarray], np.ndarray]:
        random = np.random.default_rng(self.seed)
        limits = self._shares.cumsum(axis=1)
        limits /= limits[:, -1:]
        begin = self.position - self.width / 2
        state = np.array([0, -1])  # samples given, class that is due (-1: not yet drawn)

        def select(y: np.ndarray) -> np.ndarray:
            keep = np.zeros(len(y), dtype=np.bool_)
            _keep_drawn_classes(y, random.random(len(y)), limits, begin, self.width, state, keep)
            return keep

        return select


class ClassImbalance(PriorShift):
    """Classes in given proportions, whatever they are beneath.

    Parameters
    ----------
    stream
        Any stream.
    proportions
        Class label -> its share; shares add up to 1, a class not named has 0.
    seed
        Seed of the classes drawn; `None` is the default, 1.

    Raises
    ------
    ValueError
        As `PriorShift`.

    See Also
    --------
    PriorShift : How samples are chosen, and at what cost.
    """

    def __init__(
        self, stream: Stream, proportions: Mapping[Hashable, float], *, seed: int | None = 1
    ) -> None:
        super().__init__(stream, proportions, proportions, position=0, width=0, seed=seed)


@kernel
def _keep_drawn_classes(
    y: np.ndarray,
    drawn: np.ndarray,
    limits: np.ndarray,
    begin: float,
    width: int,
    state: np.ndarray,
    keep: np.ndarray,
) -> None:
    given, due = state[0], state[1]
    for i in range(len(y)):
        if due < 0:
            step = 1.0 if given >= begin else 0.0
            moved = min(1.0, max(0.0, (given - begin) / width)) if width > 0 else step
            due = 0
            while drawn[i] >= limits[0, due] + moved * (limits[1, due] - limits[0, due]):
                due += 1
        if y[i] == due:
            keep[i] = True
            given += 1
            due = -1
    state[0] = given
    state[1] = due


class ClassesAppear(_Selection):
    """Classes none of whose samples are seen before some sample.

    Parameters
    ----------
    stream
        Any stream.
    positions
        Class label -> index, in samples of this stream, from which the class may come. Samples of it that
        come before are left out.

    Raises
    ------
    ValueError
        If a label is unknown. While reading, if no sample of the other classes comes in a million.
    TypeError
        If `positions` is no mapping.

    Notes
    -----
    A class that a file shows later, and that `positions` therefore cannot name, is never left out.
    """

    def __init__(self, stream: Stream, positions: Mapping[Hashable, int]) -> None:
        super().__init__(stream)
        _check_mapping("positions", positions)
        self._first = np.zeros(len(stream.classes), dtype=np.int64)
        for label, position in positions.items():
            self._first[_class_index(stream, label)] = position
        self.positions = dict(positions)

    def _selector(self) -> Callable[[np.ndarray], np.ndarray]:
        given = np.zeros(1, dtype=np.int64)

        def select(y: np.ndarray) -> np.ndarray:
            keep = np.zeros(len(y), dtype=np.bool_)
            first = np.pad(self._first, (0, len(self.classes) - len(self._first)))
            _keep_appeared_classes(y, first, given, keep)
            return keep

        return select


@kernel
def _keep_appeared_classes(y: np.ndarray, first: np.ndarray, given: np.ndarray, keep: np.ndarray) -> None:
    for i in range(len(y)):
        if given[0] >= first[y[i]]:
            keep[i] = True
            given[0] += 1


def _rejoined(next_block: Callable[[], Block | None], n_features: int) -> Reader:
    """Return a reader of the samples that `next_block` gives in blocks of its own sizes, `None` at the
    end."""
    kept, ended = Block(np.empty((0, n_features)), np.empty(0, dtype=np.int64)), False

    def read(n: int) -> Block:
        nonlocal kept, ended
        blocks, have = [kept], len(kept.y)
        while have < n and not ended:
            block = next_block()
            if block is None:
                ended = True
            else:
                blocks.append(block)
                have += len(block.y)
        X, y = _joined(blocks)
        kept = Block(X[n:], y[n:])
        return Block(X[:n], y[:n])

    return read


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    return Block(np.concatenate([block.X for block in blocks]), np.concatenate([block.y for block in blocks]))


def _seed(seed: int | None) -> int:
    return 1 if seed is None else seed


def _check_mapping(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={value!r}; give a mapping with a number for each name")


def _columns(stream: Stream, names: Sequence[str]) -> list[int]:
    if isinstance(names, str):
        raise TypeError(f"features={names!r} is a single name; give a list: [{names!r}]")
    known = [feature.name for feature in stream.features]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"unknown features {unknown}; available: {', '.join(known)}")
    return [known.index(name) for name in names]


def _class_index(stream: Stream, label: Hashable) -> int:
    if label not in stream.classes:
        raise ValueError(f"unknown class {label!r}; available: {stream.classes}")
    return stream.classes.index(label)


def _shares(stream: Stream, proportions: Mapping[Hashable, float]) -> np.ndarray:
    _check_mapping("proportions", proportions)
    shares = np.zeros(len(stream.classes))
    for label, share in proportions.items():
        shares[_class_index(stream, label)] = share
    if (shares < 0.0).any() or abs(shares.sum() - 1.0) > 1e-9:
        raise ValueError(f"proportions: {dict(proportions)}; choose shares of at least 0 that add up to 1")
    return shares


def _check_rate(rate: float) -> None:
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"rate={rate}; choose a probability between 0 and 1")
