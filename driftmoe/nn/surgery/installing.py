"""Puts layers in the place of others in a model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from driftmoe.nn.experts import FeedForwardExperts
from driftmoe.nn.injecting import Injected
from driftmoe.nn.linears import is_linear, widths
from driftmoe.nn.lora import LoRAExperts
from driftmoe.nn.moe import MoELayer
from driftmoe.nn.surgery.joined import JoinedExperts
from driftmoe.nn.surgery.parts import widths_of


def install(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Put layers in the place of others in a model.

    Parameters
    ----------
    model
        A model with `MoELayer`s; it is modified. Optimisers that hold parameters of the old layers must be made anew.
    layers
        Name, as in `inject`, `record` and `collect` -> new layer, such as the result of `prune`, `merge` or `grow`; or
        the result of `merge_back`, which takes the place of the injected layer as a whole. It reads and puts out rows
        of the same widths. Where a model's own code calls a `MoELayer`, only another can take its place.

    Raises
    ------
    ValueError
        If a name is not that of a layer in the model, or a layer has other widths. The model is then unchanged.
    TypeError
        If a layer is none that can take the place. The model is then unchanged.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from driftmoe.nn import inject, lora_layer
    >>> from driftmoe.nn.surgery import install, prune
    >>> from driftmoe.routing import TopK
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
    >>> layers = inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=4)
    >>> install(model, {name: prune(layer, keep=[0, 2]) for name, layer in layers.items()})
    >>> model[0].moe.experts.n_experts
    2
    """
    if not isinstance(layers, Mapping):
        raise TypeError(f"install: layers={layers!r:.80}; give name of the layer -> new layer")
    modules = dict(model.named_modules())
    inside = {module.moe for module in modules.values() if isinstance(module, Injected)}
    old = {}
    for name, layer in layers.items():
        found = modules.get(name)
        found = found.moe if isinstance(found, Injected) else found
        if not isinstance(found, MoELayer) or found is model:
            known = [n for n, module in modules.items() if isinstance(module, MoELayer) and n]
            raise ValueError(
                f"install: {name!r} is no layer of experts within this model; available: {', '.join(known) or 'none'}"
            )
        _check(name, layer, found, is_injected=found in inside)
        old[name] = found
    for name, layer in layers.items():
        for module in list(modules.values()):
            for child, part in list(module.named_children()):
                is_whole = (
                    isinstance(part, Injected) and part.moe is old[name] and not isinstance(layer, MoELayer)
                )
                if is_whole or (part is old[name] and not isinstance(module, Injected)):
                    setattr(module, child, layer)
                elif part is old[name] and isinstance(layer, MoELayer):
                    setattr(module, child, layer)
                    module.learns = Injected(layer).learns  # for `thaw`


def _check(name: str, layer: object, old: MoELayer, *, is_injected: bool) -> None:
    """Raise unless a layer can take the place of another."""
    if not isinstance(layer, nn.Module) or not (is_injected or isinstance(layer, MoELayer)):
        wanted = "a MoELayer, or a module that `merge_back` returns" if is_injected else "a MoELayer"
        raise TypeError(f"install: {type(layer).__name__} for {name!r}; give {wanted}")
    new_widths, old_widths = _widths(layer), _widths(old)
    if None not in (new_widths, old_widths) and new_widths != old_widths:
        raise ValueError(
            f"install: the layer for {name!r} has rows of widths {new_widths} (in, out), but those there have "
            f"{old_widths}; give a layer that was made from the one there"
        )


def _widths(layer: nn.Module) -> tuple[int, int] | None:
    """Return the widths of the inputs and outputs of a layer, if they are known."""
    if is_linear(layer):
        return widths(layer)
    experts = layer.experts if isinstance(layer, MoELayer) else None
    first = experts.parts[0] if isinstance(experts, JoinedExperts) else experts
    return widths_of(first) if isinstance(first, FeedForwardExperts | LoRAExperts) else None
