"""Checks of an encoder's state before the encoder takes it over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

import numpy as np

from driftmoe.encoding.samples import MAX_ABSOLUTE, check_label, checked_name, short
from driftmoe.encoding.scaling import COUNT, NOMINAL, NONE, OWN_INPUTS, input_place
from driftmoe.state import State, check_array, check_finite, check_names, count_of, misfit, value_of

LISTS, ARRAYS = (
    ("features", "feature_kinds", "nominal_values", "classes"),
    ("input_indices", "scaling_moments"),
)
"""Names of the entries; see `Encoder.state`."""

SHARED = "n_shared_values"
"""Entry that is there if it is above 0."""

OWNER = "Encoder"

ALLOWED = {"text": "text", "number": f"numbers within ±{MAX_ABSOLUTE:g}"}
"""What the values of a nominal feature are, by its kind."""

SAME_NOMINAL = "build the encoder with the same `nominal`"


def check_state(
    state: State,
    nominal: Collection[Hashable],
    max_codes: int,
    counters: Collection[str] = (),
    **bounds: int | None,
) -> None:
    """Check the state of an encoder.

    Parameters
    ----------
    state
        As `Encoder.state` returns it.
    nominal
        Names of features whose numbers are codes: the argument of the encoder that takes the state over.
    max_codes
        Largest number of values of a nominal feature.
    counters
        Names of the counters in the state, without `n_shared_values`.
    bounds
        `max_features`, `max_classes`: as given to the encoder.

    Raises
    ------
    TypeError
        If the state is not a dict, or an entry is of another type.
    ValueError
        If an entry is missing or unknown, or entries do not fit together or to the encoder.
    """
    is_sharing = isinstance(state, dict) and SHARED in state
    counters = [*counters, *[SHARED] * is_sharing]
    check_names(state, (*LISTS, *ARRAYS, *counters), OWNER)
    for name in counters:
        count_of(state, name, OWNER)
    if is_sharing and state[SHARED] == 0:
        raise misfit(OWNER, SHARED, "is 0", "it must be left out")
    features, kinds, values, classes = (value_of(state, name, list, OWNER) for name in LISTS)
    for name, bound in bounds.items():
        listed = name.removeprefix("max_")
        if bound is not None and len(state[listed]) > bound:
            raise misfit(OWNER, listed, f"has {len(state[listed])} items", f"this encoder has {name}={bound}")
    for name, items in (("feature_kinds", kinds), ("nominal_values", values)):
        if len(items) != len(features):
            allowed = "it must have one for each"
            raise misfit(OWNER, name, f"has {len(items)} items for {len(features)} features", allowed)
    _check_each("features", features, checked_name)
    _check_each("classes", classes, check_label)
    for name, kind, of_feature in zip(features, kinds, values, strict=True):
        _check_feature(name, kind, of_feature, name in nominal, max_codes)
    _check_moments(state, values)
    _check_inputs(state, values)


def _check_each(entry: str, items: Sequence[Any], check: Callable[[Any], Any]) -> None:
    """Raise unless all items of a list pass a check, and no two are equal."""
    for item in items:
        try:
            check(item)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise misfit(OWNER, entry, f"holds {short(item)}", f"{error}", error=kind) from None
    if len(set(items)) < len(items):
        raise misfit(OWNER, entry, "has the same item twice", "it must have each once")


def _check_feature(name: Hashable, kind: Any, values: Any, is_named: bool, max_codes: int) -> None:
    if kind not in ("number", "text"):
        allowed = "a kind must be 'number' or 'text'"
        raise misfit(OWNER, "feature_kinds", f"has {short(kind)} for feature {name!r}", allowed)
    is_nominal = kind == "text" or is_named
    if is_nominal != (values is not None):
        came = f"has {'no list' if values is None else 'a list'} for feature {name!r}"
        allowed = f"the feature is {'nominal' if is_nominal else 'a number'} in this encoder"
        raise misfit(OWNER, "nominal_values", came, allowed, remedy=SAME_NOMINAL)
    if values is None:
        return
    if not isinstance(values, list):
        came = f"has {short(values)} of type {type(values).__name__} for feature {name!r}"
        raise misfit(OWNER, "nominal_values", came, "it must have a list", error=TypeError)
    types: Any = str if kind == "text" else int | float
    for value in values:
        if not isinstance(value, types) or (kind == "number" and not abs(value) <= MAX_ABSOLUTE):
            came = f"has the value {short(value)} for feature {name!r}"
            raise misfit(OWNER, "nominal_values", came, f"values of this feature must be {ALLOWED[kind]}")
    if len(set(values)) < len(values):
        came = f"has the same value twice for feature {name!r}"
        raise misfit(OWNER, "nominal_values", came, "it must have each once")
    if len(values) > max_codes:
        came = f"has {len(values)} values for feature {name!r}"
        raise misfit(OWNER, "nominal_values", came, f"it must have at most {max_codes}")


def _check_moments(state: State, values: Sequence[Any]) -> None:
    check_array(state, "scaling_moments", np.float64, (3, len(values)), OWNER)
    check_finite(state["scaling_moments"], "scaling_moments", OWNER)
    weights, is_nominal = (
        state["scaling_moments"][COUNT],
        np.array([of is not None for of in values], np.bool_),
    )
    if ((weights == NOMINAL) != is_nominal).any() or not (weights[~is_nominal] >= 0.0).all():
        allowed = f"they must be {NOMINAL} for nominal features, and 0 or more for numbers"
        raise misfit(OWNER, "scaling_moments", f"has weights {short(weights.tolist())}", allowed)


def _check_inputs(state: State, values: Sequence[Any]) -> None:
    width = 2 * OWN_INPUTS if any(of is not None for of in values) else 1
    check_array(state, "input_indices", np.int64, (len(values), width), OWNER)
    inputs_of = state["input_indices"]
    has_input = np.zeros(inputs_of.shape, np.bool_)
    for column, of in enumerate(values):
        has_input[column, 0 if of is None else [input_place(code) for code in range(len(of))]] = True
    given = np.sort(inputs_of[has_input])
    if (inputs_of[~has_input] != NONE).any() or (given != np.arange(len(given))).any():
        came = f"does not number the {len(given)} inputs of these features and values"
        allowed = f"it must have each number from 0 once, and {NONE} in all other places"
        raise misfit(OWNER, "input_indices", came, allowed)
