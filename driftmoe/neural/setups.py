"""Setups of the experiments: policy, router and auxiliary losses, read from text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from driftmoe import models
from driftmoe.losses import entropy_loss, load_balance_loss, null_balance_loss, soft_balance_loss
from driftmoe.nn import MoELayer, MoEOutput, StraightThrough
from driftmoe.nn.moe import check_takes_bias
from driftmoe.routing import BiasBalancer, Policy, Routing, TopK, as_rule, at_step

N_EXPERTS = 8
"""Number of experts in each layer of every experiment."""

N_ACTIVE = 2
"""Width of a plain network, in experts."""

SETUPS = (
    "plain",
    "Dense",
    "TopK(1, renorm=False)",
    "TopK(2)",
    "HARDER_TASKS",
    "DYNMOLE",
    "ADAMOE",
    "NULLS",
    "frozen",
)
"""Setups that are compared by default."""


CONFLICT_SETUPS = (
    "plain",
    "Dense",
    "TopK(1)",
    "TopK(1, renorm=False)",
    "straight(TopK(1))",
    "TopK(2)",
    "straight(TopK(2))",
    "TopK(4)",
    "HARDER_TASKS",
    "TopP(0.7)",
    "DYNMOLE",
    "EntropyHybrid(threshold=0.6)",
    "unaided(EntropyHybrid(threshold=0.6))",
    "ADAMOE",
    "NULLS",
    "WithNull(TopK(4), n_null=16, renorm=False)",
    "frozen",
)
"""Setups that are compared by default in `conflict`."""


def default_setups(name: str) -> tuple[str, ...]:
    """Return the setups that are compared by default in an experiment."""
    if name.startswith("conflict"):
        return CONFLICT_SETUPS
    return (*SETUPS, "mola") if name.startswith("adapt") else SETUPS


@dataclass(frozen=True)
class Setup:
    """Router, policy and auxiliary losses of a run.

    Attributes
    ----------
    policy
        Policy that chooses experts; `None` for a single network of the size of `N_ACTIVE` experts.
    router
        `"linear"` for a router that learns, `"random"` for one that does not.
    losses
        Weights of auxiliary losses by their names in `LOSSES`.
    by_layer
        Whether higher layers have more experts, as in MoLA.
    is_balanced
        Whether a `BiasBalancer` in each layer evens out the load, in the place of auxiliary losses.
    n_steps
        How often a row goes through the experts of a layer, each time by another router, as in Chain-of-Experts.
    is_recurrent
        Whether the routers of all layers pass on a state, as in RMoE.

    Examples
    --------
    >>> from driftmoe.neural import Setup
    >>> Setup.parsed("DYNMOLE").losses, Setup.parsed("unaided(DYNMOLE)").losses
    ({'entropy': 0.01, 'soft_balance': 0.001}, {})
    """

    policy: Policy | None
    router: Literal["linear", "random"] = "linear"
    losses: Mapping[str, float] = field(default_factory=dict)
    by_layer: bool = False
    is_balanced: bool = False
    n_steps: int = 1
    is_recurrent: bool = False

    @classmethod
    def parsed(cls, text: str) -> Setup:
        """Return the setup that a text names: a policy or preset, as in model names, or one of eight others.

        These are `plain`, without experts; `mola`, `TopK(2)` with more experts in higher layers; and those of
        `CONTROLS`, alone or with a policy, as in `frozen(TopK(1))`.

        Raises
        ------
        ValueError
            If the text names no setup.

        Examples
        --------
        >>> from driftmoe.neural import Setup
        >>> Setup.parsed("frozen(TopK(1))").router
        'random'
        """
        text = text.strip()
        if text == "plain":
            return cls(None)
        if text == "mola":
            return cls(TopK(2), losses=TopK(2).auxiliary, by_layer=True)
        control = re.fullmatch(rf"({'|'.join(CONTROLS)})(?:\((.*)\))?", text)
        default, settings = CONTROLS[control[1]] if control else ("", {})
        fields = {name: value for name, value in settings.items() if name != "around"}
        try:
            policy = models.make_policy((control[2] or default) if control else text)
        except ValueError as error:
            names = ", ".join(f"{name}, {name}(POLICY)" for name in CONTROLS)
            raise ValueError(f"{error}; or plain, {names}, mola") from None
        around = settings.get("around", as_rule)
        return cls(around(policy), **{"losses": as_rule(policy).auxiliary, **fields})

    def balance(self, layers: Iterable[MoELayer]) -> None:
        """Give each layer a balancer, if the setup has one.

        Raises
        ------
        ValueError
            If the policy takes no bias.
        """
        for layer in layers if self.is_balanced else ():
            n_experts: Any = layer.experts.n_experts
            layer.set_balancer(BiasBalancer(as_rule(layer.policy).n_logits(n_experts)))

    def loss(self, results: Sequence[MoEOutput]) -> Tensor | float:
        """Return the weighted sum of the auxiliary losses: each is computed for each layer, then the mean is taken.

        So weights mean the same in models of any depth. The codes of DynMoLE and AdaMoE join the logits of all layers:
        the same for entropy, while balance is there of all layers together.
        """
        each = [weight * LOSSES[name](result) for result in results for name, weight in self.losses.items()]
        return sum(each, 0.0) / max(len(results), 1)

    @property
    def n_active(self) -> float:
        """Number of experts that a row uses if the router is balanced: the policy's aim, not a measured value."""
        if self.policy is None:
            return N_ACTIVE
        return self.n_steps * at_step(self.policy, 0).n_active(N_EXPERTS, otherwise=N_ACTIVE)


CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "frozen": ("TopK(2)", {"router": "random", "losses": {}}),
    "balanced": ("TopK(2)", {"is_balanced": True, "losses": {}}),
    "unaided": ("TopK(2)", {"losses": {}}),
    "straight": ("TopK(1)", {"around": StraightThrough}),
    "chained": ("TopK(1, renorm=False)", {"n_steps": 2}),
    "recurrent": ("TopK(2)", {"is_recurrent": True}),
}
"""Default policy and settings of setups with another router: one that does not learn (SMoE-Dropout, without its growing
k), biases that even out the load (DeepSeek-V3), no auxiliary losses, hard weights with the gradient of the softmax
(LoRA-Mixer), two steps through each layer (Chain-of-Experts), a state that goes from layer to layer (RMoE). A new one
is one line here: its name, the policy without `(POLICY)`, and what it sets of `Setup`, or `around`, which makes another
policy of the given one. A policy of `driftmoe.routing` needs no line."""


def _of_routed(values: Tensor, routing: Routing) -> Tensor:
    """Return the columns of experts that the router chooses among, without those of shared ones."""
    return values[..., _n_null(routing) - routing.logits.shape[-1] :]


def _n_null(routing: Routing) -> int:
    return 0 if routing.null_mask is None else routing.null_mask.shape[-1]


def _load_balance(result: MoEOutput) -> Tensor:
    """Return `result.losses["load_balance"]` alone: the other losses take time, and some wait for the device."""
    routing = result.routing
    load = _of_routed(routing.mask, routing)
    if routing.null_mask is None:
        return load_balance_loss(routing.logits, load, result.rows)
    load = torch.cat([load, routing.null_mask], -1)
    return null_balance_loss(routing.logits, load, _n_null(routing), result.rows)


def _soft_balance(result: MoEOutput) -> Tensor:
    """Return `result.losses["soft_balance"]` alone."""
    routing = result.routing
    weights = F.pad(_of_routed(routing.weights, routing), (0, _n_null(routing)))
    return soft_balance_loss(routing.logits, weights, result.rows)


def _entropy(result: MoEOutput) -> Tensor:
    """Return `result.losses["entropy"]` alone."""
    entropy = result.routing.entropy
    entropy = entropy.flatten() if result.rows is None else entropy[result.rows]
    return entropy.sum() / max(len(entropy), 1)


LOSSES: dict[str, Callable[[MoEOutput], Tensor]] = {
    "load_balance": _load_balance,
    "soft_balance": _soft_balance,
    "entropy": _entropy,
    "entropy_nats": lambda result: entropy_loss(result.routing.logits, normalize=False, rows=result.rows),
}
"""Load balance by places (averaged over null experts, if there are some) or by weights, through which gradients flow;
entropy of the routing as the policy measures it, from 0 to 1, or Shannon entropy in nats. A new loss is one line here:
its name, by which the `auxiliary` of a policy or a line of `CONTROLS` gives it a weight, and a function of a layer's
result."""


def check_setup(text: str, experiment_name: str, n_steps: int) -> None:
    """Raise ValueError if a setup cannot be read, or does not fit the experiment at one of its steps.

    Parameters
    ----------
    text
        As for `Setup.parsed`.
    experiment_name
        One of `EXPERIMENTS`.
    n_steps
        Number of optimiser steps.

    Examples
    --------
    >>> from driftmoe.neural import check_setup
    >>> check_setup("TopK(2)", "conflict-mean", 40)
    >>> check_setup("mola", "conflict-mean", 40)
    Traceback (most recent call last):
    ValueError: 'mola' gives layers different numbers of experts, which adapt alone does; choose another
    """
    setup = Setup.parsed(text)
    has_lora = experiment_name.startswith(("adapt", "conflict"))
    if setup.by_layer and not experiment_name.startswith("adapt"):
        raise ValueError(
            f"{text!r} gives layers different numbers of experts, which adapt alone does; choose another"
        )
    if has_lora and (setup.n_steps > 1 or setup.is_recurrent):
        raise ValueError(
            f"{text!r} is of feed-forward layers, and {experiment_name} has LoRA experts; choose another"
        )
    if setup.policy is None:
        return
    n_logits = as_rule(setup.policy).n_logits(N_EXPERTS)
    if setup.is_balanced:
        check_takes_bias(at_step(setup.policy, 0))
    if n_logits < 1:
        raise ValueError(
            f"policy {text!r} leaves none of {N_EXPERTS} experts to choose; have fewer shared ones"
        )
    try:
        for policy in dict.fromkeys(at_step(setup.policy, step) for step in range(n_steps)):
            policy(torch.zeros(1, n_logits), **({"bias": torch.zeros(n_logits)} if setup.is_balanced else {}))
    except (TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"policy {text!r} cannot choose among {N_EXPERTS} experts: {error}") from None
