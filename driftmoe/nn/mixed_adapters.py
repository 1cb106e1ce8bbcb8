"""Routing over LoRA adapters that were trained elsewhere: they stay frozen, and only routers learn which to use.

Each adapter, such as one of a task, becomes one expert of each layer that it reaches. LoRA-Mixer calls this its
second regime; X-LoRA does it with one head for the whole model, which reads the hidden states of a first pass, where
here each layer has a router that reads the layer's own inputs, so that one pass is enough.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from os import PathLike
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from driftmoe.nn.fused import FusedLoRA
from driftmoe.nn.injecting import Injected, inject
from driftmoe.nn.linears import widths
from driftmoe.nn.lora import LoRAExperts, lora_layer
from driftmoe.nn.moe import MoELayer
from driftmoe.nn.peft_files import load_peft
from driftmoe.routing import Policy, Routing, as_rule
from driftmoe.routing.wrappers import Wrapper

Adapter = str | PathLike[str] | nn.Module
"""A folder in peft's format, or a model with an adapter in it."""


class _Pair(NamedTuple):
    """The low-rank pair of an adapter in one layer."""

    a: Tensor  # (rank, n_in)
    b: Tensor  # (rank, n_out)
    scale: float


def mix_adapters(
    model: nn.Module,
    adapters: Sequence[Adapter],
    policy: Policy,
    *,
    router: Literal["linear", "random"] = "linear",
    seed: int | None = None,
) -> dict[str, MoELayer]:
    """Inject adapters that were trained before as frozen experts, one each, and routers that learn when to use which.

    Parameters
    ----------
    model
        The model that the adapters were trained in, as it was before; it is modified and frozen.
    adapters
        Each a folder in peft's format (of peft, or of `save_peft`), or a model with the same weights in which LoRA with
        one expert was injected, and nothing else learnt. Such a model is only read, and may be thrown away afterwards.
        Ranks, scales and the layers that they reach may differ: an adapter says nothing in a layer that it does not
        reach. Pairs stay as wide as they were, those of folders in float32, also in a narrower model.
    policy
        Any policy of `driftmoe.routing`, without null and shared experts or with them: there is an expert for each
        adapter. `TopK(1)` uses one adapter for each row; the router learns by `StraightThrough(TopK(1))`, and not by
        `TopK(1)` alone, whose weight is always 1. `Dense()` mixes all.
    router, seed
        As in `lora_layer`.

    Returns
    -------
    layers
        By the names of the linear layers, in the order of the model. Only their routers learn.

    Raises
    ------
    ValueError
        If there are no adapters; if one is no LoRA, has a router of its own or pairs of fused weights, does not fit the
        model, or is a model with other weights or with more that learns; or if something was injected into the model
        before. The model is then unchanged.
    OSError
        If a file cannot be read.

    Notes
    -----
    `save_adapter` keeps routers and adapters in one file. To load it, call this again with the same adapters. Let
    experts learn, too, by `layer.experts.requires_grad_()`.

    References
    ----------
    LoRA-Mixer, Li et al. 2025 (arXiv 2507.00029): routing over frozen adapters. X-LoRA, Buehler and Buehler 2024 (arXiv
    2402.07148).

    Examples
    --------
    >>> import tempfile
    >>> from functools import partial
    >>> from pathlib import Path
    >>> import torch
    >>> from driftmoe.nn import inject, lora_layer, mix_adapters, save_peft
    >>> from driftmoe.routing import Dense, TopK
    >>> def network():
    ...     torch.manual_seed(0)
    ...     return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    >>> make = partial(lora_layer, policy=Dense(), rank=2, router="random")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for task in ("one", "two"):
    ...         trained = network()
    ...         _ = inject(trained, "0", make, n_experts=1)
    ...         save_peft(trained, Path(folder, task))
    ...     model = network()
    ...     layers = mix_adapters(model, [Path(folder, "one"), Path(folder, "two")], TopK(1))
    >>> layers["0"].experts.n_experts, [name for name, p in model.named_parameters() if p.requires_grad]
    (2, ['0.moe.router.weight'])
    """
    if not adapters:
        raise ValueError("mix_adapters: no adapters; give a folder or a model for each")
    before = [name for name, m in model.named_modules() if isinstance(m, Injected | FusedLoRA)]
    if before:
        raise ValueError(
            f"mix_adapters: something was injected into the model before, at {before[0]!r}; begin with the model as it "
            "was, and give all adapters at once"
        )
    pairs = [_read(model, adapter, f"adapter {i}") for i, adapter in enumerate(adapters)]
    names = [name for name, _ in model.named_modules() if any(name in of for of in pairs)]
    rank = max(len(pair.a) for of in pairs for pair in of.values())
    scales = {pair.scale for of in pairs for pair in of.values()}
    # One scale of all stays a factor, so that sums round alike.
    scale = scales.pop() if len(scales) == 1 and 0.0 not in scales else 1.0

    def make(linear: nn.Module, *, n_experts: int, seed: int | None) -> MoELayer:
        layer = lora_layer(
            linear, n_experts=n_experts, policy=policy, rank=rank, scale=scale, router=router, seed=seed
        )
        layer.experts.requires_grad_(False)
        return layer

    layers = inject(model, names, make, n_experts=len(pairs), seed=seed)
    with torch.no_grad():
        for name, layer in layers.items():
            experts = layer.experts
            assert isinstance(experts, LoRAExperts)  # see `make`
            own = {e: of[name] for e, of in enumerate(pairs) if name in of}
            experts.to(reduce(torch.promote_types, (pair.a.dtype for pair in own.values()), experts.a.dtype))
            experts.a.zero_()
            experts.b.zero_()
            for e, pair in own.items():
                experts.a[e, : len(pair.a)] = pair.a
                experts.b[e, : len(pair.b)] = pair.b.to(experts.b.dtype) * (pair.scale / scale)
    return layers


def _read(model: nn.Module, adapter: Adapter, what: str) -> dict[str, _Pair]:
    """Return the pairs of an adapter by the names of the model's linear layers, checked against it."""
    if isinstance(adapter, nn.Module):
        layers = {name: m.moe for name, m in adapter.named_modules() if isinstance(m, Injected)}
        fused = [name for name, m in adapter.named_modules() if isinstance(m, FusedLoRA)]
    else:
        loaded = load_peft(_skeleton(model), adapter)
        layers = {name: layer for name, layer in loaded.items() if isinstance(layer, MoELayer)}
        fused = [name for name, layer in loaded.items() if isinstance(layer, FusedLoRA)]
    if fused:
        raise ValueError(
            f"mix_adapters: {what} has pairs of fused weights, {', '.join(fused[:3])}; only adapters of linear layers "
            "can be mixed, because each expert of a fused weight has a pair of its own already"
        )
    if not layers:
        raise ValueError(f"mix_adapters: {what} has nothing injected; give a model with an adapter in it")
    pairs = {}
    modules = dict(model.named_modules())
    for name, layer in layers.items():
        pairs[name] = pair = _pair(layer, what, name)
        found = widths(modules[name]) if name in modules else None
        if found != (pair.a.shape[1], pair.b.shape[1]):
            raise ValueError(
                f"mix_adapters: {what} reaches {name!r} with widths {(pair.a.shape[1], pair.b.shape[1])}, which is "
                f"{found or 'missing'} in the model; give the model that it was trained in"
            )
    if isinstance(adapter, nn.Module):
        _check_base(model, adapter, what)
    return pairs


def _check_base(model: nn.Module, adapter: nn.Module, what: str) -> None:
    """Raise ValueError if the model of an adapter has other tensors around it than the model, or more that learns."""
    layers = [n for n, m in adapter.named_modules(remove_duplicate=False) if isinstance(m, Injected)]
    for name, p in adapter.named_parameters():
        if p.requires_grad and _name_before(name, layers) is not None:
            raise ValueError(
                f"mix_adapters: {what} lets {name!r} learn, too, which lies outside of its pairs and would be ignored; "
                "train without it, or freeze it and give the same one to the model"
            )
    mine = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    theirs = {
        before: tensor
        for name, tensor in adapter.state_dict().items()
        if isinstance(tensor, Tensor) and (before := _name_before(name, layers)) is not None
    }
    for name in sorted(mine.keys() | theirs.keys()):
        own, other = mine.get(name), theirs.get(name)
        if own is None or other is None or own.shape != other.shape:
            raise ValueError(
                f"mix_adapters: {what} has {name!r} {_shape(other)}, which is {_shape(own)} in the model; give the "
                "model that it was trained in"
            )
        other = other.to(own.device)
        if not (torch.equal(own, other.to(own.dtype)) or torch.equal(own.to(other.dtype), other)):
            raise ValueError(
                f"mix_adapters: {what} has other numbers in {name!r} than the model; give the model that it was "
                "trained in, or, if it is meant for this one, save it by save_peft and give the folder"
            )


def _name_before(name: str, layers: Sequence[str]) -> str | None:
    """Return the name that a tensor had before layers were injected; `None` for what came with them."""
    place = next((layer for layer in layers if name.startswith(f"{layer}.moe.")), None)
    if place is None:
        return name
    inner = name.removeprefix(f"{place}.moe.")
    return place + inner.removeprefix("shared_expert") if inner.startswith("shared_expert.") else None


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"


def _pair(layer: Any, what: str, name: str) -> _Pair:
    experts: Any = getattr(layer, "experts", None)
    is_lora = isinstance(layer, MoELayer) and isinstance(experts, LoRAExperts)
    if is_lora and experts.n_experts == 1 and as_rule(layer.policy).n_logits(1) == 1:
        weights = layer.policy(torch.tensor([[-3.0], [0.0], [3.0]])).weights
        if weights.shape == (3, 1) and bool(weights.eq(1.0).all()):
            return _Pair(experts.a.detach()[0], experts.b.detach()[0], float(layer.scale))
    raise ValueError(
        f"mix_adapters: {what} has a layer of experts with a router at {name!r}; only LoRA with one expert of weight 1 "
        "can be one expert of others"
    )


def _skeleton(model: nn.Module) -> nn.Module:
    """Return a copy of a model with zeros that take no memory, so that something may be injected into it.

    They are float32 or wider, and so are pairs that are read for them.
    """
    memo: dict[int, Tensor] = {
        id(p): nn.Parameter(_zeros(p), requires_grad=False) for p in model.parameters()
    }
    memo |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, memo)


def _zeros(p: Tensor) -> Tensor:
    """Return zeros of the shape of a parameter; the parameter itself if it is quantised."""
    if not p.is_floating_point():
        return p.detach()
    wide = torch.promote_types(p.dtype, torch.float32) if p.element_size() > 1 else p.dtype
    return torch.zeros((), dtype=wide, device=p.device).expand(p.shape)


@dataclass(frozen=True)
class StraightThrough(Wrapper):
    """A policy with hard weights forward and soft ones backward: the router learns as if it had mixed by its softmax.

    Chosen experts have the weights that the policy gives, and the gradient of the softmax over all experts. So a router
    learns even where a weight is always 1, as with `TopK(1)`.

    Parameters
    ----------
    policy
        Any policy. Its weights are those of the forward pass; `Unweighted(TopK(k))` makes them 1.

    Notes
    -----
    Experts that were not chosen are not computed, and so have no gradient of their own: the softmax lets their logits
    fall or rise only by what the chosen ones say. Shared experts have no logit, and keep the gradient of the policy.

    References
    ----------
    LoRA-Mixer, Li et al. 2025 (arXiv 2507.00029): hard-soft routing. Bengio et al. 2013 (arXiv 1308.3432): w = hard +
    soft - stop_gradient(soft).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import StraightThrough
    >>> from driftmoe.routing import TopK
    >>> logits = torch.tensor([0.0, 0.0], requires_grad=True)
    >>> weights = StraightThrough(TopK(1))(logits).weights
    >>> weights[0].backward()
    >>> weights.tolist(), logits.grad.tolist()
    ([1.0, 0.0], [0.25, -0.25])
    """

    @property
    def n_shared(self) -> int:  # type: ignore[override]  # read only: it is the inner policy's
        """Number of shared experts of the inner policy."""
        return as_rule(self.policy).n_shared

    @property
    def n_null(self) -> int:  # type: ignore[override]
        """Number of null experts of the inner policy."""
        return as_rule(self.policy).n_null

    def n_active(self, n_experts: int, otherwise: float) -> float:
        """Return how many experts a row uses if the router is balanced."""
        return as_rule(self.policy).n_active(n_experts, otherwise)

    @property
    def auxiliary(self) -> Mapping[str, float]:
        """Name -> weight of the losses: those of the inner policy."""
        return as_rule(self.policy).auxiliary

    def __call__(self, logits: Tensor, bias: Tensor | None = None) -> Routing:
        """Choose experts for each row."""
        routing = self.policy(logits) if bias is None else self.policy(logits, bias)  # type: ignore[call-arg]
        n_null = 0 if routing.null_mask is None else routing.null_mask.shape[-1]
        n = routing.logits.shape[-1] - n_null
        n_shared = routing.mask.shape[-1] - n
        soft = routing.logits.softmax(-1)[..., :n] * routing.mask[..., n_shared:]
        hard = routing.weights[..., n_shared:].detach()
        mixed = hard + (soft - soft.detach())
        return replace(routing, weights=torch.cat([routing.weights[..., :n_shared], mixed], -1))
