"""A stream over any iterable of samples, such as river's data sets or a class of the user's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from river.datasets.base import SyntheticDataset

from streams.files.values import NominalValues
from streams.stream import Block, Feature, Reader, Stream

N_FIRST = 1000
"""Samples from which the features are known."""


class Pairs(Stream):
    """The samples of an iterable, as a stream.

    A feature is numeric if all its values in the first 1000 samples are numbers, otherwise nominal. The classes are
    those of these samples, in order of appearance; others are appended when they appear.

    Parameters
    ----------
    make
        Returns pairs of a dictionary of features and a label, from the first on. It is called for each reading, and
        must give the same samples each time.
    n_samples
        Largest number of samples to read; `None` reads all.
    name
        What errors call it.

    Raises
    ------
    ValueError
        If there is no sample, a sample is no such pair, or, while reading, a feature is new or no number although it
        was one before.

    Examples
    --------
    >>> from streams.pairs import Pairs
    >>> stream = Pairs(lambda: [({"a": 1, "b": "x"}, "yes"), ({"a": 2, "b": "y"}, "no")])
    >>> [feature.name for feature in stream.features], stream.classes
    (['a', 'b'], ['yes', 'no'])
    >>> list(stream)
    [({'a': 1.0, 'b': 'x'}, 'yes'), ({'a': 2.0, 'b': 'y'}, 'no')]
    """

    def __init__(
        self, make: Callable[[], Iterable[Any]], n_samples: int | None = None, *, name: str = "the stream"
    ) -> None:
        self._make, self._name = make, name
        first = [self._checked(i, sample) for i, sample in enumerate(itertools.islice(make(), N_FIRST))]
        if not first:
            raise ValueError(f"{name} has no samples")
        kinds: dict[Any, bool] = {}
        for x, _ in first:
            for key, value in x.items():
                if value is not None:
                    kinds[key] = kinds.get(key, True) and _is_number(value)
        self._nominal = {
            key: NominalValues((), lambda value: value) for key, is_number in kinds.items() if not is_number
        }
        self._labels = NominalValues((), lambda label: label)
        for _, y in first:
            self._labels.index(y)
        super().__init__(
            features=[
                Feature(key, self._nominal[key].values if key in self._nominal else None) for key in kinds
            ],
            classes=self._labels.values,
            n_samples=n_samples,
        )
        self._labels.values = self.classes  # the same list, so that a new label appears in the schema

    def reader(self) -> Reader:
        """Return a new position at the first sample."""
        samples = enumerate(self._make())
        place = {feature.name: j for j, feature in enumerate(self.features)}

        def read(n: int) -> Block:
            part = list(itertools.islice(samples, n))
            X, y = np.full((len(part), len(place)), np.nan), np.empty(len(part), np.int64)
            for row, (i, sample) in enumerate(part):
                x, label = self._checked(i, sample)
                y[row] = self._labels.index(label)
                for key, value in x.items():
                    if value is None:
                        continue
                    if key not in place:
                        raise ValueError(
                            f"{self._name}, sample {i}: {key!r} is no feature of the first {N_FIRST} samples"
                        )
                    nominal = self._nominal.get(key)
                    if nominal is None and not _is_number(value):
                        raise ValueError(
                            f"{self._name}, sample {i}: {key!r} is {value!r}, no number as in the first samples"
                        )
                    X[row, place[key]] = value if nominal is None else nominal.index(value)
            return Block(X, y)

        return read

    def _checked(self, i: int, sample: Any) -> tuple[Mapping[Any, Any], Any]:
        if not (isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[0], Mapping)):
            raise ValueError(
                f"{self._name}: sample {i} is {sample!r:.80}, not a pair of a dictionary of features and a label"
            )
        if sample[1] is None:
            raise ValueError(f"{self._name}: sample {i} has no label")
        return sample[0], sample[1]


def is_endless(stream: Any) -> bool:
    """Return whether an object is one of river's synthetic data sets, which have no end."""
    return isinstance(stream, SyntheticDataset) and not isinstance(stream, Stream)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
