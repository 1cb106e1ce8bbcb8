"""Layers of experts injected into an existing model, their routing, and parameter counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from driftmoe.nn.fused import (
    FusedLoRA,
    FusedWeight,
    adapted_weights,
    fused_weights,
    install,
)
from driftmoe.nn.linears import like
from driftmoe.nn.moe import ChainedMoE, MoELayer, MoEOutput
from driftmoe.nn.padding import Padding, is_in_backward
from driftmoe.nn.recording import lost_gradients

Made = TypeVar("Made", MoELayer, ChainedMoE, FusedLoRA)


class Injected(nn.Module):
    """A layer of experts in place of a module that returned a tensor.

    Parameters
    ----------
    moe
        The layer. `record` gives its routing and losses.
    padding
        Tells which rows count; `None` if all do.

    Attributes
    ----------
    learns
        Names of the parameters that learn by design: those of router and experts that were not frozen at first.
    """

    def __init__(self, moe: MoELayer | ChainedMoE, padding: Padding | None = None) -> None:
        super().__init__()
        self.moe = moe
        self.padding = padding
        shared = {id(p) for p in moe.shared_expert.parameters()} if moe.shared_expert is not None else set()
        self.learns = frozenset(
            name for name, p in self.named_parameters() if p.requires_grad and id(p) not in shared
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output alone."""
        return self.moe.answer(x, None if self.padding is None else self.padding.rows_of(self, x))

    @property
    def weight(self) -> Tensor:
        """An empty tensor, of the type and on the device of the adapted layer's weight: models such as T5 ask for it.

        Code that computes with the weights of a layer would pass its experts by, and fails with this one.
        """
        if self.moe.shared_expert is None:
            raise AttributeError("a layer of experts without an adapted layer has no weight")
        return like(self.moe.shared_expert)


def inject(
    model: nn.Module,
    targets: str | Sequence[str],
    make: Callable[..., Made],
    *,
    n_experts: int | Sequence[int] | None = None,
    seed: int | None = None,
) -> dict[str, Made]:
    """Replace modules of a model by layers of experts, or adapt fused weights, and freeze the rest of the model.

    Parameters
    ----------
    model
        Any torch model; it is modified.
    targets
        Names of modules, or endings of names: `"query"` matches `encoder.layer.3.attention.self.query`. If a module has
        this as its whole name, it alone is meant. Or names of fused weights, parameters of three dimensions that hold
        the matrices of all experts of a mixture: `"experts.gate_up_proj"` and `"experts.down_proj"` in transformers 5.
        Modules come first where an ending fits both.
    make
        Turns a module into a layer, called as `make(module, n_experts=..., seed=...)`: `lora_layer`, `smora`, `mora`,
        `flylora`, `upcycled_layer` or `chained_layer`, with their other arguments set by `functools.partial`; or a
        `RecurrentLayers`. For fused weights `fused_lora`, which is called with a `FusedWeight`.
    n_experts
        Number of experts in each layer; or a list with the number for each block of the model, as `layer_counts` gives
        it (MoLA). The first number in a module's name is the index of its block. For fused weights it is left out.
    seed
        Seed of the weights, which differ between layers; `None` for new random weights each time.

    Returns
    -------
    layers
        The new layers by the names of the modules or weights that they replace, in the order of the model.

    Raises
    ------
    ValueError
        If a target matches no module, an injected module, a part of one or one with such a part, part of another
        target, or part of a torch module that does not call its layers; if `n_experts` has no number for a block; or if
        fused weights are quantised.
    TypeError
        If `make` is not for such a module or weight.

    Notes
    -----
    If the model is called with an `attention_mask` of shape (n, length), as transformers' models are, padding gets no
    expert and counts in no loss, also while tokens are generated with a cache. Masks of other shapes are not read, nor
    is any if `forward` is called by itself, past the hooks of the model.

    The target `"intermediate"` of BERT and its relatives, with `upcycled_layer`, means the whole feed-forward network,
    whose second layer lies in `output`.

    Afterwards only routers and experts are trainable. For other parts, such as a new head, call `requires_grad_()`. A
    model that has layers of experts already, or adapters of peft, is frozen already: then only the modules that are
    replaced are frozen, and all else learns or not as before. peft in turn freezes what was injected; see `thaw`.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from driftmoe.nn import count_parameters, inject, lora_layer
    >>> from driftmoe.routing import TopK
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> list(inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=4))
    ['0']
    >>> count_parameters(model)
    ParameterCounts(total=250, trainable=160, active=250)
    """
    found = _found(model, (targets,) if isinstance(targets, str) else tuple(targets))
    check_places(model, found)
    _check_owners(model, found)
    getattr(make, "begin", lambda: None)()  # of objects that are for one call
    names = {
        name: [other for other, m in model.named_modules(remove_duplicate=False) if m is part]
        for name, part in found.items()
    }  # a module may be part of the model under several names
    seconds = {name: _second_half(model, name) for name, part in found.items() if isinstance(part, nn.Module)}
    layers = {
        name: make(
            _whole(part, seconds[name]) if isinstance(part, nn.Module) else part,
            n_experts=_count(name, part, n_experts),
            seed=None if seed is None else seed + index,
        )
        for index, (name, part) in enumerate(found.items())
    }
    for frozen in found.values() if _has_adapters(model) else (model,):
        (frozen.weight if isinstance(frozen, FusedWeight) else frozen).requires_grad_(False)
    padding = next((m.padding for m in model.modules() if isinstance(m, Injected) and m.padding), Padding())
    for name, layer in layers.items():
        if isinstance(layer, FusedLoRA):
            place, _, attribute = name.rpartition(".")
            install(model.get_submodule(place), attribute, layer)
            continue
        padding.watch(model)
        if (half := seconds[name]) is not None:
            half.dense = nn.Identity()
        injected = Injected(layer, padding)
        for other in names[name]:
            place, _, last_name = other.rpartition(".")
            setattr(model.get_submodule(place), last_name, injected)
    return layers


def _check_owners(model: nn.Module, found: Mapping[str, nn.Module | FusedWeight]) -> None:
    """Raise if a fused weight is a part of the model under several names: the pairs of each would be added to it."""
    for name, part in found.items():
        if not isinstance(part, FusedWeight):
            continue
        owners = {
            id(owner): f"{place}.{attribute}"
            for place, owner in model.named_modules()
            for attribute, parameter in owner.named_parameters(recurse=False)
            if parameter is part.weight
        }
        if len(owners) > 1:
            raise ValueError(
                f"inject: {name!r} is one parameter of several modules, {', '.join(owners.values())}; give each its own"
            )


def thaw(model: nn.Module) -> None:
    """Let all that was injected into a model learn again, after something else has frozen it.

    Other libraries of adapters freeze all parameters but their own. peft's `get_peft_model` does, for example. Call
    this afterwards. What does not learn by design, such as FlyLoRA's projection, stays frozen.

    Parameters
    ----------
    model
        A model that `inject` has modified.

    Raises
    ------
    ValueError
        If nothing was injected into the model.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from driftmoe.nn import count_parameters, inject, lora_layer, thaw
    >>> from driftmoe.routing import TopK
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8))
    >>> _ = inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=4)
    >>> model = model.requires_grad_(False)  # as other libraries do
    >>> thaw(model)
    >>> count_parameters(model).trainable
    160
    """
    layers = [module for module in model.modules() if isinstance(module, Injected | FusedLoRA)]
    if not layers:
        raise ValueError("thaw: nothing was injected into this model; call inject first")
    for layer in layers:
        for name, parameter in layer.named_parameters():
            if name in layer.learns:
                parameter.requires_grad_()


def _found(model: nn.Module, ends: Sequence[str]) -> dict[str, nn.Module | FusedWeight]:
    """Return the modules and fused weights that targets name, in the order of the model.

    A target means the one that has it as its whole name, or else all whose name ends so; modules before weights.
    """
    parts: dict[str, nn.Module | FusedWeight] = {}
    for name, module in model.named_modules():
        parts[name] = module
        parts.update((f"{name}.{of}" if name else of, weight) for of, weight in fused_weights(module))
    found: set[str] = set()
    for end in ends:
        adapted = _ending(adapted_weights(model), end)
        if adapted:
            raise ValueError(f"inject: {adapted[0]!r} was injected before; merge_back or remove_pairs first")
        names = _ending((n for n, p in parts.items() if isinstance(p, nn.Module)), end) or _ending(parts, end)
        if not names or not end:
            _raise_unknown(model, parts, end)
        found.update(names)
    return {name: part for name, part in parts.items() if name in found}


def _ending(names: Iterable[str], end: str) -> list[str]:
    names = list(names)
    return [end] if end in names else [name for name in names if name.endswith("." + end)]


def _raise_unknown(model: nn.Module, parts: Mapping[str, nn.Module | FusedWeight], end: str) -> NoReturn:
    """Raise ValueError, as a target names nothing that experts could go to."""
    for name in _ending((name for name, _ in model.named_parameters()), end):
        p = model.get_parameter(name)
        raise ValueError(
            f"inject: {name!r} is a parameter of shape {tuple(p.shape)}, {p.dtype}; only those of three dimensions "
            f"hold experts (quantised ones do not keep them); for a linear layer name its module, "
            f"{name.rpartition('.')[0]!r}"
        )
    last = {
        kind: sorted({n.rpartition(".")[2] for n, part in parts.items() if isinstance(part, kind)})
        for kind in (nn.Linear, FusedWeight)
    }
    weights = f", and its fused weights {', '.join(last[FusedWeight])}" if last[FusedWeight] else ""
    raise ValueError(
        f"inject: nothing in the model is named {end!r}; its linear layers are {', '.join(last[nn.Linear])}{weights}"
    )


def check_places(model: nn.Module, found: Mapping[str, nn.Module | FusedWeight]) -> None:
    """Raise ValueError if a layer of experts cannot take the place of one of these modules."""
    injected = [name for name, module in model.named_modules() if isinstance(module, Injected | FusedLoRA)]
    for name in found:
        if name in injected:
            raise ValueError(f"inject: {name!r} was injected before; begin with the model as it was")
        if outer := next((other for other in injected if name.startswith(other + ".")), None):
            raise ValueError(
                f"inject: {name!r} is a part of the layer of experts at {outer!r}; give a name outside of it, more of "
                "it if an ending is meant"
            )
        if inner := next((other for other in injected if other.startswith(name + ".")), None):
            raise ValueError(
                f"inject: {name!r} has a layer of experts inside, at {inner!r}; begin with the model as it was"
            )
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, WITH_A_PATH_OF_THEIR_OWN):
            raise ValueError(
                f"inject: {name!r} lies in a {type(parent).__name__}, which reads the weights of its layers itself and "
                "would pass experts by; name another layer"
            )
        if inner := next((other for other in found if other.startswith(name + ".")), None):
            raise ValueError(f"inject: {inner!r} lies within {name!r}; name one of the two")


def _has_adapters(model: nn.Module) -> bool:
    """Return whether there are layers of `inject` or of peft, so that what may learn has been decided already."""
    return any(
        isinstance(m, Injected | FusedLoRA) or hasattr(m, "adapter_layer_names") for m in model.modules()
    )


def _second_half(model: nn.Module, name: str) -> nn.Module | None:
    """Return the module that has the second layer of a feed-forward network, if it is spread over two as in BERT."""
    parent, _, last = name.rpartition(".")
    first = model.get_submodule(name)
    half = getattr(model.get_submodule(parent), "output", None)
    is_spread = last == "intermediate" and hasattr(first, "dense") and hasattr(first, "intermediate_act_fn")
    return half if is_spread and isinstance(half, nn.Module) and hasattr(half, "dense") else None


def _whole(module: nn.Module, second_half: nn.Module | None) -> nn.Module:
    """Return a module, or the feed-forward network of which it is the first half."""
    if second_half is None:
        return module
    act: Any = module.intermediate_act_fn
    activation = act if isinstance(act, nn.Module) else _Function(act)
    return nn.Sequential(module.get_submodule("dense"), activation, second_half.get_submodule("dense"))


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


WITH_A_PATH_OF_THEIR_OWN = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
"""Torch modules that do not always call their inner layers."""


def layer_counts(n_layers: int, counts: Sequence[int]) -> list[int]:
    """Return the number of experts in each layer if the layers form groups of equal length, from first to last.

    Parameters
    ----------
    n_layers
        Number of layers, a multiple of `len(counts)`.
    counts
        Number of experts per layer in each group. MoLA gives higher layers more: 2, 4, 6, 8.

    References
    ----------
    MoLA (arXiv 2402.08562), "Higher Layers Need More LoRA Experts".

    Examples
    --------
    >>> from driftmoe.nn import layer_counts
    >>> layer_counts(8, (2, 4, 6, 8))
    [2, 2, 4, 4, 6, 6, 8, 8]
    """
    if not counts or n_layers % len(counts):
        raise ValueError(
            f"layer_counts: {n_layers} layers in {len(counts)} equal runs; choose a number of runs that divides it"
        )
    return [count for count in counts for _ in range(n_layers // len(counts))]


@contextmanager
def record(model: nn.Module, *, gradients: bool = True) -> Iterator[list[tuple[str, MoEOutput]]]:
    """Record the results of all layers of experts in a model while it runs: their routing and losses.

    The model itself passes only tensors on, so that the rest of each result must be recorded by hooks.

    Parameters
    ----------
    model
        Any torch model that contains `MoELayer`s.
    gradients
        Whether losses of the records shall teach the model. If so, a layer is refused that learns, but runs without
        gradients within a model that has them.

    Yields
    ------
    records
        A list to which each call of a layer appends the layer's name and result. What a checkpoint computes again
        during backward is not recorded again.

    Raises
    ------
    RuntimeError
        In the call of the model, if `gradients` and those of a layer would be lost: with checkpoints of
        `use_reentrant=True`, the layer's routing is computed without them.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, record
    >>> from driftmoe.nn.injecting import Injected
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> model = torch.nn.Sequential(Injected(layer), torch.nn.ReLU())
    >>> with record(model) as records:
    ...     output = model(torch.randn(5, 8))
    >>> loss = output.square().mean() + 0.01 * sum(result.losses["load_balance"] for _, result in records)
    >>> [name for name, _ in records]
    ['0.moe']
    """
    records: list[tuple[str, MoEOutput]] = []

    def hook(name: str, layer: nn.Module, inputs: tuple, result: MoEOutput) -> None:
        if is_in_backward():
            return
        if gradients and is_lost() and any(p.requires_grad for p in layer.parameters()):
            raise RuntimeError(
                f"record: {name or 'the layer'} runs without gradients within a model that has them, so its losses "
                "would teach nothing; use checkpoints with use_reentrant=False, or record(model, gradients=False) if "
                "its losses are not minimised"
            )
        records.append((name, result))

    layers = {name: module for name, module in model.named_modules() if isinstance(module, MoELayer)}
    with ExitStack() as stack:
        is_lost = stack.enter_context(lost_gradients(model, layers))
        for name, module in layers.items():
            stack.callback(module.register_forward_hook(partial(hook, name)).remove)
        yield records


class ParameterCounts(NamedTuple):
    """Numbers of parameters.

    Attributes
    ----------
    total
        All parameters.
    trainable
        Parameters that require gradients.
    active
        Mean number of parameters used for a row, without those of experts that it did not choose.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import count_parameters
    >>> counts = count_parameters(torch.nn.Linear(3, 2))
    >>> counts.total, counts.trainable, counts.active
    (8, 8, 8)
    """

    total: int
    trainable: int
    active: int


def count_parameters(model: nn.Module, records: Iterable[tuple[str, MoEOutput]] = ()) -> ParameterCounts:
    """Count the parameters of a model.

    Parameters
    ----------
    model
        Any torch model.
    records
        Result of `record`, from which the number of chosen experts is taken. Layers without a record count fully.

    Returns
    -------
    counts
        Parameters that several modules share count once.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import count_parameters
    >>> count_parameters(torch.nn.Linear(3, 2))  # six weights and two biases
    ParameterCounts(total=8, trainable=8, active=8)
    """
    parameters = list(model.parameters())
    total = sum(p.numel() for p in parameters)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    chosen: dict[str, list[Tensor]] = {}
    for name, result in records:
        mask = result.routing.mask if result.rows is None else result.routing.mask[result.rows]
        chosen.setdefault(name, []).append(mask.flatten().double())
    idle = 0.0
    for name, masks in chosen.items():
        experts = model.get_submodule(name).get_submodule("experts")
        idle += (1.0 - torch.cat(masks).mean().item()) * sum(p.numel() for p in experts.parameters())
    return ParameterCounts(total, trainable, round(total - idle))


def _count(name: str, part: nn.Module | FusedWeight, n_experts: int | Sequence[int] | None) -> int | None:
    if n_experts is None and isinstance(part, nn.Module):
        raise ValueError(
            f"inject: how many experts shall {name!r} get? Give n_experts; if fused weights are meant, give more of "
            "their names, as 'experts.down_proj'"
        )
    if n_experts is None or isinstance(n_experts, int):
        return n_experts
    block = re.search(r"(?:^|\.)(\d+)(?:\.|$)", name)
    if block is None or int(block[1]) >= len(n_experts):
        raise ValueError(
            f"inject: {name!r} belongs to no block of those {len(n_experts)} that n_experts lists; give one number"
        )
    return n_experts[int(block[1])]
