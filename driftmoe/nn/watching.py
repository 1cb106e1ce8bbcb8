"""The routing of the mixtures of experts in an existing model, recorded while it runs, and figures of such records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from driftmoe.nn.mixtures import Mixture, find_mixtures, parts_of
from driftmoe.nn.moe import MoEOutput
from driftmoe.nn.padding import Padding, is_in_backward
from driftmoe.nn.recording import lost_gradients
from driftmoe.nn.rerouting import Chosen, Reroute
from driftmoe.routing import Routing

_uncompiled = torch.compiler.disable(reason="watch: a watched model cannot be compiled into one graph")


@contextmanager
def watch(model: nn.Module, *, gradients: bool = True) -> Iterator[list[tuple[str, MoEOutput]]]:
    """Record the routing of the mixtures of experts in a transformers model while it runs.

    What `record` is for layers of driftmoe.nn. Outputs and gradients of the model stay the same to the last bit.

    Parameters
    ----------
    model
        A model with mixtures of experts, as transformers 5 builds them: modules with a part `experts` beside a `gate`
        or `router` that has `top_k` and `num_experts`. Mixtral, Qwen2-MoE, Qwen3-MoE, OLMoE, DeepSeek-V3, GPT-OSS and
        Granite-MoE are tested.
    gradients
        Whether losses of the records shall teach the model. If so, a router is refused that learns, but runs without
        gradients within a model that has them.

    Yields
    ------
    records
        A list to which each call of a mixture appends its name and result: its output, the routing, and which rows
        count if the model is called with an `attention_mask` of shape (n, length). `result.losses` are the auxiliary
        losses, `usage(records)` figures of each layer. The list grows until `records.clear()`. What a checkpoint
        computes again during backward is not recorded again.

    Raises
    ------
    ValueError
        If the model has no mixtures of experts, or is compiled: compiled code need not call new hooks.
    RuntimeError
        In the call of the model, if gradients would be lost, with checkpoints of `use_reentrant=True`; or if a mixture
        did not call its router.
    TypeError
        In the call of the model, if a router returns something else than logits, weights and numbers of experts.

    Notes
    -----
    Weights are those that the experts get, with a factor such as DeepSeek's `routed_scaling_factor`, in float32. The
    entropy is that of the softmax of the logits, also where scores are sigmoids (DeepSeek-V3). Experts that serve all
    rows (Qwen2-MoE, DeepSeek-V3) do not count. Padding has a routing, as the model routes it, but counts in no loss.

    Hooks are removed at the end, also after an error. Several may watch one model at a time, and with `reroute` they
    see what the policy chose. A model that is compiled while it is watched is compiled in pieces, which are recorded
    and stay pieces afterwards; `fullgraph=True` raises torch's error. So watch first, then compile. Only then is a
    policy of `reroute` asked again, so that its choice must not be random there.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import usage, watch
    >>> class Router(torch.nn.Linear):  # as in transformers
    ...     top_k, num_experts = 1, 4
    ...     def forward(self, x):
    ...         logits = super().forward(x)
    ...         weights, chosen = logits.softmax(-1).topk(self.top_k)
    ...         return logits, weights, chosen
    >>> class Block(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.gate, self.experts = Router(8, 4), torch.nn.Identity()
    ...     def forward(self, x):
    ...         logits, weights, chosen = self.gate(x.flatten(0, -2))
    ...         return self.experts(x) * weights.view(*x.shape[:-1], 1)
    >>> model = torch.nn.Sequential(Block(), torch.nn.Tanh(), Block())
    >>> with watch(model) as records:
    ...     output = model(torch.randn(2, 5, 8))
    >>> [(name, result.routing.mask.shape) for name, result in records]
    [('0', torch.Size([2, 5, 4])), ('2', torch.Size([2, 5, 4]))]
    >>> loss = output.square().mean() + 0.01 * sum(result.losses["load_balance"] for _, result in records)
    >>> usage(records)["0"].n_rows
    10
    """
    mixtures = find_mixtures(model, "watch")
    records: list[tuple[str, MoEOutput]] = []
    choices: dict[str, Routing] = {}  # of the mixtures that are being called
    padding = Padding()
    is_over = False  # code that was compiled meanwhile goes on to call the hooks

    @_uncompiled
    def choose(name: str, router: nn.Module, inputs: Any, output: Any) -> None:
        if not is_over:
            choices[name] = _routing(router, output)

    @_uncompiled
    def append(name: str, block: nn.Module, inputs: tuple, named: dict[str, Any], output: Any) -> None:
        routing = choices.pop(name, None)
        if is_in_backward() or is_over:
            return
        if routing is None:
            raise RuntimeError(
                f"watch: {name!r} did not call its router, as where a kernel replaces the whole block; load the model "
                "without such kernels"
            )
        if gradients and is_lost() and any(p.requires_grad for p in block.parameters()):
            raise RuntimeError(
                f"watch: {name!r} runs without gradients within a model that has them, so its losses would teach "
                "nothing; use checkpoints with use_reentrant=False, or watch(model, gradients=False) if its losses are "
                "not minimised"
            )
        x = next(value for value in (*inputs, *named.values()) if isinstance(value, Tensor))
        answer = output if isinstance(output, Tensor) else output[0]
        records.append((name, MoEOutput(answer, _shaped(routing, x), padding.rows_of(block, x))))

    with ExitStack() as stack:
        is_lost = stack.enter_context(lost_gradients(model, mixtures))
        for handle in (*padding.watch(model), *_hooks(mixtures, choose, append)):
            stack.callback(handle.remove)
        try:
            yield records
        finally:
            is_over = True


class LayerUsage(NamedTuple):
    """How a layer uses its experts, over the rows that count; shared and null experts left out.

    Attributes
    ----------
    n_rows
        Number of rows.
    share
        Share of each expert in all places that were given, float64, shape (n_experts,).
    n_used
        Mean number of experts of a row.
    entropy
        Mean of the normalised entropy of the router's distribution, from 0 (sure of one expert) to 1 (of none).
    balance
        Mean share over the largest share: 1 if all experts have the same, 1 / n_experts if one has all.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, usage
    >>> from driftmoe.routing import Dense
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), Dense())
    >>> usage([("moe", layer(torch.randn(5, 8)))])["moe"].balance
    1.0
    """

    n_rows: int
    share: Tensor
    n_used: float
    entropy: float
    balance: float


def usage(records: Iterable[tuple[str, MoEOutput]]) -> dict[str, LayerUsage]:
    """Return how each layer uses its experts.

    Parameters
    ----------
    records
        Result of `watch` or `record`, of one or many calls.

    Returns
    -------
    usage
        By the name of the layer. All figures of a layer are 0 where no row counts.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts, MoELayer, usage
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(None, FeedForwardExperts(2, 8, 16), TopK(1))
    >>> result = layer(torch.zeros(4, 8), logits=torch.tensor([[0.0, 9], [0, 9], [0, 9], [9, 0]]))
    >>> of_layer = usage([("moe", result)])["moe"]
    >>> of_layer.share.tolist(), of_layer.n_used
    ([0.25, 0.75], 1.0)
    """
    loads: dict[str, list[Tensor]] = {}
    entropies: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for name, result in records:
            entropy = result.routing.entropy
            entropy = entropy.flatten() if result.rows is None else entropy[result.rows]
            loads.setdefault(name, []).append(result.load.double().cpu())
            entropies.setdefault(name, []).append(entropy.double().cpu())
    return {name: _of_layer(torch.cat(loads[name]), torch.cat(entropies[name])) for name in loads}


def _of_layer(load: Tensor, entropy: Tensor) -> LayerUsage:
    n_rows, places = len(load), load.sum(0)  # (n_experts,)
    total = places.sum().item()
    share = places / max(total, 1.0)
    return LayerUsage(
        n_rows,
        share,
        total / max(n_rows, 1),
        entropy.sum().item() / max(n_rows, 1),
        places.mean().item() / max(places.max().item(), 1.0),
    )


def _hooks(mixtures: dict[str, Mixture], choose: Any, append: Any) -> Iterator[Any]:
    for name, (block, router) in mixtures.items():
        yield router.register_forward_hook(partial(choose, name))
        yield block.register_forward_hook(partial(append, name), with_kwargs=True)


def _routing(router: nn.Module, output: Any) -> Routing:
    """Return what a router, or the policy in its place, chose for rows, with weights as the experts get them."""
    logits, weights, chosen = parts_of(router, output)
    if isinstance(output, Chosen):
        return output.routing
    for hook in router._forward_hooks.values():
        if isinstance(hook, Reroute):
            return hook.routing(router, logits)
    logits, weights = _wide(logits), _wide(weights)
    mask = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, chosen, True)
    of_all = weights.new_zeros(logits.shape).scatter(-1, chosen, weights)
    return Routing(of_all, mask, logits, at_most=chosen.shape[-1])


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _shaped(routing: Routing, x: Tensor) -> Routing:
    """Return the routing with the leading shape of the input of a block, whose router saw it flat."""
    shape = (*x.shape[:-1], routing.mask.shape[-1])
    return replace(
        routing,
        weights=routing.weights.view(shape),
        mask=routing.mask.view(shape),
        logits=routing.logits.view(shape),
    )
