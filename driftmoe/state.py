"""The states of a model's parts, and the checks of a state before it is restored.

`part.state()` returns a dict of named arrays, numbers, text, `None`, and lists and dicts of these. The arrays are
copies without spare capacity. `part.restore(state)` sets a part that was built with the same arguments to that state.
From then on both parts give the same answers, bit for bit. A state that does not fit raises an error before anything
changes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

State = dict[str, Any]

T = TypeVar("T")

LARGEST = 2**62
"""Counts are int64 in kernels, and go on growing."""

REMEDY = "restore what state() of a part with the same arguments has returned"


def restored(part: T, state: State) -> T:
    """Return a copy of a part, restored to a state. The part itself does not change, even if `restore` raises.

    A shallow copy is enough: `restore` replaces attributes, and never writes into them.
    """
    draft: Any = copy.copy(part)
    draft.restore(state)
    return draft


def misfit(
    owner: Any,
    name: str,
    came: str,
    allowed: str,
    *,
    error: type[Exception] = ValueError,
    remedy: str = REMEDY,
) -> Exception:
    """Return the error for an entry of a state.

    Parameters
    ----------
    owner
        The part, or its name.
    name
        Name of the entry.
    came, allowed, remedy
        What the entry is, what it must be, and what to do: "is -1", "it must be 0 or more", "restore ...".
    error
        Class of the error.
    """
    return error(f"{name!r} in the state of {_kind(owner)} {came}; {allowed}: {remedy}")


def check_names(state: State, names: Iterable[str], owner: Any, *, optional: Iterable[str] = ()) -> None:
    """Raise unless a state has exactly these entries.

    Parameters
    ----------
    state
        As `state()` returned it.
    names
        Entries that it must have.
    owner
        The part, for the error message.
    optional
        Entries that it may have. An entry of later versions is optional, so that files of earlier ones load. The part
        then starts what the entry holds anew.

    Raises
    ------
    TypeError
        If the state is not a dict.
    ValueError
        If an entry is missing or unknown; the message names it.
    """
    if not isinstance(state, dict):
        raise TypeError(
            f"the state of {_kind(owner)} is a {type(state).__name__}; give the dict that state() returned"
        )
    names, optional = tuple(names), tuple(optional)
    if set(names) <= state.keys() <= {*names, *optional}:
        return
    missing, unknown = (
        [name for name in names if name not in state],
        [name for name in state if name not in (*names, *optional)],
    )
    wrong = [f"lacks {', '.join(map(repr, missing))}"] * bool(missing)
    wrong += [f"has unknown {', '.join(map(repr, unknown))}"] * bool(unknown)
    may_have = f" and may have {', '.join(optional)}" * bool(optional)
    raise ValueError(
        f"the state of {_kind(owner)} {' and '.join(wrong)}; it must have the entries {', '.join(names)}{may_have}: "
        f"{REMEDY}"
    )


def check_array(state: State, name: str, dtype: Any, shape: Sequence[int | None], owner: Any) -> None:
    """Check the dtype and the shape of an array in a state; see `array_of`."""
    array, dtype = state[name], np.dtype(dtype)
    if not isinstance(array, np.ndarray):
        raise misfit(
            owner, name, f"is of type {type(array).__name__}", "it must be an array", error=TypeError
        )
    fits = array.shape == tuple(shape) or (
        len(array.shape) == len(shape)
        and all(wanted is None or length == wanted for length, wanted in zip(array.shape, shape, strict=True))
    )
    if array.dtype != dtype or not fits:
        lengths = ["any" if length is None else str(length) for length in shape]
        wanted = f"({', '.join(lengths)}{',' * (len(lengths) == 1)})"
        is_wrong_dtype = array.dtype != dtype
        came, allowed = (_as_text(one, in_full=is_wrong_dtype) for one in (array.dtype, dtype))
        raise misfit(
            owner, name, f"is {came} of shape {array.shape}", f"it must be {allowed} of shape {wanted}"
        )


def check_finite(array: np.ndarray, name: str, owner: Any) -> None:
    """Raise ValueError if an array of a state, or a field of its records, has NaN or an infinite number."""
    for field in array.dtype.names or ("",):
        values = array[field] if field else array
        if values.dtype.kind == "f" and np.count_nonzero(np.isfinite(values)) < values.size:
            where = f" in the field {field!r}" if field else ""
            came = f"has {values[~np.isfinite(values)][0]}{where}"
            raise misfit(owner, name, came, "all numbers must be finite")


def array_of(
    state: State,
    name: str,
    dtype: Any,
    shape: Sequence[int | None],
    owner: Any,
    *,
    finite: bool = True,
) -> np.ndarray:
    """Return a copy of an array in a state.

    Parameters
    ----------
    state
        As `state()` returned it.
    name
        Name of the entry.
    dtype, shape
        Required dtype and shape; `None` in `shape` allows any length.
    owner
        The part, for the error message.
    finite
        Whether to refuse NaN and infinite numbers.

    Raises
    ------
    TypeError
        If the entry is not an array.
    ValueError
        If it has another dtype or shape, or numbers that are not finite.
    """
    check_array(state, name, dtype, shape, owner)
    array: np.ndarray = state[name]
    if finite:
        check_finite(array, name, owner)
    return array.copy()


def value_of(state: State, name: str, kind: type[T], owner: Any) -> T:
    """Return a number, text, list or dict in a state.

    Raises
    ------
    TypeError
        If the entry is of another type.
    """
    value = state[name]
    if type(value) is not kind:
        came, allowed = f"is of type {type(value).__name__}", f"it must be of type {kind.__name__}"
        raise misfit(owner, name, came, allowed, error=TypeError)
    return value


def count_of(state: State, name: str, owner: Any, *, at_most: float = LARGEST) -> int:
    """Return an integer of at least 0 in a state.

    Raises
    ------
    TypeError
        If the entry is not an integer.
    ValueError
        If it is below 0 or above `at_most`.
    """
    count = value_of(state, name, int, owner)
    if not 0 <= count <= at_most:
        is_any = count < 0 and at_most in (LARGEST, math.inf)
        raise misfit(owner, name, f"is {count}", f"it must be {'0 or more' if is_any else f'0 to {at_most}'}")
    return count


def generator_of(state: State, name: str, owner: Any) -> np.random.Generator:
    """Return a random generator, set to an entry that came from `generator.bit_generator.state`.

    Raises
    ------
    TypeError, ValueError
        If the entry is not a state of numpy's default bit generator.
    """
    generator = np.random.default_rng(0)
    wanted = value_of(state, name, dict, owner)
    try:
        generator.bit_generator.state = wanted
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        kind = type(generator.bit_generator).__name__
        raise misfit(owner, name, f"is not a state of numpy's {kind}", f"numpy says {error!r}") from None
    return generator


def _kind(owner: Any) -> str:
    return owner if isinstance(owner, str) else type(owner).__name__


def _as_text(dtype: np.dtype, *, in_full: bool) -> str:
    """Return a dtype as text, of records the dtype of each field if `in_full`."""
    if dtype.fields is None:
        return str(dtype)
    fields = (f"{field[0]} {name}" for name, field in dtype.fields.items())
    return f"records of {', '.join(fields)}" if in_full else "records"
