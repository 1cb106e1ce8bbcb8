"""Wrappers that leave samples out: class shares that are given or change, and classes that appear later."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping

import numpy as np

from streams.java_random import kernel
from streams.stream import DEFAULT_BLOCK_SIZE, Block, Drift, Reader, Stream, seed_or_one
from streams.wrapping import Wrapper, check_mapping, class_index, rejoined

PATIENCE = 1_000_000
"""Consecutive samples that a wrapper may leave out before it gives up."""


class _Selection(Wrapper):
    """Some samples of a stream, in the same order."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, n_samples=None)

    @abstractmethod
    def _selector(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function from the targets of consecutive samples to those to keep, bool, shape (n,)."""

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        # The wrapped stream is always read in blocks of one size, so that results do not depend on the requested size.
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

        return rejoined(kept_block, self.n_features)

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept, at their positions in this stream.

        The wrapped stream is read up to the end of its last drift to find them: for a synthetic stream this takes a
        tenth of a second per million samples.
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
    """Classes in shares that change over time, from one set of proportions to another.

    For each sample a class is drawn with the proportions at its position; samples of the wrapped stream are left out
    until one of that class comes. Each class keeps its distribution of features, and samples keep their order.

    Parameters
    ----------
    stream
        Any stream.
    before
        Class label -> its share before the change. The shares add up to 1; a class that is not named has 0.
    after
        The same after the change.
    position
        Centre of the change, in samples of this stream.
    width
        Samples over which the shares change, linearly; 0 to change at once.
    seed
        Seed of the drawn classes; `None` is the default, 1.

    Raises
    ------
    ValueError
        If a label is unknown, a share is negative, the sum is not 1, or `width` is negative. While reading, if a class
        that is due does not come in a million samples.
    TypeError
        If the shares are not a mapping.

    Notes
    -----
    `n_samples` is `None`, because the number of samples left out depends on the stream. If a class has the share p here
    and q in the wrapped stream, about p/q samples are read for each one given, summed over the classes.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> from streams.wrappers import PriorShift, Take
    >>> [y for _, y in Take(PriorShift(SEA(), {0: 1.0}, {1: 1.0}, position=2, width=0), 4)]
    [0, 0, 1, 1]
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
        self.seed = seed_or_one(seed)

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept, at their positions in this stream, and that of the shares, if they change."""
        own = [Drift(self.position, max(self.width, 1))] if self.before != self.after else []
        return sorted([*super().drifts, *own], key=lambda drift: drift.position)

    def _selector(self) -> Callable[[np.ndarray], np.ndarray]:
        random = np.random.default_rng(self.seed)
        limits = self._shares.cumsum(axis=1)
        limits /= limits[:, -1:]
        begin = self.position - self.width / 2
        state = np.array([0, -1])  # number of samples given, class that is due (-1: not yet drawn)

        def select(y: np.ndarray) -> np.ndarray:
            keep = np.zeros(len(y), dtype=np.bool_)
            _keep_drawn_classes(y, random.random(len(y)), limits, begin, self.width, state, keep)
            return keep

        return select


class ClassImbalance(PriorShift):
    """Classes in given proportions, whatever those of the wrapped stream are.

    Parameters
    ----------
    stream
        Any stream.
    proportions
        Class label -> its share. The shares add up to 1; a class that is not named has 0.
    seed
        Seed of the drawn classes; `None` is the default, 1.

    Raises
    ------
    ValueError
        As `PriorShift`.

    See Also
    --------
    PriorShift : How samples are chosen, and the cost of it.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> from streams.wrappers import ClassImbalance, Take
    >>> [y for _, y in Take(ClassImbalance(SEA(), {0: 1.0}), 4)]
    [0, 0, 0, 0]
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
    """Classes that do not occur before a given sample.

    Parameters
    ----------
    stream
        Any stream.
    positions
        Class label -> index, in samples of this stream, from which the class may occur. Earlier samples of it are left
        out.

    Raises
    ------
    ValueError
        If a label is unknown. While reading, if a million consecutive samples have to be left out.
    TypeError
        If `positions` is not a mapping.

    Notes
    -----
    A class that a file shows only later cannot be named in `positions`. It is never left out.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> from streams.wrappers import ClassesAppear, Take
    >>> {y for _, y in Take(ClassesAppear(SEA(), {0: 50}), 50)}
    {1}
    """

    def __init__(self, stream: Stream, positions: Mapping[Hashable, int]) -> None:
        super().__init__(stream)
        check_mapping("positions", positions)
        self._first = np.zeros(len(stream.classes), dtype=np.int64)
        for label, position in positions.items():
            self._first[class_index(stream, label)] = position
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


def _shares(stream: Stream, proportions: Mapping[Hashable, float]) -> np.ndarray:
    check_mapping("proportions", proportions)
    shares = np.zeros(len(stream.classes))
    for label, share in proportions.items():
        shares[class_index(stream, label)] = share
    if (shares < 0.0).any() or abs(shares.sum() - 1.0) > 1e-9:
        raise ValueError(f"proportions: {dict(proportions)}; choose shares of at least 0 that add up to 1")
    return shares
