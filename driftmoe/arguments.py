"""Checks of an estimator's arguments: which values are allowed, and which combinations have an effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from river import base

from driftmoe.experts import EXTRAS, Kind, Prototype, kind_of
from driftmoe.mixture import GATES, HEAD, MIXTURES


@dataclass(frozen=True)
class Context:
    """The settings that decide which other arguments have an effect. Each is the given value or its default.

    Attributes
    ----------
    variant, policy, gate, hidden, learning_rate
        As in `driftmoe.DriftMoEClassifier`.
    without
        Arguments that have no effect in this variant -> the reason; see `Mixture.WITHOUT`.
    expert
        What the main experts are copied from.
    extras
        The extra experts: names and river classifiers.
    """

    variant: str
    without: Mapping[str, str]
    expert: Prototype
    policy: Any
    extras: Sequence[str | base.Classifier]
    gate: str
    hidden: Sequence[int]
    learning_rate: float

    @property
    def has_head(self) -> bool:
        """Whether the router's own class probabilities count as an expert."""
        return HEAD in self.extras

    @property
    def has_memory(self) -> bool:
        """Whether an extra expert remembers samples."""
        return any(kind.remembers for kind in self._kinds())

    @property
    def has_costly(self) -> bool:
        """Whether an extra expert may be skipped on some samples while its weight is low."""
        return any(kind.experts.is_costly for kind in self._kinds())

    @property
    def has_samples(self) -> bool:
        """Whether an extra expert is a river classifier, which reads samples."""
        return any(kind.experts.reads == "samples" for kind in self._kinds())

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Names of the extra experts; for river classifiers the class name."""
        return tuple(extra if isinstance(extra, str) else type(extra).__name__ for extra in self.extras)

    def _kinds(self) -> list[Kind]:
        return [kind_of(extra) for extra in self.extras if extra != HEAD]


class Need(NamedTuple):
    """A condition under which an argument has an effect, and the message if it is not met."""

    holds: Callable[[Context], bool]
    otherwise: str


NEEDS: dict[str, tuple[Need, ...]] = {
    "top_k": (Need(lambda c: c.policy is None, "beside policy={c.policy!r}, which chooses the experts"),),
    "policy": (
        Need(
            lambda c: c.gate != "equal",
            "with gate='equal', which ignores the scores a policy reads; 'learnt', 'router' and 'recency' use them",
        ),
    ),
    "memory": (Need(lambda c: c.has_memory, "to extras={c.extra_names!r}: none of them remembers samples"),),
    "monitors": (
        Need(
            lambda c: "monitors" in c.expert.arguments,
            "to experts of {c.expert.kind}, which are taken as they are",
        ),
    ),
    "min_trust": (
        Need(lambda c: c.gate != "equal", "with gate='equal', which gives all experts the same weight"),
        Need(
            lambda c: c.has_costly,
            "to extras={c.extra_names!r}: none of them is ever skipped",
        ),
    ),
    "hidden": (
        Need(
            lambda c: c.gate in ("learnt", "router") or c.has_head,
            "with gate={c.gate!r} and without 'head' among the extras, where the router is not used",
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
            lambda c: c.gate != "equal" or c.has_head or "batch_size" in c.expert.arguments,
            "with gate='equal' and without 'head' among the extras, where nothing takes a gradient step",
        ),
    ),
    "dropout": (
        Need(lambda c: c.learning_rate > 0.0, "with learning_rate=0, where the router takes no step"),
        Need(lambda c: len(c.hidden) > 0, "with hidden={c.hidden!r}: there are no hidden units"),
    ),
    "max_bytes": (
        Need(
            lambda c: "max_bytes" in c.expert.arguments,
            "to experts of the kind {c.expert.kind}: only they themselves can bound their memory",
        ),
        Need(
            lambda c: not c.has_samples,
            "to extras={c.extra_names!r}: only river classifiers themselves can bound their memory",
        ),
    ),
    "n_threads": (
        Need(
            lambda c: "n_threads" in c.expert.arguments,
            "to experts of {c.expert.kind}: only trees of driftmoe.trees.HoeffdingTreeClassifier use threads",
        ),
    ),
}  # fmt: skip
"""Argument -> its conditions in the variants that take it. An argument without an entry always has an effect.

`n_threads` affects speed alone, and so does `batch_size` with `learning_rate=0`. With a single expert some arguments,
such as `gate`, have no effect. They are allowed all the same, because the number of experts is a size, not a kind of
model."""

IDLE: dict[str, Any] = {"correction": 0, "dropout": 0, "min_trust": 0, "monitors": False, "n_threads": 1}
"""Values that switch an argument off. They are allowed even where the argument has no effect."""


def unmet(name: str, context: Context) -> Need | None:
    """Return the first condition of an argument that is not met, or `None` if the argument has an effect."""
    if name in context.without:
        taken_by = [f"{variant!r}" for variant, mixture in MIXTURES.items() if name not in mixture.WITHOUT]
        why = context.without[name] or f"only to {', '.join(taken_by)}"
        return Need(lambda c: name not in c.without, f"to variant={{c.variant!r}}, {why}")
    return next((need for need in NEEDS.get(name, ()) if not need.holds(context)), None)


def check_effects(given: Mapping[str, Any], context: Context) -> None:
    """Raise ValueError if a given argument has no effect.

    Parameters
    ----------
    given
        Argument -> its value, `None` if it was left out.
    context
        The settings that decide which arguments have an effect.

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
"""Takes the name and the value of an argument; raises an error if the value is not allowed."""


def integer(least: int) -> Check:
    """Return a check for an integer of at least `least`."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give an integer")
        if value < least:
            raise ValueError(f"{name}={value}; choose {name} >= {least}")

    return check


def number(is_allowed: Callable[[float], bool], allowed: str) -> Check:
    """Return a check for a number. `allowed` describes the allowed numbers in the error message."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, int | float | np.number) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give a number")
        if not is_allowed(float(value)):
            raise ValueError(f"{name}={value}; choose {allowed}")

    return check


def check_memory(name: str, value: Any) -> None:
    """Raise unless `value` is a positive multiple of 64: a number of samples that neighbours can remember."""
    integer(-(2**63))(name, value)
    if value < 64 or value % 64:
        raise ValueError(f"{name}={value}; choose a multiple of 64, such as 4096")


def check_bound(name: str, value: Any) -> None:
    """Raise unless `value` is an integer of at least 1, or `None`."""
    if value is not None:
        integer(1)(name, value)


def check_flag(name: str, value: Any) -> None:
    """Raise unless `value` is a boolean."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}={value!r}; choose True or False")


def choice(names: Iterable[str]) -> Check:
    """Return a check for one of several names."""
    available = tuple(names)

    def check(name: str, value: Any) -> None:
        if value not in available:
            raise ValueError(f"{name}={value!r}; available: {', '.join(available)}")

    return check


def check_widths(name: str, value: Any) -> None:
    """Raise unless `value` is a tuple or list of layer widths."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name}={value!r}; give the width of each hidden layer, such as (256, 128)")
    if not all(isinstance(one, int | np.integer) and not isinstance(one, bool) and one >= 1 for one in value):
        raise ValueError(f"{name}={value!r}; choose widths of at least 1, such as (256, 128)")


def check_seed(name: str, value: Any) -> None:
    """Raise unless `value` is an integer of at least 0, or `None`."""
    if value is not None:
        integer(0)(name, value)


def check_expert(name: str, value: Any) -> None:
    """Raise unless `value` is a river classifier or `None`."""
    if value is not None and not isinstance(value, base.Classifier):
        raise TypeError(
            f"{name}={value!r} is no river classifier; give one, such as tree.HoeffdingTreeClassifier()"
        )


def check_extras(name: str, value: Any) -> None:
    """Raise unless `value` is a sequence of names of extra experts and multiclass river classifiers."""
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
    "gate": choice(GATES),
    "hidden": check_widths,
    "expert_hidden": check_widths,
    "expert_rate": number(lambda value: 0.0 < value < math.inf, "a number above 0, such as 0.03"),
    "dropout": number(lambda value: 0.0 <= value < 1.0, "0 <= dropout < 1"),
    "learning_rate": number(lambda value: 0.0 <= value < math.inf, "0 or more, such as 0.002"),
    "correction": number(lambda value: 0.0 <= value < math.inf, "0 or more, such as 0.05"),
    "leverage": number(
        lambda value: 0.0 < value <= MAX_LEVERAGE, f"0 < leverage <= {MAX_LEVERAGE:g}, such as 6.0"
    ),
    "min_trust": number(lambda value: 0.0 <= value <= 1.0, "0 <= min_trust <= 1"),
    "max_features": check_bound,
    "max_classes": check_bound,
    "max_bytes": check_bound,
    "seed": check_seed,
}
"""Argument -> check of its value. `policy` is checked against the number of experts when a mixture is built."""


def check_values(values: Mapping[str, Any]) -> None:
    """Raise unless arguments, given or default, have allowed values."""
    for name, check in CHECKS.items():
        if name in values:
            check(name, values[name])
