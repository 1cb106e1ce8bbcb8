"""Checks of an encoder's state before the encoder takes it over."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any

import numpy as np

from driftmoe.encoding.samples import check_label, checked_name, short
from driftmoe.encoding.scaling import COUNT, NOMINAL, NONE, OWN_INPUTS, input_place
from driftmoe.state import State, check_array, check_names, damaged, value_of

ENTRIES = ("features", "kinds", "values", "classes", "inputs_of", "moments")
"""Names of the entries; see `Encoder.state`."""

OWNER = "Encoder"
"""The part, in error messages."""


def check_state(state: State, nominal: Collection[Hashable], max_codes: int) -> None:
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
        If the state is no dict, or an entry is of another type.
    ValueError
        If an entry is missing or unknown, or entries do not fit together or to the encoder.
    """
    check_names(state, ENTRIES, OWNER)
    for entry in ("features", "kinds", "values", "classes"):
        value_of(state, entry, list, OWNER)
    features, n_features = state["features"], len(state["features"])
    for entry in ("kinds", "values"):
        if len(state[entry]) != n_features:
            raise damaged(entry, OWNER, f"has {len(state[entry])} items for {n_features} features")
    for name in features:
        checked_name(name)
    for label in state["classes"]:
        check_label(label)
    for entry in ("features", "classes"):
        if len(set(state[entry])) < len(state[entry]):
            raise damaged(entry, OWNER, "has the same item twice")
    for name, kind, values in zip(features, state["kinds"], state["values"], strict=True):
        _check_feature(name, kind, values, name in nominal, max_codes)
    _check_moments(state)
    _check_inputs(state)


def _check_feature(name: Hashable, kind: Any, values: Any, is_named: bool, max_codes: int) -> None:
    if kind not in ("number", "text"):
        raise damaged(
            "kinds", OWNER, f"has {short(kind)} for feature {name!r}, which is neither number nor text"
        )
    is_nominal = kind == "text" or is_named
    if is_nominal != (values is not None):
        raise ValueError(
            f"feature {name!r} in the state of {OWNER} has {'no values' if values is None else 'values'}, but is "
            f"{'nominal' if is_nominal else 'a number'} in this encoder; build it with the same `nominal`"
        )
    if values is None:
        return
    if not isinstance(values, list):
        raise damaged("values", OWNER, f"has a {type(values).__name__} and no list for feature {name!r}")
    types: Any = str if kind == "text" else int | float
    for value in values:
        if not isinstance(value, types) or value != value:
            raise damaged("values", OWNER, f"has {short(value)} for feature {name!r}, a {kind}")
    if len(set(values)) < len(values):
        raise damaged("values", OWNER, f"has the same value twice for feature {name!r}")
    if len(values) > max_codes:
        raise damaged("values", OWNER, f"has {len(values)} values for feature {name!r}, above {max_codes}")


def _check_moments(state: State) -> None:
    values = state["values"]
    moments = check_array(state, "moments", np.float64, (3, len(values)), OWNER)
    is_nominal = np.array([of is not None for of in values], np.bool_)
    if ((moments[COUNT] == NOMINAL) != is_nominal).any() or not (moments[COUNT, ~is_nominal] >= 0.0).all():
        weights = short(moments[COUNT].tolist())
        raise damaged(
            "moments",
            OWNER,
            f"has weights {weights}; they are {NOMINAL} for nominal features and 0 or more for numbers",
        )


def _check_inputs(state: State) -> None:
    values = state["values"]
    width = 2 * OWN_INPUTS if any(of is not None for of in values) else 1
    inputs_of = check_array(state, "inputs_of", np.int64, (len(values), width), OWNER)
    has_input = np.zeros(inputs_of.shape, np.bool_)
    for column, of in enumerate(values):
        has_input[column, [0] if of is None else [input_place(code) for code in range(len(of))]] = True
    given = np.sort(inputs_of[has_input])
    if (inputs_of[~has_input] != NONE).any() or (given != np.arange(len(given))).any():
        raise damaged(
            "inputs_of",
            OWNER,
            f"does not number the {len(given)} inputs of these features and values from 0, with {NONE} elsewhere",
        )
