"""Which arguments of an estimator have an effect beside which others, so that none is ignored in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Context:
    """What decides which arguments have an effect: some of them, each as given or its default.

    Attributes
    ----------
    variant, policy, gate, hidden, learning_rate
        As of `driftmoe.DriftMoEClassifier`.
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
    def is_adaptive(self) -> bool:
        """Whether all experts learn, and a gate weighs their votes."""
        return self.variant == "driftmoe"

    @property
    def chooses(self) -> bool:
        """Whether a few experts are chosen for each sample."""
        return self.variant in ("moe-data", "moe-vote")

    @property
    def has_head(self) -> bool:
        """Whether the router's own class probabilities are an expert."""
        return "head" in self.extras

    @property
    def has_neighbours(self) -> bool:
        """Whether experts remember samples."""
        return "neighbours" in self.extras or "relevant-neighbours" in self.extras


class Need(NamedTuple):
    """What must hold for an argument to have an effect, and what to say where it does not."""

    holds: Callable[[Context], bool]
    otherwise: str


_ADAPTIVE = Need(lambda c: c.is_adaptive, "to variant={c.variant!r}, but to 'driftmoe' alone")

NEEDS: dict[str, tuple[Need, ...]] = {
    "n_experts": (
        Need(lambda c: c.variant != "moe-task", "to variant='moe-task', which has one expert for each class"),
    ),
    "top_k": (
        Need(lambda c: c.chooses, "to variant={c.variant!r}, where all experts learn"),
        Need(lambda c: c.policy is None, "beside policy={c.policy!r}, which chooses the experts"),
    ),
    "policy": (
        Need(lambda c: c.variant != "moe-task", "to variant='moe-task', where all experts learn and vote"),
        Need(
            lambda c: not c.is_adaptive or c.gate != "equal",
            "where what it chooses by has no say with gate='equal', as it has with 'learnt', 'router' and 'recency'",
        ),
    ),
    "correction": (
        Need(lambda c: c.chooses, "to variant={c.variant!r}, but to 'moe-data' and 'moe-vote' alone"),
    ),
    "extras": (_ADAPTIVE,),
    "memory": (_ADAPTIVE, Need(lambda c: c.has_neighbours, "to extras={c.extras!r}: none of them remembers samples")),
    "monitors": (_ADAPTIVE, Need(lambda c: c.has_trees, "to experts of {c.expert}, which are taken as they are")),
    "gate": (_ADAPTIVE,),
    "leverage": (_ADAPTIVE,),
    "min_trust": (
        _ADAPTIVE,
        Need(lambda c: c.gate != "equal", "with gate='equal', which trusts all alike"),
        Need(
            lambda c: c.has_neighbours or c.n_classifiers > 0,
            "to extras={c.extras!r}: only neighbours and river classifiers are ever left unasked",
        ),
    ),
    "hidden": (
        Need(
            lambda c: not c.is_adaptive or c.gate in ("learnt", "router") or c.has_head,
            "with gate={c.gate!r} and without 'head' among the extras, where nobody asks the router",
        ),
    ),
    "learning_rate": (
        Need(
            lambda c: not c.is_adaptive or c.gate != "equal" or c.has_head,
            "with gate='equal' and without 'head' among the extras, where only experts learn",
        ),
    ),
    "batch_size": (
        Need(
            lambda c: not c.is_adaptive or c.gate != "equal" or c.has_head or c.has_networks,
            "with gate='equal' and without 'head' among the extras, where nothing takes a step",
        ),
    ),
    "dropout": (
        Need(lambda c: not c.is_adaptive, "to variant='driftmoe'"),
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
"""Argument -> what it needs; those that are not named always have an effect.

That of `n_threads`, and with `learning_rate=0` that of `batch_size`, is on speed alone. What a single expert leaves
without effect, as it leaves the gate, is not looked at: it is a size, not a kind of model."""

IDLE: dict[str, Any] = {"correction": 0, "dropout": 0, "min_trust": 0, "monitors": False, "n_threads": 1}
"""Values that ask for nothing: they say what is the case where the argument has no effect, and may be given there."""


def unmet(name: str, context: Context) -> Need | None:
    """Return the first thing that an argument needs for an effect and has not, `None` where it has an effect."""
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
