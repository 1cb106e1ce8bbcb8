"""States as JSON and arrays, and back, without code.

A state (see `driftmoe.state`) is a tree of dicts and lists with arrays, numbers, text and labels at its ends.
`encoded` splits it into a *document*, which JSON can hold, and named arrays. `decoded` puts it together again. What
JSON has no word for is a *tagged value*, a dict of one entry whose name begins with `$`:

    {"$tuple": [1, "a"]}    {"$bytes": "AP8="}    {"$float": "nan"}    {"$array": "<f8"}    {"$full": ["<f4", [9], 1.0]}

An array has the name of its place in the state (`mixture.trust`). Equal states give equal documents and arrays.
Integers are kept in the narrowest type that holds them, equal arrays once (`$same`), arrays of one number as that
number (`$full`), and short ones as their numbers (`$numbers`); the document says what they were.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import pickle
from collections.abc import Mapping
from functools import cache, lru_cache
from inspect import signature
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from driftmoe.saving.kinds import KINDS, TAGS, integers, text

MAX_DEPTH = 64
"""Greatest depth of a document. A state has about ten levels; a label of nested tuples adds its own."""

MAX_REPEATED = 1 << 26
"""Greatest number of bytes, in one file, of arrays that are kept as one number or that repeat another: a small file
cannot claim all memory."""

MAX_SHORT = 16
"""Greatest number of entries of an array that is kept in the document, which takes less time and space."""

INTEGERS = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"))
"""Types of integers, the narrowest first."""

_BOUNDS = [(dtype, int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in INTEGERS]

SHAPED = "biuf"
"""Kinds of arrays that can be kept: bools, integers, floats."""


class Repeated:
    """The bytes that arrays may still take of which the file has one number, or another array; see `MAX_REPEATED`."""

    def __init__(self) -> None:
        self._left = MAX_REPEATED

    def has(self, n_bytes: int) -> bool:
        """Whether there are this many bytes left. If so, they are taken."""
        if n_bytes > self._left:
            return False
        self._left -= n_bytes
        return True


class Encoded(NamedTuple):
    """A state in two parts.

    Attributes
    ----------
    document
        Dicts, lists, text, numbers, bools and None.
    arrays
        Name -> C-contiguous array of plain numbers, in the order in which the document names them.
    """

    document: Any
    arrays: dict[str, np.ndarray]


def encoded(
    value: Any,
    prefix: str = "",
    *,
    objects: Mapping[str, type] = MappingProxyType({}),
    pickling: bool = False,
    repeated: Repeated | None = None,
) -> Encoded:
    """Split a state into a document and arrays.

    Parameters
    ----------
    value
        The state.
    prefix
        First part of the arrays' names.
    objects
        Name -> class. Its instances are described by the arguments of the constructor, which are their attributes.
    pickling
        Whether a value that cannot be described is pickled. Reading it then runs code.
    repeated
        What other states in the same file have left for arrays that are not written out.

    Raises
    ------
    TypeError
        If a value is of a type that cannot be described without code. The message names the value, its type and place.
    """
    encoder = _Encoder(objects, pickling, repeated or Repeated())
    return Encoded(encoder.write(value, (prefix,) if prefix else ()), encoder.arrays)


def decoded(
    document: Any,
    arrays: Mapping[str, np.ndarray],
    prefix: str = "",
    *,
    objects: Mapping[str, type] = MappingProxyType({}),
    unpickling: bool = False,
    repeated: Repeated | None = None,
) -> Any:
    """Put a state together from a document and arrays. No code runs but the constructors of `objects`.

    Raises
    ------
    ValueError
        If the document has no meaning, names an array that is missing, or leaves one out, or if it holds a pickle and
        `unpickling` is false.
    """
    decoder = _Decoder(arrays, objects, unpickling, repeated or Repeated())
    value = decoder.read(document, (prefix,) if prefix else ())
    if unused := arrays.keys() - decoder.used:
        raise ValueError(f"array {min(unused)!r} belongs to nothing in the file")
    return value


class Json(str):
    """The text of a document, in the place of the document."""


# No document contains itself: `MAX_DEPTH` bounds them all.
_ENCODER = json.JSONEncoder(ensure_ascii=True, check_circular=False, allow_nan=False, separators=(",", ":"))


def as_json(document: Any) -> str:
    """Return a document as text, the same for equal documents."""
    return document if type(document) is Json else _ENCODER.encode(document)


def _place(path: tuple[str, ...]) -> str:
    return ".".join(path) or "the state"


class _Encoder:
    def __init__(self, objects: Mapping[str, type], pickling: bool, repeated: Repeated) -> None:
        self._objects, self._pickling = {kind: name for name, kind in objects.items()}, pickling
        self._repeated = repeated
        self.arrays: dict[str, np.ndarray] = {}
        self._alike: dict[tuple[np.dtype, tuple[int, ...], bytes, bytes], list[str]] = {}

    def write(self, value: Any, path: tuple[str, ...]) -> Any:
        if len(path) > MAX_DEPTH:
            raise TypeError(f"{_place(path[:4])}... is nested too deeply; write at most {MAX_DEPTH} levels")
        kind: Any = type(value)
        if value is None or kind in (bool, str, int) or (kind is float and math.isfinite(value)):
            return value
        if kind is dict:
            return self._dict(value, path)
        if kind is list:
            return self._items(value, path)
        if kind is tuple:
            return {"$tuple": self._items(value, path)}
        if kind in (frozenset, set):
            items = self._items(list(value), path)
            return {"$frozenset" if kind is frozenset else "$set": sorted(items, key=as_json)}
        if kind is np.ndarray:
            return self._array(value, path)
        if tag := TAGS.get(kind):
            if getattr(value, "tzinfo", None) not in (None, dt.UTC):
                raise TypeError(f"{value!r} ({_place(path)}) has a time zone of its own; give UTC, or none")
            return {tag: KINDS[tag].write(value)}
        if isinstance(value, np.generic) and value.dtype.kind in SHAPED + "U":
            return {"$numpy": [value.dtype.newbyteorder("<").str, self.write(value.item(), path)]}
        if name := self._objects.get(kind):
            arguments = {one: getattr(value, one) for one in _parameters_of(kind)}
            return {"$object": [name, self._dict(arguments, path)]}
        if self._pickling:
            return {"$pickle": base64.b64encode(_pickled(value, path)).decode("ascii")}
        raise TypeError(
            f"{value!r:.80} ({_place(path)}) is of type {kind.__module__}.{kind.__qualname__}, which cannot be "
            "described without code; use text, numbers, bytes, dates or tuples of these, or save with "
            "pickle_experts=True"
        )

    def _items(self, values: Any, path: tuple[str, ...]) -> list[Any]:
        return [self.write(value, (*path, str(i))) for i, value in enumerate(values)]

    def _dict(self, value: dict[Any, Any], path: tuple[str, ...]) -> Any:
        for name in value:
            if type(name) is not str or name[:1] == "$":
                return {"$dict": [self._items(pair, path) for pair in value.items()]}
        return {name: self.write(one, (*path, name)) for name, one in value.items()}

    def _array(self, array: np.ndarray, path: tuple[str, ...]) -> Any:
        if array.dtype.names is not None:
            return {"$record": [self._fields(array, path), list(array.shape)]}
        if array.dtype.kind not in SHAPED:
            raise TypeError(f"{_place(path)} is an array of {array.dtype}; numbers and bools can be kept")
        dtype, code = _little(array.dtype)
        if array.size <= MAX_SHORT:
            return self._short(array, dtype, code, path)
        array = array.astype(dtype, order="C", copy=False)
        if (number := self._only_number(array)) is not None:
            return {"$full": [code, list(array.shape), number]}
        return self._kept(array, code, path)

    def _short(self, array: np.ndarray, dtype: np.dtype, code: str, path: tuple[str, ...]) -> Any:
        """Return the entry of an array that has few numbers, as numbers if they are finite."""
        numbers = array.ravel().tolist()
        shape, n, first = list(array.shape), len(numbers), numbers[0] if numbers else 0
        is_full = n > 1 and numbers.count(first) == n and (first or not _have_both_signs(numbers))
        if is_full and math.isfinite(first) and self._repeated.has(array.nbytes):
            return {"$full": [code, shape, first]}
        if all(map(math.isfinite, numbers)):
            return {"$numbers": [code, shape, numbers]}
        return self._kept(array.astype(dtype, order="C", copy=False), code, path)

    def _kept(self, array: np.ndarray, code: str, path: tuple[str, ...]) -> Any:
        """Return the entry of an array that is kept outside the document."""
        kept, own = narrowed(array), ".".join(path)
        ends = kept.ravel()[:8].tobytes(), kept.ravel()[-8:].tobytes()
        alike = self._alike.setdefault((kept.dtype, kept.shape, *ends), [])
        for name in alike:
            if self.arrays[name].tobytes() == kept.tobytes() and self._repeated.has(array.nbytes):
                return {"$same": [code, name]}
        alike.append(own)
        self.arrays[own] = kept
        return {"$array": code}

    def _only_number(self, array: np.ndarray) -> bool | int | float | None:
        """Return the finite number that all entries are, bit for bit, or `None`."""
        size = array.size
        if size < 2 or (number := array.item(0)) != array.item(-1) or not math.isfinite(number):
            return None
        content = array.tobytes()
        if content != content[: array.itemsize] * size or not self._repeated.has(array.nbytes):
            return None
        return number

    def _fields(self, array: np.ndarray, path: tuple[str, ...]) -> list[Any]:
        fields = _fields_of(array.dtype)
        if fields is None:
            raise TypeError(f"{_place(path)} is an array of records with gaps; give packed records")
        return [[name, self._array(array[name], (*path, name)), list(shape)] for name, shape in fields]


def _have_both_signs(zeros: list[Any]) -> bool:
    """Whether some zeros are minus zeros, which are other numbers in a file."""
    return type(zeros[0]) is float and len({math.copysign(1.0, zero) for zero in zeros}) > 1


@lru_cache(100)
def _fields_of(dtype: np.dtype) -> tuple[tuple[str, tuple[int, ...]], ...] | None:
    """Return the names and the shapes of the fields of records, or `None` if there are gaps between them."""
    names = dtype.names or ()
    packed = np.dtype([(name, dtype[name]) for name in names])
    return tuple((name, dtype[name].shape) for name in names) if packed == dtype else None


@cache
def _parameters_of(kind: type) -> tuple[str, ...]:
    return tuple(signature(kind).parameters)


def _pickled(value: Any, path: tuple[str, ...]) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        kind = type(value)
        raise TypeError(
            f"{value!r:.80} ({_place(path)}) is of type {kind.__module__}.{kind.__qualname__} and cannot be pickled: "
            f"{error}; define its class and its functions at the top level of a module"
        ) from None


class _MeaninglessError(ValueError):
    """Part of a document has no meaning; the message names its place."""


class _Decoder:
    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        objects: Mapping[str, type],
        unpickling: bool,
        repeated: Repeated,
    ) -> None:
        self._arrays, self._objects, self._unpickling = arrays, objects, unpickling
        self._repeated = repeated
        self.used: set[str] = set()

    def read(self, value: Any, path: tuple[str, ...]) -> Any:
        if len(path) > MAX_DEPTH:
            raise ValueError(f"{_place(path[:5])}... is nested too deeply")
        if type(value) is list:
            return [self.read(one, (*path, str(i))) for i, one in enumerate(value)]
        if type(value) is not dict:
            return value
        for tag in value:
            if tag[:1] == "$":
                break
        else:
            return {
                name: self.read(one, (*path, name)) if type(one) in (dict, list) else one
                for name, one in value.items()
            }
        if len(value) > 1:
            raise ValueError(
                f"{_place(path)} has {', '.join(map(repr, value))} together; {tag!r} stands alone"
            )
        try:
            return self._tagged(tag, value[tag], path)
        except _MeaninglessError:
            raise
        except (TypeError, ValueError, ArithmeticError) as error:
            raise _MeaninglessError(f"{_place(path)}: {tag}: {error}") from None

    def _tagged(self, tag: str, kept: Any, path: tuple[str, ...]) -> Any:
        if tag == "$array":
            return self._array(kept, ".".join(path))
        if kind := KINDS.get(tag):
            return kind.read(kept)
        if tag == "$pickle":
            return self._unpickled(kept)
        if not isinstance(kept, list):
            raise ValueError(f"{tag} has a {type(kept).__name__} in the place of a list")
        if tag == "$same":
            return self._same(*kept)
        if tag == "$full":
            return self._full(*kept)
        if tag == "$numbers":
            return _array_of(*kept)
        if tag == "$record":
            return self._record(kept, path)
        items = [self.read(one, (*path, str(i))) for i, one in enumerate(kept)]
        if tag == "$tuple":
            return tuple(items)
        if tag == "$frozenset":
            return frozenset(items)
        if tag == "$set":
            return set(items)
        if tag == "$numpy":
            code, value = items
            return _dtype(code, SHAPED + "U").type(value)
        if tag == "$object":
            return self._object(*items)
        if tag == "$dict":
            return dict(items)
        raise ValueError(f"unknown kind of value {tag!r}; was the file written by a newer version?")

    def _object(self, name: Any, arguments: Any) -> Any:
        if name not in self._objects:
            raise ValueError(f"unknown class {name!r}; was the file written by a newer version?")
        return self._objects[name](**arguments)

    def _unpickled(self, kept: Any) -> Any:
        if not self._unpickling:
            raise ValueError(
                "a pickled object, and loading it runs code; if you trust the file, load it with trust_pickle=True"
            )
        content = base64.b64decode(text(kept).encode("ascii"), validate=True)
        try:
            return pickle.loads(content)
        except (
            pickle.UnpicklingError,
            EOFError,
            LookupError,
            AttributeError,
            ImportError,
            RecursionError,
        ) as error:
            raise ValueError(
                f"a pickled object cannot be read: {error}; define its class, or install its package, as where it was "
                "saved"
            ) from None

    def _array(self, code: Any, name: Any) -> np.ndarray:
        if name not in self._arrays:
            raise ValueError(f"array {name!r} is missing")
        array, dtype = self._arrays[name], _dtype(code)
        self.used.add(name)
        if array.dtype == dtype and array.dtype.kind not in "iu":
            return array.copy()
        if not (array.dtype.kind in "iu" and dtype.kind in "iu"):
            raise ValueError(f"array {name!r} is of {array.dtype}, which is no {dtype}")
        if _narrowest(widened := array.astype(dtype)) != array.dtype:
            raise ValueError(f"array {name!r} of {dtype} is not kept as {array.dtype}")
        return widened

    def _same(self, code: Any, name: Any) -> np.ndarray:
        if name in self._arrays and not self._repeated.has(self._arrays[name].size * _dtype(code).itemsize):
            raise ValueError(f"array {name!r} is repeated too often: more than {MAX_REPEATED:,} bytes in all")
        return self._array(code, name)

    def _full(self, code: Any, shape: Any, number: Any) -> np.ndarray:
        integers(shape, len(shape))
        dtype = _dtype(code)
        if (
            min(shape, default=0) < 0
            or _exactly(dtype, [number]) is None
            or not self._repeated.has(math.prod(shape) * dtype.itemsize)
        ):
            raise ValueError(f"an array of shape {shape} and of {number!r} alone")
        return np.full(shape, number, dtype)

    def _record(self, kept: list[Any], path: tuple[str, ...]) -> np.ndarray:
        fields, shape = kept
        integers(shape, len(shape))
        columns = {}
        for name, column, inner in fields:
            columns[text(name)] = (
                self.read(column, (*path, name)),
                tuple(integers(inner, len(inner))),
            )
        for name, (column, inner) in columns.items():
            if not isinstance(column, np.ndarray) or column.shape != (*shape, *inner):
                raise ValueError(f"field {name!r} is not of shape {(*shape, *inner)}")
        array = np.zeros(shape, [(name, column.dtype, inner) for name, (column, inner) in columns.items()])
        for name, (column, _) in columns.items():
            array[name] = column
        return array


_TYPES = {"b": bool, "i": int, "u": int, "f": float}


def _array_of(code: Any, shape: Any, numbers: Any) -> np.ndarray:
    """Return the array of a few numbers."""
    dtype = _dtype(code)
    array = None if len(numbers) > MAX_SHORT else _exactly(dtype, numbers)
    if array is None:
        raise ValueError(f"an array of {dtype} with {numbers!r:.80}")
    return array.reshape(integers(shape, len(shape)))


def _exactly(dtype: np.dtype, numbers: Any) -> np.ndarray | None:
    """Return an array of exactly these numbers, or `None` if the type does not hold them."""
    kind = _TYPES[dtype.kind]
    for number in numbers:
        if type(number) is not kind:
            return None
    if kind is float and dtype.itemsize < 8:
        with np.errstate(all="ignore"):
            array = np.array(numbers, dtype)
    else:
        array = np.array(numbers, dtype)
    return array if array.tolist() == numbers else None


@cache
def _little(dtype: np.dtype) -> tuple[np.dtype, str]:
    """Return the little-endian type, and its code."""
    little = dtype.newbyteorder("<")
    return little, little.str


def _dtype(code: Any, kinds: str = SHAPED) -> np.dtype:
    return _dtype_of(text(code), kinds)


@lru_cache(100)
def _dtype_of(code: str, kinds: str) -> np.dtype:
    dtype = np.dtype(code)
    if dtype.kind not in kinds or dtype.hasobject:
        raise ValueError(f"an array of {dtype}")
    return dtype


def narrowed(array: np.ndarray) -> np.ndarray:
    """Return an array of integers in the narrowest type that holds all of them; other arrays as they are."""
    return array.astype(_narrowest(array), copy=False) if array.dtype.kind in "iu" else array


def _narrowest(array: np.ndarray) -> np.dtype:
    """Return the narrowest type that holds all integers of an array."""
    # The bits of all numbers together: below 0 if any number is, else as many as the largest has.
    bits = int(np.bitwise_or.reduce(array, axis=None))
    least, most = (0, bits) if bits >= 0 else (int(array.min()), int(array.max()))
    for dtype, lowest, highest in _BOUNDS:
        if lowest <= least and most <= highest:
            return dtype
    raise AssertionError("an integer array holds a number that no integer type holds")
