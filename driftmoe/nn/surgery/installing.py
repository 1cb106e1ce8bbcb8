"""Puts layers in the place of others in a model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from driftmoe.nn.injecting import Injected
from driftmoe.nn.moe import MoELayer


def install(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Put layers in the place of others in a model.

    Parameters
    ----------
    model
        A model with `MoELayer`s; it is modified. Optimisers that hold parameters of the old layers must be made anew.
    layers
        Name, as in `inject`, `record` and `collect` -> new layer, such as the result of `prune`, `merge` or `grow`; or
        the result of `merge_back`, which takes the place of the injected layer as a whole.

    Raises
    ------
    ValueError
        If a name is not that of a layer in the model. The model is then unchanged.

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
    modules = dict(model.named_modules())
    old = {}
    for name in layers:
        found = modules.get(name)
        found = found.moe if isinstance(found, Injected) else found
        if not isinstance(found, MoELayer) or found is model:
            known = [n for n, module in modules.items() if isinstance(module, MoELayer) and n]
            raise ValueError(
                f"install: {name!r} is no layer of experts within this model; available: {', '.join(known) or 'none'}"
            )
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
