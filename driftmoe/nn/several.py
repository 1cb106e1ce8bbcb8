"""Layers of experts made of several models, and one layer of experts for several blocks of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from driftmoe.nn.deep import OneCall
from driftmoe.nn.injecting import inject
from driftmoe.nn.moe import MoELayer, upcycled_layer
from driftmoe.routing import Policy


def upcycle_models(
    models: Sequence[nn.Module],
    targets: str | Sequence[str],
    policy: Policy,
    *,
    n_experts: int | None = None,
    rest: Literal["mean", "first"] = "mean",
    router: Literal["linear", "random"] = "linear",
    seed: int | None = None,
) -> dict[str, MoELayer]:
    """Turn the feed-forward networks of several dense models into the experts of the first one.

    Parameters
    ----------
    models
        Models of one build, such as copies of one that were trained on different data. The first is modified and
        frozen, as by `inject`; the others are only read.
    targets
        Names of the feed-forward networks, or endings of them, as in `inject`.
    policy
        Any policy of `driftmoe.routing`. A row that chooses the experts of one model alone, with weights that sum to 1,
        gets what the network of that model says; with `Dense()` and equal logits it gets the mean of all.
    n_experts
        Number of experts, a multiple of the number of models; default one for each.
    rest
        What becomes of all other parameters: their `"mean"` over the models, as in BAM, or those of the `"first"`.
    router, seed
        As in `upcycled_layer`.

    Returns
    -------
    layers
        By the names of the networks. Expert e of each is a copy of that of model e modulo their number.

    Raises
    ------
    ValueError
        If there are fewer than two models, their parameters differ in names or shapes, a target is none that `upcycle`
        knows or lies in two modules as in BERT, or `n_experts` is no multiple. The models are then unchanged.

    Notes
    -----
    BAM also makes experts of attention: each row mixes what the attention of all models says. That is left out here.
    Each attention keeps keys and values of its own in the cache under the number of its block, so that several of them
    in one block would need another cache than that of transformers.

    References
    ----------
    BAM, Zhang et al. 2024 (arXiv 2408.08274), sec. 3; Branch-Train-MiX, Sukhbaatar et al. 2024 (arXiv 2403.07816).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import upcycle_models
    >>> from driftmoe.routing import TopK
    >>> def network():
    ...     ffn = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    ...     return torch.nn.Sequential(torch.nn.Linear(4, 4), ffn)
    >>> layers = upcycle_models([network(), network(), network()], "1", TopK(1))
    >>> layers["1"].experts.n_experts
    3
    """
    if len(models) < 2:
        raise ValueError(f"upcycle_models: {len(models)} models; give two or more")
    first, *others = models
    if rest not in ("mean", "first"):
        raise ValueError(f"upcycle_models: rest={rest!r}; available: mean, first")
    shapes = [{name: tuple(t.shape) for name, t in model.state_dict().items()} for model in models]
    for i, of in enumerate(shapes):
        if differing := {name for name, shape in (of.items() ^ shapes[0].items())}:
            raise ValueError(
                f"upcycle_models: model {i} has another {min(differing)!r} than the first; give models of one build"
            )
    names = {id(module): name for name, module in first.named_modules()}

    def make(ffn: nn.Module, *, n_experts: int, seed: int | None) -> MoELayer:
        if id(ffn) not in names:
            raise ValueError(
                "upcycle_models: a network that is spread over two modules, as BERT's, has no name of its own; put "
                "its layers into one module"
            )
        networks = [model.get_submodule(names[id(ffn)]) for model in models]
        return upcycled_layer(networks, n_experts=n_experts, policy=policy, router=router, seed=seed)

    layers = inject(
        first, targets, make, n_experts=len(models) if n_experts is None else n_experts, seed=seed
    )
    if rest == "mean":
        own, theirs = first.state_dict(), [other.state_dict() for other in others]
        done: set[int] = set()  # a tensor may have several names
        with torch.no_grad():
            for name in sorted(own.keys() & shapes[0].keys()):
                if own[name].is_floating_point() and own[name].data_ptr() not in done:
                    done.add(own[name].data_ptr())
                    own[name].copy_(_mean([own[name], *(of[name] for of in theirs)]))
    return layers


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    wide = torch.promote_types(tensors[0].dtype, torch.float32)
    return torch.stack([tensor.to(tensors[0].device, wide) for tensor in tensors]).mean(0)


class SharedLayer(OneCall):
    """Makes one layer of experts for all blocks that `inject` names: they share its experts and its router.

    The experts are made of the first block's network; the weights of the networks of all other blocks go. What lies
    around them, such as norms, stays each block's own. Use an object for one call of `inject`; a second one is refused.

    Parameters
    ----------
    make
        Makes the layer of the first block, as in `inject`: `upcycled_layer` with its other arguments set.

    References
    ----------
    WideNet, Xue et al. 2021, "Go Wider Instead of Deeper" (arXiv 2107.11817).

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from driftmoe.nn import SharedLayer, inject, upcycled_layer
    >>> from driftmoe.routing import TopK
    >>> ffn = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> model = torch.nn.Sequential(ffn(), torch.nn.LayerNorm(4), ffn())
    >>> layers = inject(model, ("0", "2"), SharedLayer(partial(upcycled_layer, policy=TopK(2))), n_experts=3)
    >>> layers["0"] is layers["2"]
    True
    """

    def __init__(self, make: Callable[..., MoELayer]) -> None:
        self.make = make
        self._layer: MoELayer | None = None
        self._build: tuple[str, list[tuple[int, ...]]] = "", []

    def __call__(self, module: nn.Module, *, n_experts: int, seed: int | None = None) -> MoELayer:
        """Return the layer."""
        layer = self.make(module, n_experts=n_experts, seed=seed)  # of other blocks, too, to compare it
        build = " ".join(repr(layer).split()), [tuple(p.shape) for p in layer.parameters()]
        if self._layer is None:
            shared = layer.shared_expert
            if shared is not None and {*map(id, shared.parameters())} & {*map(id, module.parameters())}:
                raise ValueError(
                    "SharedLayer: the layer goes around a module, which other blocks would lose; share one that takes "
                    "the place of modules, such as upcycled_layer"
                )
            self._layer, self._build = layer, build
        elif build != self._build:
            raise ValueError(
                f"SharedLayer: a block would become {build[0]} with shapes {build[1]}, and the first {self._build[0]} "
                f"with {self._build[1]}; name blocks of one size, kind and activation"
            )
        return self._layer
