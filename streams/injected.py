"""Wrappers that put a known drift of concept into any stream, such as one of real data whose own drifts nobody knows.

Each sample is of the old or of the new concept. At an abrupt change all samples from its position on are of the new
one. In a gradual change the probability of the new one rises evenly over its width. The same change again, as a wrapper
over the first one, leads labels back to the old concept.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence

import numpy as np

from streams.stream import Block, Drift, Reader, Stream, seed_or_one
from streams.wrapping import Wrapper, class_index


class _Change(Wrapper):
    """The samples of a stream, in the same order, some of which are of a new concept."""

    def __init__(self, stream: Stream, *, position: int, width: int, seed: int | None) -> None:
        for name, value in (("position", position), ("width", width)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name}={value!r}; choose a whole number of samples, 0 or more")
        super().__init__(stream, n_samples=stream.n_samples)
        self.position = position
        self.width = width
        self.seed = seed_or_one(seed)

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept of the wrapped stream, and this one, in order of position."""
        added = Drift(self.position, max(self.width, 1))
        is_within = self.n_samples is None or self.position < self.n_samples
        return sorted(
            [*self.stream.drifts, *([added] if is_within else [])], key=lambda drift: drift.position
        )

    @abstractmethod
    def _changed(self, block: Block) -> Block:
        """Return a copy of a block in which all samples are of the new concept."""

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        read, random, done = self.stream.reader(), np.random.default_rng(self.seed), 0
        begin = self.position - self.width / 2 if self.width > 1 else self.position

        def read_on(n: int) -> Block:
            nonlocal done
            block = read(n)
            index = np.arange(done, done + len(block.y))
            done += len(block.y)
            drawn = random.random(len(block.y))
            is_new = index >= begin if self.width <= 1 else drawn < (index + 0.5 - begin) / self.width
            if not is_new.any():
                return block
            changed = self._changed(block)
            return Block(np.where(is_new[:, None], changed.X, block.X), np.where(is_new, changed.y, block.y))

        return read_on


class LabelSwap(_Change):
    """Labels of two classes that are exchanged from some sample on: what was one is the other.

    Parameters
    ----------
    stream
        Any stream. If it does not know the classes, it is read until they have come.
    labels
        The two classes; `None` for the first two of the stream.
    position
        Index of the sample at the centre of the change.
    width
        Samples that the change takes; 1 or less to change at once.
    seed
        Seed of the samples of a gradual change that are of the new concept; `None` is the default, 1.

    Raises
    ------
    ValueError
        If the labels are not two different classes of the stream, or a number is negative.

    Examples
    --------
    >>> import streams
    >>> from streams.wrappers import LabelSwap
    >>> plain = streams.make("sea", n_samples=4)
    >>> [y for _, y in plain], [y for _, y in LabelSwap(plain, position=2)]
    ([1, 1, 1, 1], [1, 1, 0, 0])
    """

    def __init__(
        self,
        stream: Stream,
        *,
        position: int,
        width: int = 1,
        labels: Sequence[Hashable] | None = None,
        seed: int | None = 1,
    ) -> None:
        super().__init__(stream, position=position, width=width, seed=seed)
        for _ in stream.blocks():  # ends at once where the classes are declared
            if len(stream.classes) >= 2 and set(labels or ()) <= set(stream.classes):
                break
        self.labels = tuple(stream.classes[:2] if labels is None else labels)
        if isinstance(labels, str) or len(set(self.labels)) != 2 or len(self.labels) != 2:
            raise ValueError(f"labels={labels!r}; name two classes of {stream.classes}")
        self._pair = [class_index(stream, label) for label in self.labels]

    def _changed(self, block: Block) -> Block:
        first, second = self._pair
        y = np.where(block.y == first, second, np.where(block.y == second, first, block.y))
        return Block(block.X, y)


class FeaturePermutation(_Change):
    """Numeric features that exchange their values from some sample on, so that none keeps its own.

    Parameters
    ----------
    stream
        Any stream.
    features
        Names of two or more numeric features; `None` for all of them. Two are exchanged with each other.
    position
        Index of the sample at the centre of the change.
    width
        Samples that the change takes; 1 or less to change at once.
    seed
        Seed of the new order, and of the samples of a gradual change that are of the new concept; `None` is the
        default, 1.

    Raises
    ------
    ValueError
        If a name is unknown, a feature is nominal, there are fewer than two, or a number is negative.

    Examples
    --------
    >>> import streams
    >>> from streams.wrappers import FeaturePermutation
    >>> plain = streams.make("sea", n_samples=2)
    >>> swapped = FeaturePermutation(plain, position=1, features=["attrib1", "attrib3"])
    >>> x, z = list(plain)[1][0], list(swapped)[1][0]
    >>> (z["attrib1"], z["attrib3"]) == (x["attrib3"], x["attrib1"])
    True
    """

    def __init__(
        self,
        stream: Stream,
        *,
        position: int,
        width: int = 1,
        features: Sequence[str] | None = None,
        seed: int | None = 1,
    ) -> None:
        super().__init__(stream, position=position, width=width, seed=seed)
        numeric = [feature.name for feature in stream.features if not feature.is_nominal]
        named = numeric if features is None else list(features)
        if isinstance(features, str) or len(set(named)) < 2 or not set(named) <= set(numeric):
            raise ValueError(f"features={features!r}; name two or more of the numeric ones: {numeric}")
        known = [feature.name for feature in stream.features]
        self.permuted_features = list(dict.fromkeys(named))
        order = np.random.default_rng([self.seed, 1]).permutation(len(self.permuted_features))
        self._to = np.array([known.index(self.permuted_features[i]) for i in order])
        self._from = np.roll(self._to, 1)  # a ring, in which no feature stays

    def _changed(self, block: Block) -> Block:
        X = block.X.copy()
        X[:, self._to] = block.X[:, self._from]
        return Block(X, block.y)
