"""The settings of a pool of trees: checked, and as the kernels read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from driftmoe.arithmetic import log
from driftmoe.trees.nodes import ADAPTIVE, GINI, HELLINGER, INFO_GAIN, MAJORITY, NAIVE_BAYES, RULES

CRITERIA = {"info_gain": INFO_GAIN, "gini": GINI, "hellinger": HELLINGER}
LEAVES = {"mc": MAJORITY, "nb": NAIVE_BAYES, "nba": ADAPTIVE}

UNBOUNDED = 2**31 - 1
"""Value that means "no limit" to the kernels."""


def checked_rules(
    n_experts: int,
    *,
    grace_period: float,
    delta: float | Sequence[float],
    tau: float,
    max_depth: int | None,
    split_criterion: str,
    leaf_prediction: str,
    nb_threshold: float,
    binary_split: bool,
    min_branch_fraction: float,
    max_share_to_split: float,
    max_nodes: int | None,
    warning_delta: float | None,
    drift_delta: float | None,
    max_features: float | Sequence[float | None] | None,
) -> np.ndarray:
    """Return the settings as `RULES`: one record for all trees, or one for each.

    Parameters
    ----------
    n_experts, ..., max_features
        As in `TreePool`.

    Raises
    ------
    TypeError
        If a setting is of the wrong type.
    ValueError
        If a setting is out of range.
    """
    check_number("n_experts", n_experts, 0, kind=Integral)
    if split_criterion not in tuple(CRITERIA):
        raise ValueError(f"unknown split_criterion {split_criterion!r}; available: {', '.join(CRITERIA)}")
    if leaf_prediction not in tuple(LEAVES):
        raise ValueError(f"unknown leaf_prediction {leaf_prediction!r}; available: {', '.join(LEAVES)}")
    if not isinstance(binary_split, bool | np.bool_):
        raise TypeError(f"binary_split={binary_split!r}; choose True or False")
    deltas = _one_each("delta", delta, n_experts)
    shares = _one_each("max_features", max_features, n_experts)
    for value in deltas:
        _check_risk("delta", value)
    check_number("grace_period", grace_period, 0)
    check_number("tau", tau, 0)
    check_number("nb_threshold", nb_threshold, 0)
    check_number("min_branch_fraction", min_branch_fraction, 0, 1)
    check_number("max_share_to_split", max_share_to_split, 0, 1)
    check_number("max_depth", max_depth, 0, kind=Integral, none="no limit")
    check_number("max_nodes", max_nodes, 1, kind=Integral, none="no limit")
    rules = np.zeros(max(len(deltas), len(shares)), RULES)
    rules["grace_period"] = grace_period
    rules["log_inverse_delta"] = [log(1.0 / value) for value in deltas]
    rules["tau"] = tau
    rules["min_branch_fraction"] = min_branch_fraction
    rules["max_share_to_split"] = max_share_to_split
    rules["nb_threshold"] = nb_threshold
    rules["max_depth"] = UNBOUNDED if max_depth is None else min(max_depth, UNBOUNDED)
    rules["max_nodes"] = UNBOUNDED if max_nodes is None else min(max_nodes, UNBOUNDED)
    rules["criterion"] = CRITERIA[split_criterion]
    rules["leaf_prediction"] = LEAVES[leaf_prediction]
    rules["binary_split"] = binary_split
    rules["max_features"] = [_most_features(value) for value in shares]
    if warning_delta is not None and drift_delta is None:
        raise ValueError(
            f"warning_delta={warning_delta} without drift_delta: a tree in the background would never be used; "
            "choose both, or drift_delta alone"
        )
    for name, risk in (("warning_delta", warning_delta), ("drift_delta", drift_delta)):
        if risk is not None:
            _check_risk(name, risk, none="no monitor")
            rules[name] = risk
    return rules


def check_number(
    name: str, value: Any, low: float, high: float = math.inf, *, kind: Any = Real, none: str | None = None
) -> None:
    """Raise unless a setting is a number of this kind from `low` to `high`, or `None` where that has a meaning."""
    if none is not None and value is None:
        return
    also = "" if none is None else f", or None for {none}"
    if isinstance(value, bool) or not isinstance(value, kind):
        wanted = "an integer" if kind is Integral else "a number"
        raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give {wanted}{also}")
    if not low <= value <= high:
        allowed = f"{low} or more" if high == math.inf else f"{low} <= {name} <= {high}"
        raise ValueError(f"{name}={value}; choose {allowed}{also}")


def _check_risk(name: str, value: Any, none: str | None = None) -> None:
    """Raise unless a setting is a probability that is neither 0 nor 1."""
    check_number(name, value, -math.inf, none=none)
    if not 0.0 < value < 1.0:
        also = "" if none is None else f", or None for {none}"
        raise ValueError(f"{name}={value}; it is a probability, choose 0 < {name} < 1{also}")


def _one_each(name: str, value: Any, n_experts: int) -> list[Any]:
    """Return the values of a setting: one for all trees, or one for each."""
    if value is None or np.ndim(value) == 0:
        return [value]
    values = list(value)
    if len(values) != n_experts:
        raise ValueError(
            f"{name} has {len(values)} values for {n_experts} trees; give one for each, or one for all"
        )
    return values


def _most_features(wanted: float | None) -> float:
    """Return `max_features` of one tree as the kernels read it: a number, a share, or infinity for all."""
    if wanted is None:
        return math.inf
    check_number("max_features", wanted, -math.inf, none="all features")
    if not wanted > 0:
        raise ValueError(f"max_features={wanted}; choose a number from 1 on, or a share between 0 and 1")
    if isinstance(wanted, Integral):
        return wanted
    if wanted > 1.0:
        raise ValueError(f"max_features={wanted}; a share is at most 1.0, a number of features is an int")
    return math.inf if wanted == 1.0 else wanted
