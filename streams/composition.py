"""Streams that take each sample from one of several concepts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from streams.stream import Block, Drift, Reader, Stream, composed_fingerprint, until

Chooser = Callable[[int], np.ndarray]
"""A position in the choices of a composition: `n` -> index of the concept of the next samples, int, shape (n,)."""


class Composition(Stream):
    """A stream that takes each sample from one of several concepts.

    Only the chosen concept moves on to its next sample. A subclass chooses the concepts (`chooser`), and tells the
    constructor which is chosen when (`segments`), so that drifts within a concept can be placed.

    Parameters
    ----------
    concepts
        Streams with the same features and classes. When a concept that has ended is chosen, the composition ends.
    segments
        `(start, concept)` in order of `start`: from this sample on, the concept is chosen most of the time.
    drifts
        The changes from one concept to another.
    n_samples
        Length, or `None` for as long as the concepts give samples.

    Raises
    ------
    ValueError
        If two concepts differ in a feature or in a class; the message names the first difference. While reading, if a
        concept shows a new class or a new nominal value, whose index could mean something else in another concept.

    Notes
    -----
    `drifts` also lists the drifts within the concepts. The position of such a drift counts the samples of its concept,
    which moves on only while it is chosen. It is converted to a position in the composition as if the concept were
    chosen in its segments and nowhere else. A drift that the concept does not reach within `n_samples` is left out. For
    compositions of compositions whose changes do not overlap, this is exact up to the width of the changes.

    Examples
    --------
    >>> from streams.drift import Composition, Switching
    >>> issubclass(Switching, Composition)
    True
    """

    def __init__(
        self,
        concepts: Sequence[Stream],
        *,
        segments: Sequence[tuple[int, int]],
        drifts: Sequence[Drift],
        n_samples: int | None = None,
    ) -> None:
        for i, concept in enumerate(concepts[1:], start=1):
            _check_same_schema(concepts[0], concept, i)
        known = [*drifts, *_inner_drifts(concepts, segments)]
        super().__init__(
            features=concepts[0].features,
            classes=concepts[0].classes,
            n_samples=n_samples,
            drifts=sorted(
                (d for d in known if n_samples is None or d.position < n_samples), key=lambda d: d.position
            ),
        )
        self.concepts = list(concepts)

    @abstractmethod
    def chooser(self) -> Chooser:
        """Return a new position at the start of the choices."""

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        reads = [concept.reader() for concept in self.concepts]
        choose = self.chooser()
        schema_size = _schema_size(self)
        ended = False

        def read(n: int) -> Block:
            nonlocal ended
            chosen = choose(0 if ended else n)
            X, y = np.empty((len(chosen), self.n_features)), np.empty(len(chosen), dtype=np.int64)
            length = len(chosen)
            for concept, read_concept in enumerate(reads):
                at = np.flatnonzero(chosen == concept)
                if not len(at):
                    continue
                block = read_concept(len(at))
                if _schema_size(self.concepts[concept]) != schema_size:
                    raise ValueError(
                        f"concept {concept} shows a class or nominal value that was unknown when the "
                        "concepts were put together; read or declare all of them before"
                    )
                if len(block.y) < len(at):  # the composition ends where its sample is missing
                    ended = True
                    length = min(length, int(at[len(block.y)]))
                    at = at[: len(block.y)]
                if len(at) == len(chosen):
                    return block
                X[at], y[at] = block
            return Block(X[:length], y[:length])

        return until(read, self.n_samples)

    @property
    def desc(self) -> str:
        """Description of the first concept."""
        leaf: Stream = self
        while isinstance(leaf, Composition):
            leaf = leaf.concepts[0]
        return f"Changing concepts of {type(leaf).__name__}: {leaf.desc}"

    def fingerprint(self) -> str:
        """Return a SHA-256 of the fingerprints of the concepts and of the settings of the composition."""
        return composed_fingerprint(self, self.concepts)


def _inner_drifts(concepts: Sequence[Stream], segments: Sequence[tuple[int, int]]) -> list[Drift]:
    """Return the drifts within the concepts, at the positions where the concepts reach them in their segments."""
    placed = []
    seen = [0] * len(concepts)
    ends = [start for start, _ in segments[1:]]
    for (start, concept), end in zip(segments, [*ends, math.inf], strict=True):
        length = end - start
        placed += [
            Drift(start + drift.position - seen[concept], drift.width)
            for drift in concepts[concept].drifts
            if 0 <= drift.position - seen[concept] < length
        ]
        if end < math.inf:
            seen[concept] += int(length)
    return placed


def _schema_size(stream: Stream) -> int:
    """Return the number of classes and nominal values, which can only grow."""
    return len(stream.classes) + sum(len(f.values) for f in stream.features if f.values is not None)


def _check_same_schema(first: Stream, other: Stream, index: int) -> None:
    """Raise ValueError with the first difference between concept 0 and concept `index` in features or classes."""
    names, other_names = [f.name for f in first.features], [f.name for f in other.features]
    if len(names) != len(other_names):
        raise ValueError(
            f"concept {index} has {len(other_names)} features and concept 0 has {len(names)}; "
            "concepts must share features and classes"
        )
    for a, b in zip(first.features, other.features, strict=True):
        if a != b:
            raise ValueError(
                f"concept {index} has the feature {b} where concept 0 has {a}; "
                "concepts must share features and classes"
            )
    if first.classes != other.classes:
        raise ValueError(
            f"concept {index} has the classes {other.classes} and concept 0 has {first.classes}; "
            "concepts must share features and classes"
        )
