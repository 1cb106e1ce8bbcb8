"""What the arguments of an estimator may be, and which have an effect beside which others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from river import base

from driftmoe.experts import EXTRAS
from driftmoe.mixture import GATES, HEAD


@dataclass(frozen=True)
class Context:
    """What decides which arguments have an effect: some of them, each as given or its default.

    Attributes
    ----------
    variant, policy, gate, hidden, learning_rate
        As of `driftmoe.DriftMoEClassifier`.
    without
        Arguments that have no effect in this variant -> why: `Mixture.WITHOUT`.
    expert
        Name of the class of the main experts.
    has_trees
        Whether these are the trees of `driftmoe.trees.HoeffdingTreeClassifier`, in one pool.
    has_networks
        Whether these are networks, which step when the router does.
    extras
        Names of the extra experts, of river classifiers that of the class.
    n_classifiers
        How many of the extra experts are river classifiers.
    """

    variant: str
    without: Mapping[str, str]
    expert: str
    has_trees: bool
    has_networks: bool
    policy: Any
    extras: Sequence[str]
    n_classifiers: int
    gate: str
    hidden: Sequence[int]
    learning_rate: float

    @property
    def has_head(self) -> bool:
        """Whether the router's own class probabilities are an expert."""
        return "head" in self.extras

    @property
    def has_memory(self) -> bool:
        """Whether an extra expert remembers samples."""
        return any(name in EXTRAS and EXTRAS[name].remembers for name in self.extras)

    @property
    def has_costly(self) -> bool:
        """Whether an extra expert is not asked for every sample while it is hardly trusted."""
        return self.n_classifiers > 0 or any(
            name in EXTRAS and EXTRAS[name].is_costly for name in self.extras
        )


class Need(NamedTuple):
    """What must hold for an argument to have an effect, and what to say where it does not."""

    holds: Callable[[Context], bool]
    otherwise: str


NEEDS: dict[str, tuple[Need, ...]] = {
    "top_k": (Need(lambda c: c.policy is None, "beside policy={c.policy!r}, which chooses the experts"),),
    "policy": (
        Need(
            lambda c: c.gate != "equal",
            "where what it chooses by has no say with gate='equal', as it has with 'learnt', 'router' and 'recency'",
        ),
    ),
    "memory": (Need(lambda c: c.has_memory, "to extras={c.extras!r}: none of them remembers samples"),),
    "monitors": (Need(lambda c: c.has_trees, "to experts of {c.expert}, which are taken as they are"),),
    "min_trust": (
        Need(lambda c: c.gate != "equal", "with gate='equal', which trusts all alike"),
        Need(
            lambda c: c.has_costly,
            "to extras={c.extras!r}: only neighbours and river classifiers are ever left unasked",
        ),
    ),
    "hidden": (
        Need(
            lambda c: c.gate in ("learnt", "router") or c.has_head,
            "with gate={c.gate!r} and without 'head' among the extras, where nobody asks the router",
        ),
    ),
    "learning_rate": (
        Need(
            lambda c: c.gate != "equal" or c.has_head,
            "with gate='equal' and without 'head' among the extras, where only experts learn",
        ),
    ),
    "batch_size": (
        Need(
            lambda c: c.gate != "equal" or c.has_head or c.has_networks,
            "with gate='equal' and without 'head' among the extras, where nothing takes a step",
        ),
    ),
    "dropout": (
        Need(lambda c: c.learning_rate > 0.0, "with learning_rate=0, where no step is taken"),
        Need(lambda c: len(c.hidden) > 0, "with hidden={c.hidden!r}: there are no hidden units"),
    ),
    "n_threads": (
        Need(
            lambda c: c.has_trees,
            "to experts of {c.expert}: only trees of driftmoe.trees.HoeffdingTreeClassifier share threads",
        ),
    ),
}  # fmt: skip
"""Argument -> what it needs in the variants that take it; those that are not named always have an effect.

That of `n_threads`, and with `learning_rate=0` that of `batch_size`, is on speed alone. What a single expert leaves
without effect, as it leaves the gate, is not looked at: it is a size, not a kind of model."""

IDLE: dict[str, Any] = {"correction": 0, "dropout": 0, "min_trust": 0, "monitors": False, "n_threads": 1}
"""Values that ask for nothing: they say what is the case where the argument has no effect, and may be given there."""


def unmet(name: str, context: Context) -> Need | None:
    """Return the first thing that an argument needs for an effect and has not, `None` where it has an effect."""
    if name in context.without:
        why = context.without[name]
        return Need(lambda c: name not in c.without, "to variant={c.variant!r}" + (why and f", {why}"))
    return next((need for need in NEEDS.get(name, ()) if not need.holds(context)), None)


def check_effects(given: Mapping[str, Any], context: Context) -> None:
    """Raise where an argument that was given has no effect.

    Parameters
    ----------
    given
        Argument -> its value, `None` where it was left out.
    context
        Beside what they were given.

    Raises
    ------
    ValueError
        If an argument has no effect, unless its value is one of `IDLE`.
    """
    for name, value in given.items():
        need = unmet(name, context)
        if need is None or value is None or (name in IDLE and value == IDLE[name]):
            continue
        raise ValueError(f"{name}={value!r} does not apply {need.otherwise.format(c=context)}; leave it out")


Check = Callable[[str, Any], None]
"""Raises unless an argument of this name may have this value."""


def integer(least: int) -> Check:
    """Return the check of a whole number that is not below `least`."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give an integer")
        if value < least:
            raise ValueError(f"{name}={value}; choose {name} >= {least}")

    return check


def number(is_allowed: Callable[[float], bool], allowed: str) -> Check:
    """Return the check of a number; `allowed` says in words which ones."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, int | float | np.number) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give a number")
        if not is_allowed(float(value)):
            raise ValueError(f"{name}={value}; choose {allowed}")

    return check


def check_memory(name: str, value: Any) -> None:
    """Raise unless `value` is a number of samples that neighbours can remember."""
    integer(-(2**63))(name, value)
    if value < 64 or value % 64:
        raise ValueError(f"{name}={value}; choose a multiple of 64, such as 4096")


def check_flag(name: str, value: Any) -> None:
    """Raise unless `value` is true or false."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}={value!r}; choose True or False")


def check_gate(name: str, value: Any) -> None:
    """Raise unless `value` is a kind of gate."""
    if value not in tuple(GATES):
        raise ValueError(f"{name}={value!r}; available: {', '.join(GATES)}")


def check_widths(name: str, value: Any) -> None:
    """Raise unless `value` is the widths of hidden layers."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name}={value!r}; give the width of each hidden layer, such as (256, 128)")
    if not all(isinstance(one, int | np.integer) and not isinstance(one, bool) and one >= 1 for one in value):
        raise ValueError(f"{name}={value!r}; choose widths of at least 1, such as (256, 128)")


def check_expert(name: str, value: Any) -> None:
    """Raise unless `value` is a river classifier, or left out."""
    if value is not None and not isinstance(value, base.Classifier):
        raise TypeError(
            f"{name}={value!r} is no river classifier; give one, such as tree.HoeffdingTreeClassifier()"
        )


def check_extras(name: str, value: Any) -> None:
    """Raise unless `value` names extra experts, or has river classifiers among them."""
    available = ", ".join([*EXTRAS, HEAD])
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name}={value!r}; give a tuple of {available} and river classifiers")
    for extra in value:
        if isinstance(extra, str) and extra not in EXTRAS and extra != HEAD:
            raise ValueError(f"{name}: unknown {extra!r}; available: {available}, and river classifiers")
        if not isinstance(extra, str | base.Classifier):
            raise TypeError(f"{name}: {extra!r} is no river classifier; give one, or {available}")
        if isinstance(extra, base.Classifier) and not extra._multiclass:
            raise ValueError(
                f"{name}: {type(extra).__name__} tells only two classes apart; wrap it in "
                "river.multiclass.OneVsRestClassifier"
            )
    names = [extra for extra in value if isinstance(extra, str)]
    if len(set(names)) < len(names):
        raise ValueError(f"{name}={value!r} names an expert twice; give each once")


MAX_LEVERAGE = 100.0

CHECKS: dict[str, Check] = {
    "expert": check_expert,
    "n_experts": integer(1),
    "top_k": integer(1),
    "batch_size": integer(1),
    "n_threads": integer(1),
    "extras": check_extras,
    "memory": check_memory,
    "monitors": check_flag,
    "gate": check_gate,
    "hidden": check_widths,
    "dropout": number(lambda value: 0.0 <= value < 1.0, "0 <= dropout < 1"),
    "learning_rate": number(lambda value: 0.0 <= value < math.inf, "0 or more, such as 0.002"),
    "correction": number(lambda value: 0.0 <= value < math.inf, "0 or more, such as 0.05"),
    "leverage": number(
        lambda value: 0.0 < value <= MAX_LEVERAGE, f"0 < leverage <= {MAX_LEVERAGE:g}, such as 6.0"
    ),
    "min_trust": number(lambda value: 0.0 <= value <= 1.0, "0 <= min_trust <= 1"),
}
"""Argument -> what it may be, if it is not left out."""


def check_values(values: Mapping[str, Any]) -> None:
    """Raise unless all arguments, as given or by default, may have these values; `seed` may be `None`."""
    for name, check in CHECKS.items():
        check(name, values[name])
    if values["seed"] is not None:
        integer(0)("seed", values["seed"])
