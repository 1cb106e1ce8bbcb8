"""The arguments of the adaptive mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from river import base

from driftmoe.experts import EXTRAS, check_trained
from driftmoe.mixture.arguments import (
    HEAD,
    Argument,
    Arguments,
    Need,
    check_flag,
    check_rate,
    check_widths,
    choice,
    integer,
    number,
)

GATES = {"learnt": (True, True), "router": (True, False), "recency": (False, True), "equal": (False, False)}
"""Gate -> whether the weights depend on the router's logits, and on how well each expert has done lately."""

MAX_LEVERAGE = 100.0

MAX_WAITING = 8192
"""Most samples of which something is kept until their labels come, by default."""


def check_memory(name: str, value: Any) -> None:
    """Raise unless `value` is a positive multiple of 64: a number of samples that neighbours can remember."""
    integer(-(2**63))(name, value)
    if value < 64 or value % 64:
        raise ValueError(f"{name}={value}; choose a multiple of 64, such as 4096")


def check_extras(name: str, value: Any) -> None:
    """Raise unless `value` is a sequence of names of extra experts and multiclass river classifiers."""
    available = ", ".join([*EXTRAS, HEAD])
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name}={value!r}; give a tuple of {available} and river classifiers")
    for extra in value:
        if isinstance(extra, str) and extra not in EXTRAS and extra != HEAD:
            raise ValueError(f"{name}: unknown {extra!r}; available: {available}, and river classifiers")
        if not isinstance(extra, str | base.Classifier):
            raise TypeError(f"{name}: {extra!r} is not a river classifier; give one, or {available}")
        if isinstance(extra, base.Classifier) and not extra._multiclass:
            raise ValueError(
                f"{name}: {type(extra).__name__} distinguishes only two classes; wrap it in "
                "river.multiclass.OneVsRestClassifier"
            )
    names = [extra for extra in value if isinstance(extra, str)]
    if len(set(names)) < len(names):
        raise ValueError(f"{name}={value!r} names an expert twice; give each once")


def check_prior(name: str, value: Any) -> None:
    """Raise unless `value` is a trained model of ours that reads vectors, or `None`."""
    if value is None:
        return
    if not isinstance(value, base.Classifier) or not hasattr(value, "_reader"):
        what = repr(value) if isinstance(value, str | int | float) else f"of type {type(value).__name__}"
        raise TypeError(
            f"{name} is {what}; give a trained DriftMoEClassifier or driftmoe.trees.HoeffdingTreeClassifier, such as "
            "driftmoe.load(path) returns"
        )
    if getattr(getattr(value, "_mixture", None), "reads_samples", False):
        raise TypeError(
            f"{name}: river classifiers are among the experts of this {type(value).__name__}, which cannot be shared; "
            "choose another one"
        )
    model: Any = value
    check_trained(name, model)


ARGUMENTS: Arguments = {
    "n_experts": Argument(12, integer(1)),
    "policy": Argument(
        None,
        None,
        Need(
            lambda c: c.gate != "equal",
            "with gate='equal', which ignores the scores a policy reads; 'learnt', 'router' and 'recency' use them",
        ),
    ),
    "extras": Argument(
        ("neighbours", "relevant-neighbours", "history", "linear", "network", HEAD), check_extras
    ),
    "prior": Argument(None, check_prior),
    "memory": Argument(
        4096,
        check_memory,
        Need(lambda c: c.has_memory, "to extras={c.extra_names!r}: none of them remembers samples"),
    ),
    "monitors": Argument(
        True,
        check_flag,
        Need(
            lambda c: "monitors" in c.expert.arguments,
            "to experts of {c.expert.kind}, which are taken as they are",
        ),
    ),
    "gate": Argument("learnt", choice(GATES)),
    "leverage": Argument(
        6.0,
        number(lambda value: 0.0 < value <= MAX_LEVERAGE, f"0 < leverage <= {MAX_LEVERAGE:g}, such as 6.0"),
    ),
    "min_trust": Argument(
        0.5,
        number(lambda value: 0.0 <= value <= 1.0, "0 <= min_trust <= 1"),
        Need(lambda c: c.gate != "equal", "with gate='equal', which gives all experts the same weight"),
        Need(lambda c: c.has_costly, "to extras={c.extra_names!r}: none of them is ever skipped"),
    ),
    "min_awake": Argument(
        0,
        integer(0),
        Need(
            lambda c: "monitors" in c.expert.arguments,
            "to experts of {c.expert.kind}, which are taken as they are",
        ),
        Need(lambda c: c.policy is None, "beside policy={c.policy!r}, which chooses who votes and learns"),
        Need(lambda c: c.gate != "equal", "with gate='equal', which gives all experts the same weight"),
        Need(lambda c: bool(c.extras) or c.prior is not None, "without extras: trees are all that there is"),
    ),
    "max_waiting": Argument(
        MAX_WAITING,
        integer(0),
        Need(lambda c: c.gate != "equal", "with gate='equal', which learns nothing"),
        Need(lambda c: c.learning_rate > 0.0, "with learning_rate=0, where the gate learns nothing"),
        Need(
            lambda c: c.max_bytes is None, "beside max_bytes=..., which leaves no room for samples that wait"
        ),
    ),
    "hidden": Argument(
        (128, 64),
        check_widths,
        Need(
            lambda c: c.gate in ("learnt", "router") or c.has_head,
            "with gate={c.gate!r} and without 'head' among the extras, where the router is not used",
        ),
    ),
    "learning_rate": Argument(
        2e-3,
        check_rate,
        Need(
            lambda c: c.gate != "equal" or c.has_head,
            "with gate='equal' and without 'head' among the extras, where only experts learn",
        ),
    ),
    "batch_size": Argument(
        32,
        integer(1),
        Need(
            lambda c: c.gate != "equal" or c.has_head or "batch_size" in c.expert.arguments,
            "with gate='equal' and without 'head' among the extras, where nothing takes a gradient step",
        ),
    ),
}
"""Name -> declaration."""
