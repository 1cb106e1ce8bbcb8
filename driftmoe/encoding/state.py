"""Checks of an encoder's state before the encoder takes it over."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from driftmoe.encoding.samples import check_label, checked_name, short
from driftmoe.encoding.scaling import COUNT, NOMINAL, NONE, OWN_INPUTS, input_place

ENTRIES = ("features", "kinds", "values", "classes", "inputs_of", "moments")
"""Names of the entries; see `Encoder.state`."""


def check_state(state: Mapping[str, Any], nominal: Collection[Hashable], max_codes: int) -> None:
    """Check the state of an encoder.

    Parameters
    ----------
    state
        As `Encoder.state` returns it.
    nominal
        Names of features whose numbers are codes: the argument of the encoder that takes the state over.
    max_codes
        Largest number of values of a nominal feature.

    Raises
    ------
    TypeError
        If the state is no mapping, or an entry is of another type.
    ValueError
        If an entry is missing or unknown, or entries do not fit together or to the encoder.
    """
    _check_entries(state)
    features, n_features = state["features"], len(state["features"])
    for name in ("kinds", "values"):
        if len(state[name]) != n_features:
            raise ValueError(
                f"state: {name!r} has {len(state[name])} items for {n_features} features; give one for each"
            )
    for name in features:
        checked_name(name)
    for label in state["classes"]:
        check_label(label)
    for entry in ("features", "classes"):
        if len(set(state[entry])) < len(state[entry]):
            raise ValueError(f"state: {entry!r} has the same item twice; give each once")
    for name, kind, values in zip(features, state["kinds"], state["values"], strict=True):
        _check_feature(name, kind, values, name in nominal, max_codes)
    _check_moments(state["moments"], state["values"])
    _check_inputs(state["inputs_of"], state["values"])


def _check_entries(state: Mapping[str, Any]) -> None:
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state is of type {type(state).__name__}; give a dict, as `Encoder.state` returns it"
        )
    missing = [name for name in ENTRIES if name not in state]
    unknown = [name for name in state if name not in ENTRIES]
    if missing or unknown:
        raise ValueError(
            f"state: entries missing: {', '.join(missing) or 'none'}; "
            f"unknown: {', '.join(map(repr, unknown)) or 'none'}; give exactly {', '.join(ENTRIES)}"
        )
    for name in ENTRIES:
        expected: type = np.ndarray if name in ("inputs_of", "moments") else list
        if not isinstance(state[name], expected):
            raise TypeError(
                f"state: {name!r} is of type {type(state[name]).__name__}; give a {expected.__name__}"
            )


def _check_feature(name: Hashable, kind: Any, values: Any, is_named: bool, max_codes: int) -> None:
    if kind not in ("number", "text"):
        raise ValueError(f"state: feature {name!r} is of kind {short(kind)}; available: number, text")
    is_nominal = kind == "text" or is_named
    if is_nominal != (values is not None):
        raise ValueError(
            f"state: feature {name!r} has {'no values' if values is None else 'values'}, but is "
            f"{'nominal' if is_nominal else 'a number'} in this encoder; build it with the same `nominal`"
        )
    if values is None:
        return
    if not isinstance(values, list):
        raise TypeError(f"state: values of feature {name!r} are of type {type(values).__name__}; give a list")
    types: Any = str if kind == "text" else int | float
    for value in values:
        if not isinstance(value, types) or value != value:
            raise ValueError(f"state: feature {name!r}, a {kind}, has the value {short(value)}")
    if len(set(values)) < len(values):
        raise ValueError(f"state: feature {name!r} has the same value twice; give each once")
    if len(values) > max_codes:
        raise ValueError(
            f"state: feature {name!r} has {len(values)} values; at most {max_codes} are told apart"
        )


def _check_moments(moments: np.ndarray, values: Sequence[Any]) -> None:
    _check_array("moments", moments, np.float64, (3, len(values)))
    is_nominal = np.array([of is not None for of in values], np.bool_)
    if ((moments[COUNT] == NOMINAL) != is_nominal).any() or not (moments[COUNT, ~is_nominal] >= 0.0).all():
        raise ValueError(
            f"state: 'moments' has weights {short(moments[COUNT].tolist())}; give {NOMINAL} for nominal features, and "
            "0 or more for numbers"
        )


def _check_inputs(inputs_of: np.ndarray, values: Sequence[Any]) -> None:
    width = 2 * OWN_INPUTS if any(of is not None for of in values) else 1
    _check_array("inputs_of", inputs_of, np.int64, (len(values), width))
    has_input = np.zeros(inputs_of.shape, np.bool_)
    for column, of in enumerate(values):
        has_input[column, [0] if of is None else [input_place(code) for code in range(len(of))]] = True
    given = np.sort(inputs_of[has_input])
    if (inputs_of[~has_input] != NONE).any() or (given != np.arange(len(given))).any():
        raise ValueError(
            f"state: 'inputs_of' does not number the {len(given)} inputs of these features and values from 0, "
            f"with {NONE} in all other places"
        )


def _check_array(name: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"state: {name!r} is {array.dtype} of shape {array.shape}; give {np.dtype(dtype)} of shape {shape}"
        )
