"""Puts a policy in the place of the rule by which the mixtures of an existing model choose their experts.

A hook on each router reads its logits and returns the choice of the policy. Experts, weights and names of the model
stay as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from driftmoe.nn.mixtures import Mixture, find_mixtures, parts_of
from driftmoe.routing import GroupTopK, Policy, Routing, Rule, Scheduled, TopK

OWN: dict[str, Callable[[Any], Rule]] = {
    "MixtralTopKRouter": lambda router: TopK(router.top_k),
    "Qwen2MoeTopKRouter": lambda router: TopK(router.top_k, renorm=router.norm_topk_prob),
    "Qwen3MoeTopKRouter": lambda router: TopK(router.top_k, renorm=router.norm_topk_prob),
    "OlmoeTopKRouter": lambda router: TopK(router.top_k, renorm=router.norm_topk_prob),
    # A softmax of the chosen logits is the softmax of all, divided by the sum over those chosen.
    "GptOssTopKRouter": lambda router: TopK(router.top_k),
    "GraniteMoeTopKRouter": lambda router: TopK(router.top_k),
    "DeepseekV3TopkRouter": lambda router: GroupTopK(
        router.top_k, router.num_group, router.topk_group, best=2, renorm=router.norm_topk_prob
    ),
}
"""The policy that a router's class follows."""


class Rerouting:
    """The policies that `reroute` has put into a model.

    As a context manager it undoes the change at the end.

    Attributes
    ----------
    policies
        The policy of each layer that was rerouted, by the name of the layer.

    Examples
    --------
    See `reroute`.

    >>> from driftmoe.nn import Rerouting
    >>> Rerouting({}, []).policies
    {}
    """

    def __init__(self, policies: Mapping[str, Policy], handles: list[RemovableHandle]) -> None:
        self.policies = dict(policies)
        self._handles = handles

    def undo(self) -> None:
        """Let the model choose by its own rule again. A second call changes nothing."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Rerouting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


def reroute(model: nn.Module, policy: Policy | Mapping[str, Policy]) -> Rerouting:
    """Let the mixtures of a transformers model choose their experts by a policy, in the place of their own rule.

    Parameters
    ----------
    model
        A model with mixtures of experts, as transformers 5 builds them: modules with a part `experts` beside a `gate`
        or `router` that has `top_k` and `num_experts`. Its parameters and their names stay as they are.
    policy
        Any policy of `driftmoe.routing` that weighs as many experts as the router has logits; or policies by the name
        of the layer, such as `"model.layers.0.mlp"`. Layers without one keep their rule.

    Returns
    -------
    rerouting
        Its `undo` restores the model's rule, as does the end of a `with` block.

    Raises
    ------
    ValueError
        If the model has no mixtures, is compiled or rerouted already, a name is none of a mixture, or the policy does
        not fit the number of experts.
    TypeError
        In the call of the model, if a router returns something else than logits, weights and numbers of experts.

    Notes
    -----
    A factor `routed_scaling_factor` and a bias `e_score_correction_bias` of the router, as in DeepSeek-V3, are kept;
    policies that take no bias do without it. The model's own auxiliary loss goes on to count its own top k of the
    logits: use the losses of `watch` instead.

    A row costs as much as the row with most experts: experts that it did not choose get the weight 0. So policies with
    few experts for most rows save nothing here. Padding is routed, as the model itself does.

    A policy computes in float32; its weights are rounded to the type that the router returns. The gradients of the
    router are those of the weights.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import reroute, watch
    >>> from driftmoe.routing import TopK
    >>> class Router(torch.nn.Linear):  # as in transformers
    ...     top_k, num_experts = 2, 4
    ...     def forward(self, x):
    ...         logits = super().forward(x)
    ...         weights, chosen = logits.softmax(-1).topk(self.top_k)
    ...         return logits, weights, chosen
    >>> class Experts(torch.nn.Module):
    ...     def forward(self, x, chosen, weights):
    ...         return x * (weights * chosen).sum(-1, keepdim=True)
    >>> class Block(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.gate, self.experts = Router(8, 4), Experts()
    ...     def forward(self, x):
    ...         logits, weights, chosen = self.gate(x.flatten(0, -2))
    ...         return self.experts(x.flatten(0, -2), chosen, weights).view(x.shape)
    >>> model = torch.nn.Sequential(Block())
    >>> with reroute(model, TopK(1)), watch(model) as records:
    ...     output = model(torch.randn(2, 5, 8))
    >>> records[0][0], records[0][1].routing.n_used.max().item()
    ('0', 1)
    """
    mixtures = find_mixtures(model, "reroute")
    policies = dict(policy) if isinstance(policy, Mapping) else dict.fromkeys(mixtures, policy)
    for name, of_layer in policies.items():
        if name not in mixtures:
            raise ValueError(
                f"reroute: {name!r} is no mixture of this model; available: {', '.join(mixtures)}"
            )
        _check(name, mixtures[name], of_layer)
    return Rerouting(
        policies,
        [
            # before other hooks, so that these see what the policy chose
            mixtures[name].router.register_forward_hook(Reroute(of_layer), prepend=True)
            for name, of_layer in policies.items()
        ],
    )


def own_policies(model: nn.Module) -> dict[str, Policy]:
    """Return the policies by which the mixtures of a transformers model choose their experts.

    `reroute(model, own_policies(model))` leaves the model's output as it is, up to rounding.

    Parameters
    ----------
    model
        A model with mixtures of experts: Mixtral, GPT-OSS and Granite-MoE have `TopK(k)`; Qwen2-MoE, Qwen3-MoE and
        OLMoE `TopK(k, renorm=norm_topk_prob)`, from their configuration; DeepSeek-V3 `GroupTopK`, with sigmoid scores.

    Returns
    -------
    policies
        By the name of the layer.

    Raises
    ------
    ValueError
        If the model has no mixtures, or one whose rule is not known here.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import own_policies
    >>> try:
    ...     own_policies(torch.nn.Linear(2, 2))
    ... except ValueError as error:
    ...     print(str(error)[:51])
    own_policies: Linear has no mixture of experts; loo
    """
    policies: dict[str, Policy] = {}
    for name, mixture in find_mixtures(model, "own_policies").items():
        kind = type(mixture.router).__name__
        if kind not in OWN:
            raise ValueError(
                f"own_policies: the rule of {kind} is not known; known are those of {', '.join(OWN)}"
            )
        policies[name] = OWN[kind](mixture.router)
    return policies


@dataclass(eq=False)
class Reroute:
    """A hook on a router, which puts the choice of a policy in the place of its own."""

    policy: Policy

    def __call__(self, router: nn.Module, inputs: Any, output: Any) -> tuple[Any, ...]:
        """Return the output of the router with weights and numbers of the experts that the policy chose."""
        logits, own_weights, _ = parts_of(router, output)
        routing = self.routing(router, logits)
        chosen_first = routing.logits.masked_fill(~routing.mask, -torch.inf)
        chosen = chosen_first.topk(_most(routing), dim=-1).indices  # (n_rows, most)
        parts = logits, routing.weights.gather(-1, chosen).to(own_weights.dtype), chosen, *output[3:]
        return parts if torch.compiler.is_compiling() else Chosen(parts, routing)

    def routing(self, router: nn.Module, logits: Tensor) -> Routing:
        """Return the choice of the policy, with weights as the experts get them."""
        bias = getattr(router, "e_score_correction_bias", None)
        if bias is not None and "bias" in inspect.signature(self.policy).parameters:
            routing = self.policy(logits, bias=bias)  # type: ignore[call-arg]  # those that take it are no protocol
        else:
            routing = self.policy(logits)
        scale = getattr(router, "routed_scaling_factor", 1.0)
        return routing if scale == 1.0 else replace(routing, weights=routing.weights * scale)


class Chosen(tuple[Any, ...]):
    """The output of a router, with the routing that it was made of, which `watch` reads."""

    routing: Routing

    def __new__(cls, parts: tuple[Any, ...], routing: Routing) -> Chosen:
        """Return the parts as they are."""
        chosen = super().__new__(cls, parts)
        chosen.routing = routing
        return chosen


def _most(routing: Routing) -> int:
    """Return a number of experts that no row exceeds; the least one where asking costs nothing."""
    if torch.compiler.is_compiling() or routing.mask.device.type != "cpu" or not len(routing.mask):
        return routing.mask.shape[-1] if routing.at_most is None else routing.at_most
    return int(routing.n_used.max())


def _check(name: str, mixture: Mixture, policy: Policy) -> None:
    """Raise ValueError unless a policy fits a mixture that is not rerouted yet."""
    router: Any = mixture.router
    if any(isinstance(hook, Reroute) for hook in router._forward_hooks.values()):
        raise ValueError(f"reroute: {name!r} is rerouted already; undo that first")
    if isinstance(policy, Scheduled):
        raise ValueError(f"reroute: {policy!r} needs a step; give at_step(policy, step)")
    n_experts = router.num_experts
    n_weighed = policy(torch.zeros(1, n_experts)).mask.shape[-1]
    if n_weighed != n_experts:
        raise ValueError(
            f"reroute: {policy!r} makes {n_weighed} experts of {n_experts} logits, but {name!r} has {n_experts} "
            "experts; choose a policy without null and shared experts"
        )
