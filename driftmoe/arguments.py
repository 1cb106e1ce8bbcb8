"""Checks of an estimator's arguments: which values are allowed, and which combinations have an effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from river import base

from driftmoe.class_weights import check_class_weight
from driftmoe.costs import check_costs
from driftmoe.mixture import MAX_WAITING, MIXTURES
from driftmoe.mixture.arguments import Argument, Arguments, Context, Need, check_flag, choice, integer


def check_seed(name: str, value: Any) -> None:
    """Raise unless `value` is an integer of at least 0, or `None`."""
    if value is not None:
        integer(0)(name, value)


def check_expert(name: str, value: Any) -> None:
    """Raise unless `value` is a river classifier or `None`."""
    if value is not None and not isinstance(value, base.Classifier):
        raise TypeError(
            f"{name}={value!r} is not a river classifier; give one, such as tree.HoeffdingTreeClassifier()"
        )


def check_bound(name: str, value: Any) -> None:
    """Raise unless `value` is an integer of at least 1, or `None`."""
    if value is not None:
        integer(1)(name, value)


def check_decision_costs(name: str, value: Any) -> None:
    """Raise unless `value` is a dict of costs, or `None`."""
    if value is not None:
        check_costs(name, value)


def check_records(name: str, value: Any) -> None:
    """Raise unless `value` is a bool, or `None`."""
    if value is not None:
        check_flag(name, value)


EVERYWHERE: Arguments = {
    "variant": Argument("driftmoe", choice(MIXTURES)),
    "expert": Argument(None, check_expert),
    "max_features": Argument(None, check_bound),
    "max_classes": Argument(None, check_bound),
    "max_bytes": Argument(
        None,
        check_bound,
        Need(
            lambda c: "max_bytes" in c.expert.arguments,
            "to experts of {c.expert.kind}: only they themselves can bound their memory",
        ),
        Need(
            lambda c: not c.has_samples,
            "to extras={c.extra_names!r}: only river classifiers themselves can bound their memory",
        ),
    ),
    "decision_costs": Argument(None, check_decision_costs),
    "class_weight": Argument(
        None,
        check_class_weight,
        Need(
            lambda c: "class_weight" in c.expert.arguments,
            "to experts of {c.expert.kind}, whose learn_one takes no weight",
        ),
        Need(
            lambda c: not c.weightless,
            "to extras={c.extra_names!r}: learn_one of {c.weightless[0]} takes no weight",
        ),
    ),
    "records": Argument(None, check_records),
    "n_threads": Argument(
        1,
        integer(1),
        Need(
            lambda c: "n_threads" in c.expert.arguments,
            "to experts of {c.expert.kind}: only trees of driftmoe.trees.HoeffdingTreeClassifier use threads",
        ),
    ),
    "seed": Argument(None, check_seed),
}
"""The arguments that all variants take. Those of one variant stand in `ARGUMENTS` of its mixture.

`n_threads` affects speed alone, and so does `batch_size` with `learning_rate=0`; `records` affects reports alone. With
a single expert some arguments, such as `gate`, have no effect. They are allowed all the same, because the number of
experts is a size, not a kind of model."""

IF_GIVEN: dict[str, Any] = {
    **dict.fromkeys(("max_features", "max_classes", "max_bytes", "decision_costs", "class_weight", "prior")),
    "min_awake": 0,
    "max_waiting": MAX_WAITING,
    "records": True,
}
"""Bounds, costs and the like, which settings and states name only where they are given -> the value that says the same
as to leave them out."""

OF_NO_STATE = ("seed", "n_threads", "decision_costs")
"""Arguments that do not change what a state means."""

IDLE: dict[str, Any] = {
    "correction": 0,
    "dropout": 0,
    "max_waiting": 0,
    "min_awake": 0,
    "min_trust": 0,
    "monitors": False,
    "n_threads": 1,
    "records": True,
}
"""Values that switch an argument off. They are allowed even where the argument has no effect."""


def unmet(name: str, context: Context) -> Need | None:
    """Return the first condition of an argument that is not met, or `None` if the argument has an effect."""
    if name not in context.arguments:
        taken_by = [f"{variant!r}" for variant, mixture in MIXTURES.items() if name in mixture.ARGUMENTS]
        if not taken_by:  # a user's subclass has added it
            return None
        why = context.reasons.get(name, f"only to {', '.join(taken_by)}")
        return Need(lambda c: name in c.arguments, f"to variant={{c.variant!r}}, {why}")
    return next((need for need in context.arguments[name].needs if not need.holds(context)), None)


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
        shown = type(value).__name__ if isinstance(value, base.Base) else repr(value)
        raise ValueError(f"{name}={shown} does not apply {need.otherwise.format(c=context)}; leave it out")


def check_values(values: Mapping[str, Any], arguments: Arguments) -> None:
    """Raise unless arguments have allowed values: those that apply, given or default, and others that are given."""
    others = {name: one for mixture in MIXTURES.values() for name, one in mixture.ARGUMENTS.items()}
    for name, argument in (others | dict(arguments)).items():
        if argument.check is not None and (name in arguments or values[name] is not None):
            argument.check(name, values[name])
