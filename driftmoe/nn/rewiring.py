"""Routing that is moved while a model answers: a vector for each layer of experts, added to the logits of its router.

No parameter of the model changes, and `reset_routing` takes the vectors away. Vectors are found by `adapt_routing` (the
rewiring of Su et al.) or given by `steer`; `routing_distance` says how far apart two routings are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from driftmoe.nn.moe import MoELayer, MoEOutput
from driftmoe.routing import as_rule


def adapt_routing(
    model: nn.Module,
    loss: Callable[[], Tensor],
    *,
    steps: int = 5,
    rate: float = 0.1,
    layers: Collection[str] | None = None,
) -> list[float]:
    """Move the routing of a model, and none of its parameters, towards a smaller loss.

    Parameters
    ----------
    model
        A model with `MoELayer`s, such as those of `inject`.
    loss
        Calls the model and returns a scalar that needs no labels, such as the loss of the next token over a prompt:
        `lambda: model(input_ids=ids, labels=ids).loss`.
    steps
        Steps of Adam.
    rate
        Its learning rate, in units of the logits.
    layers
        Names of the layers to be moved, as `record` gives them; default all.

    Returns
    -------
    losses
        The loss before each step and after the last, `steps + 1` numbers.

    Raises
    ------
    ValueError
        If there are no such layers, a number is out of range, or the loss has no gradient by the routing: it is
        computed without gradients or without these layers, their experts say the same, or a policy gives one expert the
        weight 1 (`TopK(1)`; `TopK(1, renorm=False)` has a gradient).

    Notes
    -----
    A further call goes on from where the last one ended. An error leaves the routing as it was. The vectors, a number
    for each logit, are not in the state of the model and not saved. `driftmoe.nn.surgery` refuses layers that have one.

    The loss is asked `steps + 1` times. What a call of the model changes by itself changes here, too: the running
    averages of BatchNorm, for instance, unless `model.eval()` was called before.

    References
    ----------
    Su et al. 2025, "Rewiring Experts on the Fly: Continuous Rerouting for Better Online Adaptation in
    Mixture-of-Expert Models": at the prompt, and again while text is generated.
    Steps, rate and the optimiser are ours.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, adapt_routing, reset_routing
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> x = torch.randn(20, 8)
    >>> losses = adapt_routing(layer, lambda: (layer(x).output - x).square().mean(), steps=3)
    >>> len(losses), layer.delta.shape
    (4, torch.Size([4]))
    >>> reset_routing(layer)
    """
    if steps < 1 or not 0.0 < rate < math.inf:
        raise ValueError(f"adapt_routing: steps={steps}, rate={rate}; choose steps >= 1 and rate > 0")
    chosen = _layers(model, "adapt_routing", layers)
    before = [layer.delta for layer in chosen]
    with torch.inference_mode(False):
        deltas = [_delta(layer).clone().requires_grad_() for layer in chosen]
    optimiser, losses = torch.optim.Adam(deltas, lr=rate), []
    for layer, delta in zip(chosen, deltas, strict=True):
        layer.delta = delta
    try:
        with torch.inference_mode(False), torch.enable_grad():
            for _ in range(steps):
                value = loss()
                gradients: Sequence[Tensor | None] = [None] * len(deltas)
                if value.requires_grad:
                    gradients = torch.autograd.grad(value, deltas, allow_unused=True)
                if not any(g is not None and g.any() for g in gradients):
                    raise ValueError(
                        "adapt_routing: the loss does not depend on the routing. Either it is computed without "
                        "gradients, as under no_grad, or without these layers; or their experts all say the same; or "
                        "the policy gives one expert the weight 1: choose renorm=False or more experts"
                    )
                for delta, gradient in zip(deltas, gradients, strict=True):
                    delta.grad = torch.zeros_like(delta) if gradient is None else gradient
                losses.append(value.item())
                optimiser.step()
        with torch.inference_mode(False), torch.no_grad():
            losses.append(loss().item())
            before = [delta.detach() for delta in deltas]
    finally:
        for layer, kept in zip(chosen, before, strict=True):
            layer.delta = kept
    return losses


def steer(layer: MoELayer, experts: Collection[int], amount: float) -> None:
    """Add an amount to the logits of some experts for all rows, until `reset_routing`.

    Parameters
    ----------
    layer
        A layer of experts.
    experts
        Numbers of logits, from 0. Shared experts have none, and those of null experts come last.
    amount
        What is added: 0 changes nothing, a large number forces the experts, a large negative one bans them.

    Raises
    ------
    ValueError
        If an expert has no logit, or the amount is not finite; or logits belong to several experts, as those of
        `ProductTopK` and of merged layers do.

    References
    ----------
    Bandarkar et al. 2025, "Multilingual Routing in Mixture-of-Experts" (arXiv 2510.04694): experts of a task are
    promoted in the middle layers, for languages whose routing is far from that of English.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, steer
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(1))
    >>> steer(layer, [2], 1000.0)
    >>> layer(torch.randn(5, 8)).routing.mask.sum(0).tolist()
    [0, 0, 5, 0]
    """
    rule, n_experts = as_rule(layer.policy), int(layer.experts.n_experts)  # type: ignore[arg-type]  # any attribute
    n_logits = rule.n_logits(n_experts)
    if n_logits != n_experts - rule.n_shared + rule.n_null:
        raise ValueError(
            f"steer: the {n_logits} logits of {layer.policy!r} are not one for each of {n_experts} experts; add to the "
            "logits and give them in the call, layer(x, logits=...)"
        )
    with torch.inference_mode(False):
        delta = _delta(layer).clone()
    numbers = sorted(experts)
    if not all(0 <= number < len(delta) for number in numbers):
        raise ValueError(
            f"steer: experts {numbers} of {len(delta)} logits; choose numbers from 0 to {len(delta) - 1}"
        )
    if not math.isfinite(amount):
        raise ValueError(f"steer: amount={amount}; choose a finite number")
    if numbers and amount:
        delta[numbers] += amount
        layer.delta = delta


def reset_routing(model: nn.Module) -> None:
    """Take away what `adapt_routing` and `steer` have added to the logits of a model's layers.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, reset_routing, steer
    >>> from driftmoe.routing import TopK
    >>> layer, x = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(1)), torch.randn(5, 8)
    >>> before = layer(x).output
    >>> steer(layer, [2], 1000.0)
    >>> reset_routing(layer)
    >>> torch.equal(layer(x).output, before)
    True
    """
    for layer in _layers(model, "reset_routing", None):
        layer.delta = None


def routing_distance(
    a: Iterable[tuple[str, MoEOutput]], b: Iterable[tuple[str, MoEOutput]]
) -> dict[str, float]:
    """Return how far apart each layer's routing lies in two records, from 0 (alike) to 1 (no expert in common).

    The Jensen-Shannon divergence of the mean probabilities of the experts, divided by ln 2. They are the softmax of
    `Routing.logits`: of single experts under `ProductTopK`, too, whose router has logits of halves.

    Parameters
    ----------
    a, b
        Results of `record` or `watch` on two sets of inputs: two languages, the time before and after a drift; or of
        two models with the same layers, such as before and after quantisation.

    Returns
    -------
    distance
        By the name of the layer.

    Raises
    ------
    ValueError
        If the two do not have the same layers with the same numbers of logits, or one has no rows.

    References
    ----------
    Bandarkar et al. 2025, "Multilingual Routing in Mixture-of-Experts" (arXiv 2510.04694), which also divides by the
    entropies.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, routing_distance
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(None, FeedForwardExperts(2, 8, 16), TopK(1))
    >>> left, right = torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]])
    >>> results = [[("moe", layer(torch.zeros(1, 8), logits=logits))] for logits in (left, right)]
    >>> routing_distance(*results), routing_distance(results[0], results[0])
    ({'moe': 1.0}, {'moe': 0.0})
    """
    first, second = _means(a), _means(b)
    if {name: len(p) for name, p in first.items()} != {name: len(p) for name, p in second.items()}:
        raise ValueError(
            f"routing_distance: layers {', '.join(first)} and {', '.join(second)}; record models with the same layers "
            "and numbers of experts"
        )
    distances = {}
    for name, p in first.items():
        q = second[name]
        middle = (p + q) / 2.0
        divergence = sum(
            torch.special.xlogy(one, one / middle.where(middle > 0.0, 1.0)).sum() for one in (p, q)
        )
        distances[name] = min(max(float(divergence) / (2.0 * math.log(2.0)), 0.0), 1.0)
    return distances


def _means(records: Iterable[tuple[str, MoEOutput]]) -> dict[str, Tensor]:
    """Return the mean probabilities of each layer's router over the rows that count, float64, (n_logits,)."""
    found: dict[str, list[Tensor]] = {}
    for name, result in records:
        logits = result.routing.logits.detach()
        logits = logits.flatten(0, -2) if result.rows is None else logits[result.rows]
        found.setdefault(name, []).append(logits.double().softmax(-1).cpu())
    if not found or not all(sum(map(len, parts)) for parts in found.values()):
        raise ValueError("routing_distance: a record without rows; let the model run while it is recorded")
    return {name: torch.cat(parts).mean(0) for name, parts in found.items()}


def _layers(model: nn.Module, caller: str, names: Collection[str] | None) -> list[MoELayer]:
    found = {name: module for name, module in model.named_modules() if isinstance(module, MoELayer)}
    unknown = [] if names is None else [name for name in names if name not in found]
    if unknown or not found:
        raise ValueError(
            f"{caller}: {'no layers of experts' if not found else f'no layer {unknown[0]!r}'} in the model; it has "
            f"{', '.join(map(repr, found)) or 'none'}"
        )
    return [layer for name, layer in found.items() if names is None or name in names]


def _delta(layer: MoELayer) -> Tensor:
    """Return what is added to a layer's logits, zeros if nothing is."""
    if layer.delta is not None:
        return layer.delta
    n_experts: Any = layer.experts.n_experts
    like = next(layer.parameters(), torch.empty(0))
    return torch.zeros(as_rule(layer.policy).n_logits(n_experts), device=like.device)
