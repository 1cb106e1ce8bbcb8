"""Raw samples for an encoder: most of them are read by the short way, without being cleaned first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from driftmoe.encoding.blocks import SampleRows
from driftmoe.encoding.encoder import Encoder
from driftmoe.encoding.samples import Sample


class RawRows(SampleRows):
    """Rows of which some need no cleaning; equal to `SampleRows` of the cleaned ones.

    Parameters
    ----------
    encoder
        Encoder that reads them.
    samples
        Samples: raw ones where there is a vector, cleaned ones elsewhere.
    vectors
        Vector of each sample by `Encoder.known_vector`, `None` where that cannot read it.
    labels
        One a sample.
    """

    def __init__(
        self,
        encoder: Encoder,
        samples: Sequence[Any],
        vectors: Sequence[np.ndarray | None],
        labels: Sequence[Hashable],
    ) -> None:
        super().__init__(encoder, samples, labels)
        self._vectors = vectors

    def is_new(self, row: int) -> bool:
        """Whether a row has a new feature, a new nominal value or a new class."""
        if self._encoder.target(self._labels[row]) is None:
            return True
        return self._vectors[row] is None and self._encoder.is_new(self._samples[row])

    def n_ignored(self, start: int, stop: int) -> int:
        """Return how many values of some rows are ignored: none where the short way reads a row."""
        if not self._encoder.is_full:
            return 0
        return sum(self._encoder.n_ignored(self._samples[row]) for row in self._uncommon(start, stop))

    def n_shared(self, start: int, stop: int) -> int:
        """Return how many values of some rows share a code: none where the short way reads a row."""
        return sum(self._encoder.n_shared(self._samples[row]) for row in self._uncommon(start, stop))

    def entered(self, row: int) -> tuple[Encoder, Sample]:
        """Return an encoder that also knows what is new in a row, and the row as a sample."""
        sample = self._cleaned(row)
        return self._encoder.entered(sample, self._labels[row]), sample

    def vectors(self, start: int, stop: int) -> np.ndarray:
        """Return the vectors of some rows, shape (stop - start, n_features)."""
        vectors = np.full((stop - start, len(self._encoder.features)), np.nan)
        for row in range(start, stop):
            known = self._vectors[row]
            if known is None:
                vectors[row - start] = self._encoder.vector(self._samples[row])
            else:  # shorter if features have come since
                vectors[row - start, : len(known)] = known
        return vectors

    def samples(self, start: int, stop: int) -> list[Sample]:
        """Return some rows as cleaned samples, without features never learnt, in the encoder's order of features."""
        return [self._encoder.order(self._cleaned(row)) for row in range(start, stop)]

    def _uncommon(self, start: int, stop: int) -> list[int]:
        """Return the rows that the short way cannot read."""
        return [row for row in range(start, stop) if self._vectors[row] is None]

    def _cleaned(self, row: int) -> Sample:
        sample: Sample = self._samples[row]
        return sample if self._vectors[row] is None else self._encoder.clean(sample)
