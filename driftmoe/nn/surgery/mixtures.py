"""Experts of a transformers model that are left out, with its own classes, so that it stays a transformers model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from driftmoe.nn.mixtures import Mixture, find_mixtures
from driftmoe.nn.rerouting import OWN, Reroute
from driftmoe.nn.surgery.parts import Shares, check_fits, chosen_experts, cut_policy, untracked
from driftmoe.routing import Policy, TopK

NUMBERS = ("num_experts", "num_local_experts", "n_routed_experts")
"""Names under which models and their configurations keep the number of experts."""


@untracked
def prune_mixtures(
    model: nn.Module,
    *,
    keep: int | Mapping[str, Iterable[int]],
    usage: Mapping[str, Shares] | None = None,
    protect: Mapping[str, Iterable[int]] | None = None,
) -> None:
    """Leave out experts of the mixtures in a transformers model, which is modified.

    Parameters
    ----------
    model
        A model with mixtures of experts, as transformers 5 builds them; see `watch`. Mixtral, Qwen2-MoE, Qwen3-MoE,
        OLMoE, DeepSeek-V3, GPT-OSS and Granite-MoE are tested. Experts that serve all rows stay.
    keep
        How many experts each mixture keeps, those that `usage` names most often; or name of the mixture, as in `watch`
        -> numbers of the experts that it keeps. Mixtures that are not named stay as they are.
    usage
        Name of the mixture -> how much its experts are used by the task that the model is for: `usage(records)`.
    protect
        Name of the mixture -> numbers of experts that must not go.

    Raises
    ------
    ValueError
        If a name or number is wrong, a protected expert would go, the model's rule cannot choose among those left, or a
        mixture is rerouted or of another build, or mixtures that share their experts would keep different ones. The
        model is then unchanged.

    Notes
    -----
    If all mixtures keep as many, the configuration says so, and `save_pretrained` and `from_pretrained` work as before.
    Otherwise no configuration could say how many there are: keep the numbers, and load by `load_state_dict` into a
    model that is pruned in the same way. Such a model cannot compute transformers' own balance loss either. Optimisers
    must be made anew.

    References
    ----------
    As `prune`.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn.surgery import prune_mixtures
    >>> try:
    ...     prune_mixtures(torch.nn.Linear(2, 2), keep=1)
    ... except ValueError as error:
    ...     print(str(error)[:55])
    prune_mixtures: Linear has no mixture of experts; looke
    """
    mixtures, protect = find_mixtures(model, "prune_mixtures"), protect or {}
    if not isinstance(keep, int | np.integer | Mapping):
        raise TypeError(
            f"prune_mixtures: keep={keep!r:.80}; give a whole number, or name of the mixture -> numbers of its experts"
        )
    named = dict(keep) if isinstance(keep, Mapping) else dict.fromkeys(mixtures, keep)
    for name in (*named, *(usage or {}), *protect):
        if name not in mixtures:
            raise ValueError(
                f"prune_mixtures: {name!r} is no mixture of this model; available: {', '.join(mixtures)}"
            )
    kept = {}
    for name, mixture in mixtures.items():
        if name in named:
            of_usage = None if usage is None else usage.get(name)
            n = mixture.router.num_experts
            assert isinstance(n, int)  # see `find_mixtures`
            policy = _policy(mixture.router)
            kept[name] = chosen_experts(
                f"prune_mixtures: {name}", n, named[name], of_usage, protect.get(name, ()), policy
            )
            _check(name, mixture, n, kept[name], policy)
    _check_shared(mixtures, kept)
    before = {name: mixture.router.num_experts for name, mixture in mixtures.items()}
    made: dict[int, nn.Parameter] = {}
    done: set[nn.Module] = set()
    for name, of_mixture in kept.items():
        for part in _parts(mixtures[name]):
            if part not in done:
                _cut(part, of_mixture, made)
            done.add(part)
    _say(model, set(before.values()), {mixture.router.num_experts for mixture in mixtures.values()})


def _parts(mixture: Mixture) -> tuple[nn.Module, nn.Module]:
    return mixture.router, mixture.block.get_submodule("experts")


def _check_shared(mixtures: Mapping[str, Mixture], kept: Mapping[str, list[int]]) -> None:
    """Raise ValueError if mixtures that share router, experts or a parameter would keep different experts."""
    owner: dict[int, str] = {}
    for name, mixture in mixtures.items():
        for part in _parts(mixture):
            for shared in (part, *part.parameters()):
                first = owner.setdefault(id(shared), name)
                if kept.get(first) != kept.get(name):
                    raise ValueError(
                        f"prune_mixtures: {first!r} and {name!r} share router or experts, but would keep "
                        f"{kept.get(first, 'all')} and {kept.get(name, 'all')}; keep the same in both"
                    )


def _policy(router: Any) -> Policy:
    """Return what a router chooses by, as far as it is known; else as many experts as it says."""
    known = OWN.get(type(router).__name__)
    return TopK(router.top_k) if known is None else known(router)


def _check(name: str, mixture: Mixture, n: int, kept: list[int], policy: Policy) -> None:
    """Raise ValueError unless a mixture can do with some of its experts."""
    router: Any = mixture.router
    if any(isinstance(hook, Reroute) for hook in router._forward_hooks.values()):
        raise ValueError(f"prune_mixtures: {name!r} is rerouted; undo that first")
    check_fits(f"prune_mixtures: {name}", cut_policy(policy, n, kept)[0], len(kept))
    for part in _parts(mixture):
        for label, tensor in part.state_dict().items():
            if not tensor.dim() or len(tensor) != n:
                raise ValueError(
                    f"prune_mixtures: {label!r} of {name!r} has the shape {tuple(tensor.shape)}; each tensor of "
                    f"router and experts must have a row for each of the {n} experts"
                )


def _cut(part: nn.Module, kept: list[int], made: dict[int, nn.Parameter]) -> None:
    """Leave a part its rows of the kept experts; `made` holds what was made of which parameter, for those shared."""
    n = part.num_experts if hasattr(part, "num_experts") else None
    for module in part.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in made:
                chosen = parameter.detach()[kept].clone()
                made[id(parameter)] = nn.Parameter(chosen, requires_grad=parameter.requires_grad)
            setattr(module, name, made[id(parameter)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            if isinstance(buffer, Tensor):
                setattr(module, name, buffer[kept].clone())
        for name in (*NUMBERS, "out_features"):
            if n is not None and vars(module).get(name) == n:
                setattr(module, name, len(kept))


def _say(model: nn.Module, before: set[Any], after: set[Any]) -> None:
    """Tell a model and its configuration how many experts there are, where one number says it."""
    if len(before) > 1 or len(after) > 1:
        return
    (old,), (new,) = before, after
    config = getattr(model, "config", None)
    for place in (model, *(c for c in (config, getattr(config, "text_config", None)) if c is not None)):
        for name in NUMBERS:
            if vars(place).get(name) == old:
                setattr(place, name, new)
