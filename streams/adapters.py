"""Adapters between our streams and those of scikit-multiflow and CapyMOA, in both directions.

The last version of scikit-multiflow, 0.5.3, does not install on current Pythons. Its adapters are written and tested
against the documented interface of `skmultiflow.data.base_stream.Stream`. Those of CapyMOA are tested with version
0.15.1.

A foreign stream has one position, so only its latest reading can continue. An older reading raises an error when it is
asked for more. Every reading starts with the foreign stream's `restart`. It gives the same samples again if the
foreign stream was made with a fixed seed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from streams.files import NominalValues, value_converter
from streams.stream import Block, Feature, Reader, Stream


def from_scikit_multiflow(stream: Any) -> Stream:
    """Adapt a scikit-multiflow stream to our interface.

    Parameters
    ----------
    stream
        An object with scikit-multiflow's `next_sample`, `n_remaining_samples`, `restart`, `n_features`,
        `feature_names`, `target_values`, `n_targets` and `cat_features_idx`.

    Returns
    -------
    Stream
        Features in `cat_features_idx` are nominal, with values in order of appearance. Values and labels that are
        whole numbers become ints.

    Raises
    ------
    ValueError
        If the stream has several targets or none.

    Notes
    -----
    scikit-multiflow cannot be installed, so this was tested with a stand-in that has its documented interface.

    Examples
    --------
    >>> import streams
    >>> from streams.adapters import ToScikitMultiflow, from_scikit_multiflow
    >>> stream = streams.make("sea", n_samples=5)
    >>> there_and_back = from_scikit_multiflow(ToScikitMultiflow(stream))
    >>> [y for _, y in there_and_back] == [y for _, y in stream]
    True
    """
    return _FromScikitMultiflow(stream)


def from_capymoa(stream: Any) -> Stream:
    """Adapt a CapyMOA stream to our interface.

    Parameters
    ----------
    stream
        A `capymoa.stream.Stream` for classification, or an object with the same `get_schema`, `has_more_instances`,
        `next_instance` and `restart`.

    Returns
    -------
    Stream
        Nominal values and class labels are in CapyMOA's order. In a column of whole numbers they are ints, otherwise
        strings. The length is known if the CapyMOA stream has one.

    Raises
    ------
    ValueError
        If the stream is for regression. While reading, if an instance has no label.
    """
    return _FromCapyMOA(stream)


class _ForeignStream(Stream):
    """A stream over an object with one position; a subclass writes `_restart` and `_next`."""

    _n_readings = 0

    def reader(self) -> Reader:
        self._n_readings += 1
        reading = self._n_readings
        self._restart()

        def read(n: int) -> Block:
            if reading != self._n_readings:
                raise RuntimeError(
                    "another reading of this stream was started, and the stream it adapts has one position; "
                    "finish a reading before the next, or adapt a second object"
                )
            return self._next(n)

        return read

    def _restart(self) -> None:
        raise NotImplementedError

    def _next(self, n: int) -> Block:
        raise NotImplementedError


class _FromScikitMultiflow(_ForeignStream):
    def __init__(self, stream: Any) -> None:
        if stream.n_targets != 1:
            raise ValueError(f"the stream has {stream.n_targets} targets; a stream here has one class label")
        stream.restart()
        n_samples = stream.n_remaining_samples()
        nominal = set(stream.cat_features_idx or ())
        self._stream = stream
        self._nominal = {j: NominalValues((), _whole_number) for j in nominal}
        names = [str(name) for name in stream.feature_names]
        super().__init__(
            features=[
                Feature(name, self._nominal[j].values if j in nominal else None)
                for j, name in enumerate(names)
            ],
            classes=[_whole_number(label) for label in stream.target_values],
            n_samples=n_samples if n_samples >= 0 else None,  # -1: without end
        )
        self._labels = NominalValues(self.classes, _whole_number)
        self._labels.values = self.classes

    def _restart(self) -> None:
        self._stream.restart()

    def _next(self, n: int) -> Block:
        n_left = self._stream.n_remaining_samples()
        n = n if n_left < 0 else min(n, n_left)
        if n == 0:
            return Block(np.empty((0, self.n_features)), np.empty(0, np.int64))
        given, labels = self._stream.next_sample(n)
        X = np.array(given, dtype=np.float64).reshape(-1, self.n_features)
        for j, nominal in self._nominal.items():
            X[:, j] = [np.nan if np.isnan(value) else nominal.index(value) for value in X[:, j].tolist()]
        y = np.array([self._labels.index(label) for label in np.ravel(labels).tolist()], dtype=np.int64)
        self.n_classes = len(self.classes)
        return Block(X, y)


class _FromCapyMOA(_ForeignStream):
    def __init__(self, stream: Any) -> None:
        schema = stream.get_schema()
        if not schema.is_classification():
            raise ValueError("the CapyMOA stream is one of regression; a stream here has class labels")
        self._stream = stream
        header, nominal = schema.get_moa_header(), schema.get_nominal_attributes()
        places = [i for i in range(header.numAttributes()) if i != header.classIndex()]
        names = [str(header.attribute(i).name()) for i in places]
        super().__init__(
            features=[Feature(name, _values(nominal[name]) if name in nominal else None) for name in names],
            classes=_values(schema.get_label_values()),
            n_samples=len(stream) if hasattr(stream, "__len__") else None,
        )

    def _restart(self) -> None:
        self._stream.restart()

    def _next(self, n: int) -> Block:
        X, y = np.empty((n, self.n_features)), np.empty(n, np.int64)
        for row in range(n):
            if not self._stream.has_more_instances():
                return Block(X[:row], y[:row])
            instance = self._stream.next_instance()
            X[row], y[row] = instance.x, instance.y_index
            if y[row] < 0:
                raise ValueError("the CapyMOA stream gave an instance without label; every sample needs one")
        return Block(X, y)


def _whole_number(value: Any) -> Hashable:
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _values(texts: Sequence[str]) -> list[Hashable]:
    convert = value_converter(texts)
    return [convert(text) for text in texts]


class _Cursor:
    """A position in a stream that knows whether samples are left."""

    def __init__(self, stream: Stream) -> None:
        self._blocks = stream.blocks()
        self._held = Block(np.empty((0, stream.n_features)), np.empty(0, np.int64))

    def has_more(self) -> bool:
        if not len(self._held.y):
            self._held = next(self._blocks, self._held)
        return len(self._held.y) > 0

    def take(self, n: int) -> Block:
        """Return the next `n` samples, fewer at the end."""
        X, y = [self._held.X[:0]], [self._held.y[:0]]
        while n and self.has_more():
            X.append(self._held.X[:n])
            y.append(self._held.y[:n])
            self._held = Block(self._held.X[n:], self._held.y[n:])
            n -= len(y[-1])
        return Block(np.concatenate(X), np.concatenate(y))


class ToScikitMultiflow:
    """One of our streams with scikit-multiflow's interface.

    scikit-multiflow needs numbers, so nominal features hold the index of their value and targets the index of their
    class.

    Parameters
    ----------
    stream
        Any stream.

    Attributes
    ----------
    n_features, n_num_features, n_cat_features, cat_features_idx, feature_names
        The columns.
    n_targets, n_classes, target_names, target_values
        One target, `"class"`, whose values are 0 to `n_classes - 1`.
    name
        Name of the stream's class.

    Notes
    -----
    scikit-multiflow cannot be installed, so this was tested against its documented interface.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from streams.files import open_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "weather.csv")
    ...     _ = path.write_text("degrees,rain\\n14.5,yes\\n21,no\\n")
    ...     stream = ToScikitMultiflow(open_file(path))
    ...     X, y = stream.next_sample(2)
    >>> X.tolist(), y.tolist(), stream.has_more_samples()
    ([[14.5], [21.0]], [0, 1], False)
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.name = type(stream).__name__
        self.n_features = stream.n_features
        self.feature_names = [feature.name for feature in stream.features]
        self.cat_features_idx = [j for j, feature in enumerate(stream.features) if feature.is_nominal]
        self.n_cat_features = len(self.cat_features_idx)
        self.n_num_features = self.n_features - self.n_cat_features
        self.n_targets = 1
        self.target_names = ["class"]
        self.restart()

    @property
    def n_classes(self) -> int:
        """Number of classes known so far."""
        return len(self._stream.classes)

    @property
    def target_values(self) -> list[int]:
        """Indices of the classes known so far."""
        return list(range(self.n_classes))

    def prepare_for_use(self) -> None:
        """Do nothing. Older versions of scikit-multiflow need this call."""

    def restart(self) -> None:
        """Go back to the first sample."""
        self._cursor = _Cursor(self._stream)
        self._n_given = 0
        self._last: tuple[np.ndarray | None, np.ndarray | None] = (None, None)

    def has_more_samples(self) -> bool:
        """Return whether samples are left."""
        return self._cursor.has_more()

    def n_remaining_samples(self) -> int:
        """Return the number of samples left, or -1 if the stream has no end or an unknown length."""
        if self._stream.n_samples is None:
            return -1
        return self._stream.n_samples - self._n_given if self.has_more_samples() else 0

    def next_sample(self, batch_size: int = 1) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the next samples.

        Parameters
        ----------
        batch_size
            Number of samples; fewer are returned at the end.

        Returns
        -------
        X, y
            Features, float64, shape (n, n_features), and classes, int64, shape (n,); both `None` after the end.
        """
        block = self._cursor.take(batch_size)
        self._n_given += len(block.y)
        self._last = (block.X, block.y) if len(block.y) else (None, None)
        return self._last

    def last_sample(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the last result of `next_sample`."""
        return self._last

    def get_data_info(self) -> str:
        """Return a line about the stream."""
        return f"{self.name}: 1 target, {self.n_classes} classes, {self.n_features} features"


def to_capymoa(stream: Stream, *, name: str = "stream") -> Any:
    """Adapt one of our streams to `capymoa.stream.Stream`. Samples are read when CapyMOA asks for them.

    Parameters
    ----------
    stream
        Any stream. Its class labels and nominal values must be known from the start, because CapyMOA's schema is
        fixed.
    name
        Name of the data set in CapyMOA's schema.

    Returns
    -------
    capymoa.stream.Stream
        Nominal values and labels are strings, in the order of our stream.

    Raises
    ------
    ImportError
        If CapyMOA, or the Java it needs, is missing.
    ValueError
        While reading, if a label or value appears that was unknown when the schema was made.
    """
    from capymoa.core import LabeledInstance
    from capymoa.stream import Schema
    from capymoa.stream import Stream as CapyMOAStream

    names = [feature.name for feature in stream.features]
    target = str(getattr(stream, "target", "class"))
    n_values = np.array([np.inf if f.values is None else len(f.values) for f in stream.features])
    n_classes = len(stream.classes)
    schema = Schema.from_custom(
        features=[*names, target],
        target=target,
        categories={
            **{f.name: [str(value) for value in f.values] for f in stream.features if f.values is not None},
            target: [str(label) for label in stream.classes],
        },
        name=name,
    )

    class FromStream(CapyMOAStream):
        def __init__(self) -> None:
            self.restart()

        def restart(self) -> None:
            self._cursor = _Cursor(stream)

        def has_more_instances(self) -> bool:
            return self._cursor.has_more()

        def next_instance(self) -> Any:
            X, y = self._cursor.take(1)
            if not len(y):
                raise StopIteration
            if y[0] >= n_classes or (X[0] >= n_values).any():
                raise ValueError(
                    "a label or nominal value appears that CapyMOA's fixed schema lacks; read the stream "
                    "once before, or pass its classes where it is opened"
                )
            return LabeledInstance.from_array(schema, X[0], int(y[0]))

        def get_schema(self) -> Any:
            return schema

    return FromStream()
