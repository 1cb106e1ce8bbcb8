"""The base class of streams made of another stream, and what its subclasses share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from river.datasets import base

from streams.stream import Block, Drift, Feature, Reader, Stream, composed_fingerprint


class Wrapper(Stream):
    """A stream made of another stream, with its features, classes and drifts.

    Parameters
    ----------
    stream
        The wrapped stream.
    n_samples
        Length, or `None` if it is unknown.

    Examples
    --------
    >>> import streams
    >>> from streams.wrappers import Take
    >>> Take(streams.make("sea"), 3).features == streams.make("sea").features
    True
    """

    def __init__(self, stream: Stream, *, n_samples: int | None) -> None:
        super().__init__(features=stream.features, classes=stream.classes, n_samples=n_samples)
        self.stream = stream

    @property
    def features(self) -> list[Feature]:
        """The columns of the wrapped stream."""
        return self.stream.features

    @property
    def classes(self) -> list[Hashable]:
        """The class labels of the wrapped stream, in the order of their index."""
        return self.stream.classes

    @property
    def n_classes(self) -> int:
        """Number of classes that the wrapped stream knows so far; a file may add more."""
        return len(self.classes)

    @n_classes.setter
    def n_classes(self, n_classes: int) -> None:
        """Ignore the number that river's constructor sets."""

    @property
    def task(self) -> str:
        """Kind of task, by the number of classes."""
        return base.BINARY_CLF if self.n_classes == 2 else base.MULTI_CLF

    @task.setter
    def task(self, task: str) -> None:
        """Ignore the task that river's constructor sets."""

    @property
    def drifts(self) -> list[Drift]:
        """The known changes of concept, in order of position."""
        return self.stream.drifts

    @property
    def reading(self) -> dict[str, Any]:
        """How the file of the wrapped stream is read."""
        return self.stream.reading

    @property
    def notes(self) -> list[str]:
        """What the file of the wrapped stream could also mean."""
        return self.stream.notes

    @property
    def bad_rows(self) -> Any:
        """The malformed rows of the wrapped stream's file that were left out; AttributeError if it is no file."""
        return self.stream.bad_rows  # type: ignore[attr-defined]  # only streams from files have it

    def fingerprint(self) -> str:
        """Return a SHA-256 of the fingerprint of the wrapped stream and of the settings of the wrapper."""
        return composed_fingerprint(self, [self.stream])


def rejoined(next_block: Callable[[], Block | None], n_features: int) -> Reader:
    """Return a reader over the blocks of `next_block`. They may have any size, and `None` ends them."""
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


def check_mapping(name: str, value: object) -> None:
    """Raise TypeError unless the value is a mapping."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={value!r}; give a mapping with a number for each name")


def class_index(stream: Stream, label: Hashable) -> int:
    """Return the index of a class label, or raise ValueError."""
    if label not in stream.classes:
        raise ValueError(f"unknown class {label!r}; available: {stream.classes}")
    return stream.classes.index(label)
