"""Reading of frames and of columns of labels and weights: any eager dataframe, series, array or list."""

from __future__ import annotations

import reprlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as narwhals
import numpy as np
from river.utils.dataframe import into_frame, to_native_frame

from driftmoe.encoding.encoder import Encoder
from driftmoe.encoding.samples import Sample, clean, entering

if TYPE_CHECKING:
    from narwhals.stable.v2.typing import IntoDataFrame

Frame = narwhals.DataFrame[Any]

MAX_WEIGHT = 1e15
"""Greatest weight of a sample: networks square what they have multiplied by it, and float32 ends at 3.4e38."""


def as_frame(X: IntoDataFrame) -> Frame:
    """Return a frame as a narwhals frame.

    Raises
    ------
    TypeError
        If it is not an eager frame.
    ValueError
        If two columns have the same name.
    """
    try:
        return into_frame(X)
    except narwhals.exceptions.DuplicateError as error:
        raise ValueError(
            f"X has two columns of one name, which make one feature: {error}; rename one"
        ) from None
    except TypeError:
        kind = f"numpy array of shape {X.shape}" if isinstance(X, np.ndarray) else type(X).__name__
        raise TypeError(
            f"X is a {kind}; give an eager frame (pandas, polars, pyarrow) with a column for each feature, such as "
            "pandas.DataFrame(X)"
        ) from None


def series_of_classes(classes: Sequence[Hashable], frame: Frame) -> narwhals.Series[Any]:
    """Return the classes as a series of the frame's kind, or raise ValueError if it would change them."""
    try:
        series = narwhals.new_series(name="", values=classes, backend=narwhals.get_native_namespace(frame))
        held = [tuple(label) if isinstance(label, list) else label for label in series.to_list()]
    except (ArithmeticError, NotImplementedError, TypeError, ValueError):  # each library raises its own
        held = []
    if held == list(classes):
        return series
    types = ", ".join(dict.fromkeys(type(label).__name__ for label in classes))
    kind = frame.implementation.value
    raise ValueError(
        f"labels {reprlib.repr(list(classes))} of type {types} do not fit into a series of {kind}, which holds "
        "values of one type that it knows, and integers of limited size; use predict_one, a pandas frame, or labels of "
        "one type, such as text"
    )


def check_texts(labels: Sequence[Hashable]) -> None:
    """Raise ValueError unless the texts of the labels can name the columns of a frame that is not a pandas frame."""
    texts = list(map(str, labels))
    if len(set(texts)) < len(texts):
        raise ValueError(
            f"labels {reprlib.repr(list(labels))} have equal texts, so that they cannot name the columns of such a "
            "frame; use predict_proba_one, a pandas frame, or labels of one type"
        )
    for label, text in zip(labels, texts, strict=True):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"label {reprlib.repr(label)} has a text that is not valid Unicode, so that it cannot name a column of "
                "such a frame; use predict_proba_one, a pandas frame, or other labels"
            ) from None


def frame_of_classes(labels: Sequence[Hashable], values: np.ndarray, *, like: Frame) -> IntoDataFrame:
    """Return a frame of the library of `like`, with a column for each label; values have shape (n_rows, n_labels).

    pandas names columns by the labels, others by their text.

    Raises
    ------
    ValueError
        If the texts of the labels cannot name columns; not for pandas.
    """
    is_pandas = like.implementation.is_pandas_like()
    if not is_pandas:
        check_texts(labels)
    columns = {label: values[:, i].tolist() for i, label in enumerate(labels)}
    answer: Any = to_native_frame(columns, like=like)
    if is_pandas and list(answer.columns) != list(labels):  # numbers of one kind, tuples of one length
        answer.columns = objects(labels)
    return answer


def objects(labels: Sequence[Hashable]) -> np.ndarray:
    """Return the labels as an array of objects, which pandas leaves as they are."""
    return np.fromiter(labels, object, len(labels))


def number_block(frame: Frame) -> np.ndarray | None:
    """Return a frame of numbers as a float64 array, NaN for missing values; `None` if a column holds no numbers."""
    native: Any = frame.to_native()
    if frame.implementation.is_pandas() and all(map(_is_of_numbers, native.dtypes)):
        return np.ascontiguousarray(native.to_numpy(np.float64))  # a tenth of the time that the schema takes
    if not all(dtype.is_numeric() or dtype == narwhals.Boolean for dtype in frame.schema.values()):
        return None
    block = frame.to_numpy()
    if block.dtype.kind in "fiu":
        return np.ascontiguousarray(block, np.float64)
    columns = [
        frame.get_column(name).cast(narwhals.Float64()).to_numpy() for name in frame.columns
    ]  # of several kinds
    return np.column_stack(columns) if columns else np.empty(frame.shape)


def _is_of_numbers(dtype: Any) -> bool:
    """Return whether a type of a column of pandas is one of numpy's types of numbers."""
    return isinstance(dtype, np.dtype) and dtype.kind in "fiub"


def frame_rows(frame: Frame) -> Iterator[dict[Hashable, Any]]:
    """Return the rows of a frame as samples."""
    return frame.iter_rows(named=True)  # type: ignore[return-value]  # dict is invariant in its keys


def cleaned_rows(
    rows: Iterable[Mapping[Hashable, Any]], encoder: Encoder, labels: Sequence[Hashable], weights: np.ndarray
) -> list[Sample]:
    """Return rows as cleaned samples. Each is checked against the features that earlier rows bring.

    Raises
    ------
    TypeError, ValueError
        If a row cannot be read. The message has its number.
    """
    kinds, n_total = dict(encoder.kinds), len(labels)
    classes = None if encoder.max_classes is None else set(encoder.classes)
    samples = []
    for i, row in enumerate(rows):
        try:
            samples.append(clean(row, kinds))
        except (TypeError, ValueError) as error:
            raise type(error)(f"row {i} of {n_total}: {error}; no row has been learnt") from None
        is_learnt = weights[i] > 0.0
        if is_learnt and classes is not None and labels[i] not in classes:
            is_learnt = len(classes) < (encoder.max_classes or 0)
            classes |= {labels[i]} if is_learnt else set()
        if is_learnt:  # other rows bring no features
            kinds |= entering(samples[-1], kinds, encoder.max_features)
    return samples


def checked_weights(w: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Return weights as float64, all from 0 to `MAX_WEIGHT`; else raise TypeError or ValueError."""
    if isinstance(w, np.ndarray):
        are_numbers = w.ndim == 1 and w.dtype.kind in "fiub"
    else:
        are_numbers = all(isinstance(one, int | float | np.integer | np.floating | np.bool_) for one in w)
    if not are_numbers:
        raise TypeError(f"w={reprlib.repr(w)}; give a number for each sample")
    try:
        weights = np.array(w, np.float64)
    except OverflowError:  # an integer of more than 300 digits
        weights = np.full(1, np.inf)
    is_right = (weights >= 0.0) & (weights <= MAX_WEIGHT)
    if not is_right.all():
        raise ValueError(
            f"w={weights[~is_right][0]}; choose finite weights of 0 or more, up to {MAX_WEIGHT:g}, one for each sample"
        )
    return weights


def column_values(y: Any, name: str = "y") -> list[Hashable]:
    """Return the labels, or weights, of one column: as Python values if the column can give them.

    Parameters
    ----------
    y
        A sequence, a series, an array, or a frame of one column.
    name
        Argument in messages: `"y"` for labels, `"w"` for weights.

    Raises
    ------
    TypeError
        If `y` is not a column.
    ValueError
        If it has several columns.
    """
    what = {"y": "label", "w": "weight"}[name]
    is_bytes = isinstance(y, str | bytes | bytearray | memoryview)
    if isinstance(y, Sequence) and not is_bytes:
        return list(y)
    table = narwhals.from_native(y, allow_series=True, pass_through=True)
    if isinstance(table, narwhals.DataFrame):
        if len(table.columns) != 1:
            raise ValueError(
                f"{name} is a {type(y).__name__} of {len(table.columns)} columns, "
                f"{', '.join(map(repr, table.columns[:5]))}{', ...' * (len(table.columns) > 5)}; give the one of the "
                f"{what}s"
            )
        return list(table.get_column(table.columns[0]).to_list())
    if isinstance(table, narwhals.Series):
        return list(table.to_list())
    if getattr(y, "num_columns", None) == 1:  # a record batch of pyarrow
        return list(y.column(0).to_pylist())
    shape = getattr(y, "shape", None)
    if shape is not None and hasattr(y, "dtype") and hasattr(y, "tolist"):  # numpy, torch
        if len(shape) == 2 and shape[1] == 1:
            y = y[:, 0]
        elif len(shape) != 1:
            raise ValueError(
                f"{name} has shape {tuple(shape)}; give one {what} a row, shape (n_rows,) or (n_rows, 1)"
            )
        # `tolist` would make integers of times in nanoseconds.
        return list(y) if getattr(y.dtype, "kind", "") in ("M", "m") else list(y.tolist())
    for method in ("to_pylist", "tolist"):  # arrays of pyarrow; array.array
        if hasattr(y, method) and not is_bytes and not hasattr(y, "columns"):  # nor a batch of rows
            return list(getattr(y, method)())
    raise TypeError(
        f"{name} is of type {type(y).__name__}, which is not a column of {what}s; give a list, a series, an array, or "
        "a frame of one column"
    )
