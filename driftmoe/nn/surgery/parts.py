"""What all operations need: the experts of a layer by number, copies of some of them, and cut routers and policies.

Experts are numbered as the router sees them: shared experts of the policy (`WithShared`) have no number and stay.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial, wraps
from itertools import accumulate, pairwise
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from driftmoe.nn.experts import FeedForwardExperts
from driftmoe.nn.lora import LoRAExperts
from driftmoe.nn.moe import MoELayer
from driftmoe.nn.surgery.joined import JoinedExperts, JoinedRouter
from driftmoe.nn.surgery.policies import Beside, Merged
from driftmoe.nn.watching import LayerUsage
from driftmoe.routing import BiasBalancer, GroupTopK, Policy, RandomRouter, Scheduled, WithNull, as_rule
from driftmoe.routing.rule import has_logit_for_each
from driftmoe.routing.wrappers import Wrapper

P = ParamSpec("P")
R = TypeVar("R")

Shares = LayerUsage | Tensor | Sequence[float]
"""How much each expert is used: a result of `usage`, or a number for each expert."""


def untracked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function compute without gradients, and make parameters that can learn wherever it is called."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return inner


def check_layer(caller: str, layer: object) -> None:
    """Raise unless surgery knows a layer."""
    if not isinstance(layer, MoELayer):
        raise TypeError(
            f"{caller}: {type(layer).__name__} is no MoELayer; give the layer itself, as `inject` and `record` name it"
        )
    if isinstance(layer.policy, Scheduled):
        raise ValueError(f"{caller}: {layer.policy!r} needs a step; set layer.policy = at_step(policy, step)")
    if layer.delta is not None:
        raise ValueError(
            f"{caller}: adapt_routing or steer has moved the layer's routing, which surgery would not see; call "
            "reset_routing first, and steer the result if need be"
        )
    parts = layer.experts.parts if isinstance(layer.experts, JoinedExperts) else [layer.experts]
    for part in parts:
        if not isinstance(part, FeedForwardExperts | LoRAExperts):
            raise TypeError(
                f"{caller}: experts of {type(part).__name__} are not known; known are FeedForwardExperts, LoRAExperts "
                "and JoinedExperts of them"
            )


def check_finite(numbers: Tensor, message: str) -> None:
    """Raise ValueError if some of the numbers are NaN or infinite."""
    if not bool(torch.isfinite(numbers).all()):
        raise ValueError(message)


BROKEN = "the layer puts out NaN or infinite numbers for these inputs; mend or prune its experts first"


def checked_rows(caller: str, layer: MoELayer, inputs: Tensor) -> Tensor:
    """Return inputs as rows, shape (n_rows, n_features), if they are such as a layer reads."""
    n_in, _ = widths_of(layer.experts)
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        raise TypeError(
            f"{caller}: inputs are {getattr(inputs, 'dtype', type(inputs).__name__)}; give a tensor of floats, shape "
            f"(..., {n_in}), such as `collect` gives for the layer"
        )
    if not inputs.dim() or inputs.shape[-1] != n_in:
        raise ValueError(
            f"{caller}: inputs of shape {tuple(inputs.shape)}; give (..., {n_in}), such as `collect` gives for the "
            "layer"
        )
    return inputs.reshape(-1, n_in)


def widths_of(experts: nn.Module) -> tuple[int, int]:
    """Return the widths of the inputs and outputs of experts that surgery knows."""
    part = experts.parts[0] if isinstance(experts, JoinedExperts) else experts
    if isinstance(part, LoRAExperts):
        return part.a.shape[-1], part.b.shape[-1]
    assert isinstance(part, FeedForwardExperts)  # see `check_layer`
    return part.w_out.shape[-1], part.w_out.shape[-1]


def n_routed(layer: MoELayer) -> int:
    """Return how many experts a policy chooses among: all but shared ones."""
    return int(layer.experts.n_experts) - as_rule(layer.policy).n_shared  # type: ignore[arg-type]  # any attribute


def checked_experts(caller: str, what: str, chosen: Iterable[int] | bool, n: int) -> list[int]:
    """Return numbers of experts in order; each must be there, and once."""
    listed = [number(f"{caller}: {what} holds", e) for e in chosen] if isinstance(chosen, Iterable) else None
    if listed is None:
        raise TypeError(f"{caller}: {what}={chosen!r}; give the numbers of experts, from 0 to {n - 1}")
    if len(set(listed)) < len(listed) or not all(0 <= e < n for e in listed):
        raise ValueError(f"{caller}: {what}={listed}; choose different numbers from 0 to {n - 1}")
    return sorted(listed)


def number(what: str, chosen: Any) -> int:
    """Return the number of an expert. Flags and other numbers are refused: they would be taken for other experts."""
    kind = chosen.dtype if isinstance(chosen, Tensor | np.generic) else type(chosen)
    if kind in (bool, torch.bool, np.dtype(bool)):
        raise TypeError(f"{what} {kind}; give the numbers of experts, such as mask.nonzero().flatten()")
    try:
        return operator.index(chosen)
    except TypeError:
        raise TypeError(f"{what} {chosen!r}; give the numbers of experts") from None


def chosen_experts(
    caller: str,
    n: int,
    keep: int | Iterable[int],
    usage: Shares | None,
    protect: Iterable[int],
    policy: Policy,
) -> list[int]:
    """Return the experts that are kept, in order: those named, or as many of the most used after protected ones.

    A policy that chooses among groups gets as many of each group.
    """
    held = checked_experts(caller, "protect", protect, n)
    if isinstance(keep, bool) or not isinstance(keep, Iterable | int | np.integer):
        raise TypeError(f"{caller}: keep={keep!r}; give a whole number, or the numbers of experts")
    if isinstance(keep, Iterable):
        kept = checked_experts(caller, "keep", keep, n)
        if missing := sorted(set(held) - set(kept)):
            raise ValueError(f"{caller}: keep={kept} lacks {missing} of protect={held}; keep these, too")
        return kept
    if not 1 <= keep <= n:
        raise ValueError(
            f"{caller}: keep={keep} of {n} experts; choose 1 <= keep <= {n}, or the numbers of experts"
        )
    if usage is None:
        raise ValueError(
            f"{caller}: keep={keep} of {n} experts, but which? Give usage, or the numbers of experts"
        )
    if len(held) > keep:
        raise ValueError(f"{caller}: keep={keep}, but protect={held} are {len(held)}; keep as many at least")
    order = ranked(shares_of(caller, usage, n), held)
    return first_of_groups(caller, policy, order, int(keep), held)


def first_of_groups(
    caller: str, policy: Policy, order: Sequence[int], k: int, held: Sequence[int]
) -> list[int]:
    """Return the first k experts of an order, as many of each group if the policy chooses among groups."""
    inner = policy
    while isinstance(inner, Wrapper) and not isinstance(inner, Merged | Beside | WithNull):
        inner = inner.policy
    if not isinstance(inner, GroupTopK):
        return sorted(order[:k])
    size, (each, left) = len(order) // inner.n_groups, divmod(k, inner.n_groups)
    kept = [e for e in order if [d for d in order if d // size == e // size].index(e) < each]
    if left or not set(held) <= set(kept):
        raise ValueError(
            f"{caller}: {inner!r} needs as many experts of each of {inner.n_groups} groups, but {k} would be kept with "
            f"protect={list(held)}; keep a multiple of {inner.n_groups} with room for these, or name the experts"
        )
    return sorted(kept)


def shares_of(caller: str, usage: Shares | None, n: int) -> Tensor:
    """Return the share of each expert, float64, shape (n,); equal ones by default."""
    if usage is None:
        return torch.full((n,), 1.0 / n, dtype=torch.float64)
    given = usage.share if isinstance(usage, LayerUsage) else usage
    if not isinstance(given, Tensor | np.ndarray | Sequence) or isinstance(given, str):
        raise TypeError(
            f"{caller}: usage is {given!r:.80}; give a number for each of the {n} experts, such as usage(records)[name]"
        )
    share = torch.as_tensor(given).detach().to("cpu", torch.float64)
    if share.shape != (n,) or not bool(torch.isfinite(share).all()) or bool((share < 0.0).any()):
        raise ValueError(
            f"{caller}: usage={share.tolist()!s:.200}; give a number >= 0 for each of the {n} experts, such as "
            "usage(records)[name]"
        )
    return share


def ranked(share: Tensor, first: Iterable[int] = ()) -> list[int]:
    """Return experts by use, the most used first, after those of `first`; of equal ones the lower number wins."""
    front = list(first)
    order = share.sort(descending=True, stable=True).indices.tolist()
    return [e for e in order if e in front] + [e for e in order if e not in front]


def rebuilt(experts: nn.Module, make: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """Return a copy of experts with other parameters, which learn or not as before."""
    memo = {
        id(p): nn.Parameter(make(name, p.detach()).contiguous().clone(), requires_grad=p.requires_grad)
        for name, p in experts.named_parameters()
    }
    return copy.deepcopy(experts, memo)  # which takes these for copies of the old parameters


def selected(experts: nn.Module, kept: Sequence[int]) -> nn.Module:
    """Return a copy of some experts, in the order given within each part; `kept` counts shared ones, too."""
    if not isinstance(experts, JoinedExperts):
        index = list(kept)
        return rebuilt(experts, lambda name, p: p[index])
    parts = []
    for part, (a, b) in zip(experts.parts, pairwise(accumulate(experts.sizes, initial=0)), strict=True):
        if within := [e - a for e in kept if a <= e < b]:
            parts.append(selected(part, within))
    return parts[0] if len(parts) == 1 else JoinedExperts(parts)


def flat(caller: str, experts: nn.Module) -> FeedForwardExperts | LoRAExperts:
    """Return experts as one module: the parts of joined ones put together, if they are of one size."""
    if not isinstance(experts, JoinedExperts):
        assert isinstance(experts, FeedForwardExperts | LoRAExperts)  # see `check_layer`
        return experts
    parts = [flat(caller, part) for part in experts.parts]

    def build(part: nn.Module) -> tuple[Any, ...]:
        sizes = [(name, p.shape[1:], p.dtype) for name, p in part.named_parameters()]
        return type(part), part.extra_repr(), sizes

    if any(build(part) != build(parts[0]) for part in parts):
        raise ValueError(
            f"{caller}: experts of different kinds or sizes have no neurons in common; give groups within one part"
        )
    both = {
        name: torch.cat([p.get_parameter(name).detach() for p in parts])
        for name, _ in parts[0].named_parameters()
    }
    whole = rebuilt(parts[0], lambda name, _: both[name])
    for name, parameter in whole.named_parameters():
        parameter.requires_grad_(any(part.get_parameter(name).requires_grad for part in parts))
    assert isinstance(whole, FeedForwardExperts | LoRAExperts)
    return whole


def columns_of(policy: Policy, n: int, chosen: Sequence[int]) -> list[int]:
    """Return which logits of a policy over n experts belong to some of these."""
    if isinstance(policy, Merged):
        members = [i for i, group in enumerate(policy.group_of) if group in set(chosen)]
        return columns_of(policy.policy, len(policy.group_of), members)
    if isinstance(policy, Beside):
        n_old = n - policy.n_added
        n_columns = as_rule(policy.policy).n_logits(n_old + policy.n_shared) - policy.n_null
        of_old = columns_of(policy.policy, n_old, [e for e in chosen if e < n_old])
        return of_old + [n_columns + e - n_old for e in chosen if e >= n_old]
    if isinstance(policy, Wrapper) and not isinstance(policy, WithNull):
        return columns_of(policy.policy, n, chosen)
    _check_has_logit_for_each(policy)
    return list(chosen)


def cut_policy(policy: Policy, n: int, kept: Sequence[int]) -> tuple[Policy, list[int]]:
    """Return the policy of some of n experts, and which of its logits belong to them or to null experts."""
    if isinstance(policy, Merged):
        before = [i for i, group in enumerate(policy.group_of) if group in set(kept)]
        inner, columns = cut_policy(policy.policy, len(policy.group_of), before)
        number = {group: i for i, group in enumerate(kept)}
        return Merged(inner, tuple(number[policy.group_of[i]] for i in before)), columns
    if isinstance(policy, Beside):
        return _cut_beside(policy, n, kept)
    if isinstance(policy, Wrapper) and not isinstance(policy, WithNull):
        inner, columns = cut_policy(policy.policy, n, kept)
        return replace(policy, policy=inner), columns
    if isinstance(policy, GroupTopK) and len(kept) < n:
        size = n // policy.n_groups
        of_group = [sum(e // size == group for e in kept) for group in range(policy.n_groups)]
        if len(set(of_group)) > 1:
            raise ValueError(
                f"{policy!r} has groups of neighbouring experts, of which {of_group} would be kept; keep as many of "
                "each, or give the layer another policy"
            )
    _check_has_logit_for_each(policy)
    return policy, [*kept, *range(n, n + as_rule(policy).n_null)]


def _check_has_logit_for_each(policy: Policy) -> None:
    """Raise ValueError if experts of a policy share logits, so that none belong to some of them alone."""
    if not has_logit_for_each(policy):
        raise ValueError(f"{policy!r} has not one logit for each expert; give the layer another policy first")


def _cut_beside(policy: Beside, n: int, kept: Sequence[int]) -> tuple[Policy, list[int]]:
    n_old, n_null = n - policy.n_added, policy.n_null
    n_columns = as_rule(policy.policy).n_logits(n_old + policy.n_shared) - n_null  # those of old experts
    old, new = [e for e in kept if e < n_old], [e - n_old for e in kept if e >= n_old]
    if not old:
        raise ValueError(
            f"{policy!r} would keep none of the experts that there were first; keep one at least"
        )
    inner, columns = cut_policy(policy.policy, n_old, old)
    of_old = [c for c in columns if c < n_columns]
    of_null = [c + policy.n_added for c in columns if c >= n_columns]
    if not new:
        return inner, of_old + of_null
    cut = Beside(inner, policy.added, len(new))
    return cut, of_old + [n_columns + e for e in new] + of_null


def check_fits(caller: str, policy: Policy, n_experts: int) -> None:
    """Raise ValueError unless a policy can choose among so many experts, shared ones included."""
    rule = as_rule(policy)
    if n_experts <= rule.n_shared:
        raise ValueError(f"{caller}: {policy!r} would have no expert to choose; keep one at least")
    try:
        n_weighed = policy(torch.zeros(1, rule.n_logits(n_experts))).mask.shape[-1]
    except ValueError as error:
        raise ValueError(
            f"{caller}: {policy!r} cannot choose among {n_experts} experts: {error}; keep more, or give another policy"
        ) from None
    if n_weighed != n_experts:
        raise ValueError(f"{caller}: {policy!r} makes {n_weighed} experts, but {n_experts} would be there")


def cut_router(caller: str, router: Any, columns: Sequence[int], old: nn.Module, new: nn.Module) -> Any:
    """Return a copy of a router with some of its outputs, in their order; one that reads experts reads the new ones."""
    if router is None:
        return None
    if isinstance(router, partial):
        return partial(cut_router(caller, router.func, columns, old, new), *router.args, **router.keywords)
    if getattr(router, "__self__", None) is old:  # as in `mora` and `flylora`
        return getattr(new, router.__name__)
    if isinstance(router, JoinedRouter):
        return _cut_joined(caller, router, columns, old, new)
    if type(router) is nn.Linear:
        cut = nn.utils.skip_init(
            nn.Linear, router.in_features, len(columns), bias=router.bias is not None,
            device=router.weight.device, dtype=router.weight.dtype,
        )  # fmt: skip
        for name, parameter in router.named_parameters():
            chosen = parameter.detach()[list(columns)].clone()
            setattr(cut, name, nn.Parameter(chosen, requires_grad=parameter.requires_grad))
        return cut.train(router.training)
    if isinstance(router, RandomRouter):
        random = copy.deepcopy(router)
        random.weight = router.weight[list(columns)].clone()
        return random
    raise TypeError(
        f"{caller}: the outputs of a router of type {type(router).__name__} cannot be cut; known are nn.Linear, "
        "RandomRouter, JoinedRouter and the methods of the layer's experts"
    )


def _cut_joined(
    caller: str, router: JoinedRouter, columns: Sequence[int], old: nn.Module, new: nn.Module
) -> nn.Module:
    sizes = [n_outputs(caller, part) for part in router.parts]
    order = list(range(sum(sizes)) if router.places is None else router.places)
    wanted = [order[c] for c in columns]  # among the outputs of all parts, one after the other
    parts, of_parts = [], []
    for part, (a, b) in zip(router.parts, pairwise(accumulate(sizes, initial=0)), strict=True):
        if within := sorted(w for w in wanted if a <= w < b):
            parts.append(cut_router(caller, part, [w - a for w in within], old, new))
            of_parts += within
    new_order = [of_parts.index(w) for w in wanted]
    if len(parts) == 1 and new_order == sorted(new_order):
        return parts[0]
    return JoinedRouter(parts, new_order)


def n_outputs(caller: str, router: nn.Module) -> int:
    """Return how many logits a router has."""
    if isinstance(router, JoinedRouter):
        return sum(n_outputs(caller, part) for part in router.parts)
    weight = getattr(router, "weight", None)
    if not isinstance(weight, Tensor) or not isinstance(router, nn.Linear | RandomRouter):
        raise TypeError(
            f"{caller}: a router of type {type(router).__name__} does not say how many outputs it has; known are "
            "nn.Linear, RandomRouter and JoinedRouter"
        )
    return len(weight)


def balancer_of(layer: MoELayer, change: Callable[[Tensor], Tensor]) -> BiasBalancer | None:
    """Return a balancer like that of a layer with another bias."""
    if layer.balancer is None:
        return None
    bias = change(layer.balancer.bias)
    balancer = BiasBalancer(len(bias), rate=layer.balancer.rate, rule=layer.balancer.rule).to(bias.device)
    balancer.bias = bias - bias.mean()
    return balancer


def changed(
    layer: MoELayer, router: Any, experts: nn.Module, policy: Policy, balancer: BiasBalancer | None
) -> MoELayer:
    """Return a layer with other parts, and the shared expert and scale of a layer."""
    new = MoELayer(router, experts, policy, layer.shared_expert, balancer=balancer, scale=layer.scale)
    new.training = layer.training
    return new


def copied(router: Any) -> Any:
    """Return a copy of a router; a plain function is the same."""
    return copy.deepcopy(router) if isinstance(router, nn.Module) else router


def refuse_router_of_experts(caller: str, layer: MoELayer) -> None:
    """Raise TypeError if the router reads the experts themselves."""
    router = layer.router.func if isinstance(layer.router, partial) else layer.router
    if getattr(router, "__self__", None) is layer.experts:
        raise TypeError(
            f"{caller}: the router of this layer reads its experts ({getattr(router, '__name__', router)}, as in "
            "`mora` and `flylora`), so that other experts would route differently; only `prune` keeps such a layer"
        )
