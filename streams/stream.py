"""`Stream`: a river dataset that also yields blocks of arrays.

A stream has two views of the same samples. `for x, y in stream` yields river's dictionaries, `stream.blocks(size)`
yields float64 arrays. A subclass writes one method, `reader`, and both views are made from it. The stream is a
description and the reader is a position in it, so every new reader gives the same samples.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from river.datasets import base

DEFAULT_BLOCK_SIZE = 1024


@dataclass(frozen=True)
class Feature:
    """One column of a stream.

    Attributes
    ----------
    name
        Key of the feature in the dictionary view.
    values
        `None` for a numeric feature. For a nominal feature the list of its values: a block holds the index, the
        dictionary view holds the value. The list is append-only, because a file may show a new value in any block.

    Examples
    --------
    >>> from streams import Feature
    >>> Feature("age"), Feature("colour", ["red", "blue"])
    (Feature(name='age', values=None), Feature(name='colour', values=['red', 'blue']))
    """

    name: str
    values: list[Any] | None = None

    @property
    def is_nominal(self) -> bool:
        """Whether the feature takes values from a list rather than numbers."""
        return self.values is not None


@dataclass(frozen=True)
class Drift:
    """A known change of concept.

    Attributes
    ----------
    position
        Index of the sample at the centre of the change.
    width
        Number of samples the change takes; 1 or less is an abrupt change.

    Examples
    --------
    >>> import streams
    >>> [drift.width for drift in streams.make("sea_g", n_samples=1000).drifts]  # a twentieth of the stream
    [50, 50, 50]
    """

    position: int
    width: int = 1


class Block(NamedTuple):
    """Consecutive samples of a stream.

    Attributes
    ----------
    X
        Feature values, float64, shape (n, n_features). A nominal feature has the index of its value; a missing value
        is NaN.
    y
        Index into `stream.classes`, int64, shape (n,).

    Examples
    --------
    >>> import streams
    >>> block = next(streams.make("led_a", seed=1, n_samples=100).blocks(10))
    >>> block.X.shape, block.y.shape
    ((10, 24), (10,))
    """

    X: np.ndarray
    y: np.ndarray


Reader = Callable[[int], Block]
"""A position in a stream: each call returns the next `n` samples, fewer at the end and none after it."""


def until(read: Reader, n_samples: int | None) -> Reader:
    """Return a reader that ends after `n_samples` or with `read`, whichever comes first; `None` sets no limit."""
    left = n_samples
    if left is None:
        return read

    def read_on(n: int) -> Block:
        nonlocal left
        block = read(min(n, left))
        left -= len(block.y)
        return block

    return read_on


def composed_fingerprint(stream: Stream, parts: Sequence[Stream]) -> str:
    """Return a SHA-256 of the streams that a stream is made of and of its own public attributes.

    The first samples would not distinguish two such streams that differ only after a later change.
    """
    settings = {
        name: value
        for name, value in vars(stream).items()
        if name[0] != "_" and name not in ("concepts", "stream")
    }
    described = [type(stream).__name__, sorted(settings.items()), [part.fingerprint() for part in parts]]
    return hashlib.sha256(repr(described).encode()).hexdigest()


@dataclass
class _Schema:
    features: list[Feature]
    classes: list[Hashable]
    drifts: list[Drift] = field(default_factory=list)


class Stream(base.Dataset):
    """A stream of labelled samples, read one by one or in blocks.

    Parameters
    ----------
    features
        The columns, in the order in which blocks hold them.
    classes
        The class labels; a block holds the index. The list is append-only, like the values of nominal features.
    n_samples
        Length, or `None` if the stream has no end or an unknown length.
    drifts
        The known changes of concept, in order of position.

    Examples
    --------
    >>> import streams
    >>> stream = streams.make("sea_a", seed=1, n_samples=1000)
    >>> [feature.name for feature in stream.features], stream.classes
    (['attrib1', 'attrib2', 'attrib3'], [0, 1])
    >>> sum(len(block.y) for block in stream.blocks(300))
    1000
    """

    def __init__(
        self,
        *,
        features: Sequence[Feature],
        classes: Sequence[Hashable],
        n_samples: int | None = None,
        drifts: Sequence[Drift] = (),
    ) -> None:
        self._schema = _Schema(list(features), list(classes), list(drifts))
        super().__init__(
            task=base.BINARY_CLF if len(classes) == 2 else base.MULTI_CLF,
            n_features=len(features),
            n_samples=n_samples,
            n_classes=len(classes),
        )

    @property
    def features(self) -> list[Feature]:
        """The columns, in the order in which blocks hold them."""
        return self._schema.features

    @property
    def classes(self) -> list[Hashable]:
        """The class labels, in the order of their index."""
        return self._schema.classes

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept, in order of position; empty if none is known."""
        return self._schema.drifts

    @property
    def reading(self) -> dict[str, Any]:
        """How a file is read: the target, and each argument that is not its default. Empty for other streams."""
        return {}

    @property
    def notes(self) -> list[str]:
        """One sentence for each part of a file that could also mean something else than what was read."""
        return []

    @property
    def desc(self) -> str:
        """What the stream is: the first paragraph of its class's documentation, as one line."""
        return " ".join((inspect.getdoc(type(self)) or "").split("\n\n")[0].split())

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        raise NotImplementedError

    def blocks(self, size: int = DEFAULT_BLOCK_SIZE) -> Iterator[Block]:
        """Yield the stream from its start, `size` samples at a time; the last block may be shorter.

        Parameters
        ----------
        size
            Samples in a block, at least 1.

        Raises
        ------
        ValueError
            If `size` is below 1.
        """
        if size < 1:
            raise ValueError(f"blocks: size={size}; choose at least 1 sample a block")
        read, left = self.reader(), self.n_samples
        while left is None or left > 0:
            block = read(size if left is None else min(size, left))
            if not len(block.y):
                return
            if left is not None:
                left -= len(block.y)
            yield block

    def samples(self, X: np.ndarray, y: np.ndarray) -> Iterator[tuple[dict[Hashable, Any], Any]]:
        """Yield the rows of a block as dictionaries and labels.

        Parameters
        ----------
        X, y
            As in `Block`.
        """
        names = [feature.name for feature in self.features]
        values = [feature.values for feature in self.features]
        classes = self.classes
        any_nominal = any(v is not None for v in values)
        any_missing = bool(np.isnan(X).any())
        for row, target in zip(X.tolist(), y.tolist(), strict=True):
            if any_missing:
                x: dict[Hashable, Any] = {
                    name: value if of is None else of[int(value)]
                    for name, value, of in zip(names, row, values, strict=True)
                    if value == value  # NaN: a missing value has no key
                }
            elif any_nominal:
                x = {
                    name: value if of is None else of[int(value)]
                    for name, value, of in zip(names, row, values, strict=True)
                }
            else:
                x = dict(zip(names, row, strict=True))
            yield x, classes[target]

    def __iter__(self) -> Iterator[tuple[dict[Hashable, Any], Any]]:
        for X, y in self.blocks():
            yield from self.samples(X, y)

    def fingerprint(self) -> str:
        """Return a SHA-256 that identifies the samples of this stream.

        Compare results on two streams only if their fingerprints are equal. The default hashes the names of the
        features, the length and the first 1000 samples. It does not distinguish streams that differ only later. A
        stream from a file returns the hash of the whole file, and a stream made of other streams returns
        `composed_fingerprint`.
        """
        digest = hashlib.sha256()
        digest.update(repr(([f.name for f in self.features], self.n_samples)).encode())
        block = next(self.blocks(1000), None)
        if block is not None:
            digest.update(np.ascontiguousarray(block.X).tobytes())
            digest.update(np.ascontiguousarray(block.y).tobytes())
        return digest.hexdigest()


def seed_or_one(seed: int | None) -> int:
    """Return the seed, or 1 for `None`, as in MOA."""
    return 1 if seed is None else seed
