"""The samples of a stream, as each learner wants them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pandas as pd

from streams.stream import Block, Reader, Stream, until

BLOCK = 256
"""Samples that a pool, and `learn_many`, get at once; as many as the evaluator gives."""


class InMemory(Stream):
    """A part of a stream that has been read already."""

    def __init__(self, stream: Stream, block: Block, n: int) -> None:
        super().__init__(features=stream.features, classes=stream.classes, n_samples=n)
        self._block = block

    def reader(self) -> Reader:
        """Return a new position at the start."""
        position = 0

        def read(n: int) -> Block:
            nonlocal position
            start, position = position, position + n
            return Block(self._block.X[start:position], self._block.y[start:position])

        return until(read, self.n_samples)


class Samples:
    """The samples of a stream, as each learner wants them."""

    def __init__(self, stream: Stream, n: int) -> None:
        self._stream, self._block = stream, next(stream.blocks(n))
        self.X, self.y = self._block
        self.names = [feature.name for feature in stream.features]
        self.classes = stream.classes
        self.is_nominal = all(feature.is_nominal for feature in stream.features)

    @cached_property
    def dicts(self) -> list[tuple[dict[str, Any], Any]]:
        """Dictionaries and labels, as river's learners take them."""
        return list(self._stream.samples(self.X, self.y))

    def frames(self, n: int) -> list[tuple[pd.DataFrame, pd.Series]]:
        """The first samples as frames of `BLOCK` rows."""
        X, y = pd.DataFrame(self.X, columns=self.names), pd.Series([self.classes[i] for i in self.y[:n]])
        return [(X[rows], y[rows]) for rows in blocks(n)]

    def stream(self, n: int) -> Stream:
        """The first samples as a stream."""
        return InMemory(self._stream, self._block, n)


def blocks(n: int) -> list[slice]:
    """Cut `n` rows into blocks."""
    return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
