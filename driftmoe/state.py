"""The states of a model's parts, and the checks of a state before it is restored.

`part.state()` returns a dict of named arrays, numbers, text, `None`, and lists and dicts of these. The arrays are
copies without spare capacity. `part.restore(state)` sets a part that was built with the same arguments to that state.
From then on both parts give the same answers, bit for bit. A state that does not fit raises an error before anything
changes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

State = dict[str, Any]

T = TypeVar("T")

LARGEST = 2**62
"""Counts are int64 in kernels, and go on growing."""


def restored(part: T, state: State) -> T:
    """Return a copy of a part, restored to a state. The part itself does not change, even if `restore` raises.

    A shallow copy is enough: `restore` replaces attributes, and never writes into them.
    """
    draft: Any = copy.copy(part)
    draft.restore(state)
    return draft


def check_names(state: State, names: Iterable[str], owner: Any) -> None:
    """Raise unless a state has exactly these entries.

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
    names = tuple(names)
    missing, unknown = (
        [name for name in names if name not in state],
        [name for name in state if name not in names],
    )
    if missing or unknown:
        wrong = [f"lacks {', '.join(map(repr, missing))}"] * bool(missing)
        wrong += [f"has unknown {', '.join(map(repr, unknown))}"] * bool(unknown)
        raise ValueError(
            f"the state of {_kind(owner)} {' and '.join(wrong)}; it must have the entries {', '.join(names)}"
        )


def array_of(state: State, name: str, dtype: Any, shape: Sequence[int | None], owner: Any) -> np.ndarray:
    """Return a copy of an array in a state, checked as in `check_array`."""
    return check_array(state, name, dtype, shape, owner).copy()


def check_array(state: State, name: str, dtype: Any, shape: Sequence[int | None], owner: Any) -> np.ndarray:
    """Return an array in a state, itself and not a copy.

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

    Raises
    ------
    TypeError
        If the entry is not an array.
    ValueError
        If it has another dtype or shape.
    """
    array = state[name]
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{name!r} in the state of {_kind(owner)} is a {type(array).__name__}; it must be an array"
        )
    fits = len(array.shape) == len(shape) and all(
        wanted is None or length == wanted for length, wanted in zip(array.shape, shape, strict=True)
    )
    if array.dtype != np.dtype(dtype) or not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(
            f"{name!r} in the state of {_kind(owner)} is {_said(array.dtype)} of shape {array.shape}; it must be "
            f"{_said(np.dtype(dtype))} of shape ({wanted})"
        )
    return array


def value_of(state: State, name: str, kind: type[T], owner: Any) -> T:
    """Return a number, text, list or dict in a state.

    Raises
    ------
    TypeError
        If the entry is of another type.
    """
    value = state[name]
    if type(value) is not kind:
        raise TypeError(
            f"{name!r} in the state of {_kind(owner)} is a {type(value).__name__}; it must be of type {kind.__name__}"
        )
    return value


def damaged(name: str, owner: Any, why: str = "has entries out of range") -> ValueError:
    """Return the error of an entry whose type and shape are right and whose content is not."""
    return ValueError(f"{name!r} in the state of {_kind(owner)} {why}; the state is damaged")


def count_of(state: State, name: str, owner: Any, *, at_most: int = LARGEST) -> int:
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
        allowed = "0 or more" if count < 0 and at_most == LARGEST else f"0 to {at_most}"
        raise ValueError(f"{name!r} in the state of {_kind(owner)} is {count}; it must be {allowed}")
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
        raise ValueError(
            f"{name!r} in the state of {_kind(owner)} is no state of numpy's {type(generator.bit_generator).__name__}: "
            f"{error!r}"
        ) from None
    return generator


def _said(dtype: np.dtype) -> str:
    return str(dtype) if dtype.names is None else f"records of {len(dtype.names)} fields"


def _kind(owner: Any) -> str:
    return owner if isinstance(owner, str) else type(owner).__name__
