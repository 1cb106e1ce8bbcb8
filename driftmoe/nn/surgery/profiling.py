"""What experts do on given rows: their likeness, their largest outputs, and who cannot be replaced."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from driftmoe.nn.moe import MoELayer, _logits
from driftmoe.nn.padding import is_in_backward
from driftmoe.nn.surgery.parts import (
    BROKEN,
    check_finite,
    check_layer,
    checked_experts,
    checked_rows,
    columns_of,
    cut_policy,
    n_routed,
    untracked,
)
from driftmoe.nn.surgery.policies import Beside
from driftmoe.routing import Routing, as_rule
from driftmoe.routing.checks import check_count, check_share


@contextmanager
def collect(model: nn.Module, *, n_rows: int = 4096) -> Iterator[dict[str, Tensor]]:
    """Collect the rows that reach each layer of experts while a model runs, to judge its experts by.

    Parameters
    ----------
    model
        Any torch model with `MoELayer`s.
    n_rows
        Most rows of a layer; the first ones are kept. Rows that do not count, such as padding, are left out.

    Yields
    ------
    inputs
        Name of the layer, as in `record` -> rows, shape (n, n_features), on the layer's device.

    Raises
    ------
    ValueError
        If the model has no such layer, or `n_rows` is no positive integer.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from driftmoe.nn import inject, lora_layer
    >>> from driftmoe.nn.surgery import collect
    >>> from driftmoe.routing import TopK
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
    >>> _ = inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=4)
    >>> with collect(model, n_rows=100) as inputs:
    ...     _ = model(torch.randn(3, 50, 8))
    >>> {name: rows.shape for name, rows in inputs.items()}
    {'0.moe': torch.Size([100, 8])}
    """
    check_count("collect: n_rows", n_rows)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, MoELayer)}
    if not layers:
        raise ValueError(
            f"collect: {type(model).__name__} has no MoELayer; `inject` and `upcycled_layer` make them"
        )
    inputs: dict[str, Tensor] = {}

    def hook(name: str, layer: nn.Module, given: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        x, rows = given[0] if given else named["x"], named.get("rows")
        have = inputs.get(name)
        room = n_rows - (0 if have is None else len(have))
        if room > 0 and not is_in_backward():
            new = (x.flatten(0, -2) if rows is None else x[rows]).detach()[:room]
            inputs[name] = new.clone() if have is None else torch.cat([have, new])

    handles = [
        layer.register_forward_pre_hook(partial(hook, name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


@untracked
def similarity(layer: MoELayer, inputs: Tensor | None = None) -> Tensor:
    """Return how alike the experts of a layer are by what its router says of them, as MC-SMoE does.

    The likeness of two experts is the cosine of their logits over many rows: a router treats alike what does alike.

    Parameters
    ----------
    layer
        The layer.
    inputs
        Rows, shape (..., n_features), such as those of `collect`. Without them it is the cosine of the rows of the
        router's weights, bias included, which is that of the logits over rows of white noise.

    Returns
    -------
    similarity
        Symmetric, from -1 to 1 with ones on the diagonal, shape (n_experts, n_experts). Shared and null experts left
        out. 0 for an expert whose logits are all 0. Of experts that were merged (`Merged`) it is that of their group.

    Raises
    ------
    ValueError
        If there is no router, or no inputs and a router that is not linear.

    References
    ----------
    MC-SMoE, Li et al. 2023 (arXiv 2310.01334), sec. 3.2: similarity of router logits.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.nn.surgery import similarity
    >>> from driftmoe.routing import TopK
    >>> router = torch.nn.Linear(2, 3, bias=False)
    >>> router.weight.data = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, -1.0]])
    >>> similarity(MoELayer(router, FeedForwardExperts(3, 2, 4), TopK(1))).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    check_layer("similarity", layer)
    if inputs is not None:
        rows = checked_rows("similarity", layer, inputs)
        columns = routing_of("similarity", layer, rows).logits[:, : n_routed(layer)].T
    else:
        weight, bias = getattr(layer.router, "weight", None), getattr(layer.router, "bias", None)
        if not isinstance(weight, Tensor) or n_routed(layer) + as_rule(layer.policy).n_null != len(weight):
            raise ValueError(
                "similarity: the layer has no linear router with an output for each expert; give inputs, such as those "
                "of `collect`"
            )
        whole = weight if bias is None else torch.cat([weight, bias[:, None]], 1)
        columns = whole[: n_routed(layer)]
    if bool(torch.isnan(columns).any()):
        raise ValueError("similarity: the router holds or puts out NaN; mend it first")
    unit = nn.functional.normalize(columns.detach().double().nan_to_num(neginf=0.0), dim=-1)
    cosines = (unit @ unit.T).clamp(-1.0, 1.0).float()
    return cosines.fill_diagonal_(1.0)


@untracked
def peaks(layer: MoELayer, inputs: Tensor) -> Tensor:
    """Return the largest number, by magnitude, that each expert puts out for the rows that chose it.

    Parameters
    ----------
    layer
        The layer.
    inputs
        Rows, shape (..., n_features), such as those of `collect`.

    Returns
    -------
    peaks
        Shape (n_experts,), before the weights of the routing; 0 for an expert that no row chose.

    References
    ----------
    Su et al. 2025, "Unveiling Super Experts in Mixture-of-Experts Large Language Models" (arXiv 2507.23279): largest
    outputs of the last matrix of each expert.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.nn.surgery import peaks
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> peaks(layer, torch.randn(100, 8)).shape
    torch.Size([4])
    """
    check_layer("peaks", layer)
    x = checked_rows("peaks", layer, inputs)
    routing = routing_of("peaks", layer, x)
    n, n_all = n_routed(layer), routing.mask.shape[-1]
    found = torch.zeros(n, device=x.device)
    for e in range(n):
        rows = x[routing.mask[:, n_all - n + e]]
        if len(rows):
            found[e] = output_of(layer, rows, n_all - n + e).abs().max()
    if broken := (~torch.isfinite(found)).nonzero().flatten().tolist():
        raise ValueError(f"peaks: experts {broken} put out NaN or infinite numbers; mend or prune them first")
    return found


def super_experts(
    peaks: Mapping[str, Tensor], *, quantile: float = 0.995, share: float = 0.1, times: float = 10.0
) -> dict[str, tuple[int, ...]]:
    """Return the experts whose outputs are extreme among those of all layers: they must not be pruned.

    An expert is one of them if its peak is at least the quantile of all peaks, more than `share` of the largest, and
    more than `times` the median.

    Parameters
    ----------
    peaks
        Result of `peaks` for each layer of a model, by its name.
    quantile
        Quantile of the peaks of all experts of all layers, by the value below it.
    share
        Share of the largest peak.
    times
        Multiple of the median peak of the experts that were chosen. This takes the place of the paper's condition that
        the layer is one in which massive activations arise, so that a model without extreme experts has none.

    Returns
    -------
    experts
        Name of the layer -> numbers of its experts, for `prune(..., protect=)`; () where there are none.

    Raises
    ------
    ValueError
        If there are no peaks, or an option is out of range.

    References
    ----------
    Su et al. 2025 (arXiv 2507.23279): the 99.5 % quantile, and a tenth of the largest.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn.surgery import super_experts
    >>> super_experts({"a": torch.tensor([1.0, 90.0, 2.0, 1.0]), "b": torch.tensor([2.0, 1.0, 1.0, 3.0])})
    {'a': (1,), 'b': ()}
    """
    check_share("super_experts: quantile", quantile)
    check_share("super_experts: share", share)
    if not times >= 0.0:
        raise ValueError(f"super_experts: times={times}; choose a number >= 0")
    if not isinstance(peaks, Mapping):
        raise TypeError(
            f"super_experts: peaks is a {type(peaks).__name__}; give name of the layer -> result of `peaks`"
        )
    if not peaks or not all(len(of_layer) for of_layer in peaks.values()):
        raise ValueError("super_experts: no peaks; give the result of `peaks` for each layer, by its name")
    whole = torch.cat([of_layer.detach().double().cpu().flatten() for of_layer in peaks.values()])
    check_finite(
        whole, "super_experts: peaks hold NaN or infinite numbers; mend the layers that put them out first"
    )
    chosen = whole[whole > 0.0]
    if not len(chosen):
        return dict.fromkeys(peaks, ())
    least = whole.sort().values[int(quantile * (len(whole) - 1))].item()
    bound = max(share * whole.max().item(), times * chosen.median().item())
    return {
        name: tuple(e for e, peak in enumerate(of_layer.tolist()) if peak >= least and peak > bound)
        for name, of_layer in peaks.items()
    }


@untracked
def owners(layer: MoELayer, inputs: Tensor, *, limit: float = 0.5) -> tuple[int, ...]:
    """Return the experts that alone own a region: without one of them, its rows are answered quite differently.

    The region of an expert is the rows that give it the largest weight. It owns it if, with this expert out of service
    and the others chosen by the policy, the outputs there change by more than `limit` of their size.

    Parameters
    ----------
    layer
        The layer.
    inputs
        Rows, shape (..., n_features), such as those of `collect`.
    limit
        Norm of the change over the norm of the layer's outputs, both over the whole region.

    Returns
    -------
    experts
        Their numbers, for `prune(..., protect=)`. Before a layer has learnt, and where `limit` is low, these may be
        all of them. An expert whose region is empty owns none, nor does one that others replace, such as a copy.

    Notes
    -----
    Costs a pass of all rows, and one for the region of each expert.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer
    >>> from driftmoe.nn.surgery import owners
    >>> from driftmoe.routing import TopK
    >>> experts = FeedForwardExperts(3, 8, 16)
    >>> for weights in experts.parameters():  # the last two are equal
    ...     weights.data[2] = weights.data[1]
    >>> router = torch.nn.Linear(8, 3, bias=False)
    >>> router.weight.data[2] = router.weight.data[1]
    >>> owners(MoELayer(router, experts, TopK(1)), torch.randn(1000, 8))
    (0,)
    """
    check_layer("owners", layer)
    if not limit >= 0.0:
        raise ValueError(f"owners: limit={limit}; choose a share >= 0 of the size of the outputs")
    x, n = checked_rows("owners", layer, inputs), n_routed(layer)
    routing = routing_of("owners", layer, x)
    weights = routing.weights[:, -n:]
    leads, is_routed = weights.argmax(-1), weights.amax(-1) > 0.0
    n_added = layer.policy.n_added if isinstance(layer.policy, Beside) else 0
    found = []
    for e in range(n):
        rows = x[(leads == e) & is_routed]
        is_alone = n == 1 or (e == 0 and n - n_added == 1)
        if len(rows) and (is_alone or _change(layer, rows, e) > limit):
            found.append(e)
    return tuple(found)


def _change(layer: MoELayer, x: Tensor, out: int) -> float:
    """Return how much the output for rows changes with one expert out of service, relative to its size."""
    n = n_routed(layer)
    before = output_with(layer, x, range(n)).double()
    if isinstance(layer.policy, Beside) and layer.policy.n_added == 1 and out == n - 1:
        after = output_with(layer, x, range(n - 1))  # no other expert of its policy is in service
    else:
        assert layer.router is not None  # `routing_of` was called before
        out_columns = torch.tensor(columns_of(layer.policy, n, [out]), device=x.device)
        logits = _logits(layer.router, x).index_fill(-1, out_columns, -torch.inf)
        after = layer(x, logits=logits).output
    change = (after.double() - before).norm()
    check_finite(change, f"owners: {BROKEN}")
    return (change / before.norm().clamp_min(1e-30)).item()


def routing_of(caller: str, layer: MoELayer, x: Tensor) -> Routing:
    """Return the routing of rows by a layer, without asking its experts."""
    if layer.router is None:
        raise ValueError(f"{caller}: the layer has no router; give it one that says how rows are routed")
    bias = {} if layer.balancer is None else {"bias": layer.balancer.bias}
    return layer.policy(_logits(layer.router, x), **bias)


def output_of(layer: MoELayer, x: Tensor, expert: int) -> Tensor:
    """Return what one expert, counted with shared ones, puts out for rows, shape (n_rows, n_out), without weight."""
    mask = torch.zeros(len(x), int(layer.experts.n_experts), dtype=torch.bool, device=x.device)  # type: ignore[arg-type]
    mask[:, expert] = True
    return layer.experts(x, Routing(mask.float(), mask, mask.float(), at_most=1))


def output_with(layer: MoELayer, x: Tensor, kept: Collection[int]) -> Tensor:
    """Return the output of a layer for rows as if it had some of its experts alone, as `prune` would leave them."""
    n, chosen = n_routed(layer), checked_experts("output_with", "kept", kept, n_routed(layer))
    policy, columns = cut_policy(layer.policy, n, chosen)
    assert layer.router is not None  # `routing_of` was called before
    logits = _logits(layer.router, x)[..., columns]
    bias = {} if layer.balancer is None else {"bias": layer.balancer.bias[chosen]}
    of_kept = policy(logits, **bias)
    n_all = int(layer.experts.n_experts)  # type: ignore[arg-type]  # any attribute
    places = [*range(n_all - n), *(n_all - n + e for e in chosen)]
    weights = of_kept.weights.new_zeros(len(x), n_all).index_copy(
        1, torch.tensor(places, device=x.device), of_kept.weights
    )
    mask = torch.zeros(len(x), n_all, dtype=torch.bool, device=x.device)
    mask[:, places] = of_kept.mask
    output = layer.experts(x, replace(of_kept, weights=weights, mask=mask)) * layer.scale
    return output if layer.shared_expert is None else layer.shared_expert(x) + output
