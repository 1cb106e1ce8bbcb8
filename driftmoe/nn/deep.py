"""Layers for `inject` whose routers belong together: in steps, with a state that goes through all, or all at once."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn

from driftmoe.nn.experts import stacked_experts, upcycle
from driftmoe.nn.moe import ChainedMoE, MoELayer, RecurrentRouter, _logits, make_router
from driftmoe.nn.padding import is_in_backward
from driftmoe.routing import Policy, as_rule


def chained_layer(
    ffn: nn.Module,
    *,
    n_experts: int,
    policy: Policy,
    n_steps: int = 2,
    noise: float = 0.0,
    seed: int | None = None,
) -> ChainedMoE:
    """Turn a dense feed-forward network into a chain: the same experts several times, each time with another router.

    Each step adds the part 1 / n_steps of what the experts answer. So the output is near that of the network at first,
    and equal to it for one step, if the policy's weights sum to 1.

    Parameters
    ----------
    ffn, n_experts, noise
        As in `upcycle`.
    policy
        Any policy of `driftmoe.routing`, the same for all steps.
    n_steps
        Number of steps.
    seed
        Seed of noise and routers; `None` for new random values each time.

    References
    ----------
    Chain-of-Experts, Wang et al. 2025 (arXiv 2506.18945).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import chained_layer
    >>> from driftmoe.routing import TopK
    >>> ffn = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> output, results = chained_layer(ffn, n_experts=3, policy=TopK(2))(torch.ones(2, 4))
    >>> output.shape, len(results)
    (torch.Size([2, 4]), 2)
    """
    if n_steps < 1:
        raise ValueError(f"chained_layer: n_steps={n_steps}; choose 1 or more")
    _check_is_dense(ffn)
    experts = upcycle(ffn, n_experts, noise=noise, seed=seed)
    routers = [
        make_router(
            "linear", experts.w_in.mT, n_experts, policy, None if seed is None else n_steps * seed + step
        )
        for step in range(n_steps)
    ]
    return ChainedMoE(routers, MoELayer(None, experts, policy, scale=1.0 / n_steps))


def _check_is_dense(ffn: nn.Module) -> None:
    """Raise ValueError if a block has a router already, which new routers would not follow."""
    if stacked_experts(ffn) not in (None, ffn):
        raise ValueError(
            f"{type(ffn).__name__} has experts and a router, which new routers would not follow; use "
            "upcycled_layer, or give its experts alone"
        )


class OneCall:
    """Base of objects that make layers which belong together, so that each is for one call of `inject`."""

    _has_begun = False

    def begin(self) -> None:
        """Raise ValueError if `inject` was called with this object before; it calls this first."""
        if self._has_begun:
            raise ValueError(
                f"{type(self).__name__}: this object was given to inject before, and has layers of that model; an "
                "object is for one call of inject, so make a new one"
            )
        self._has_begun = True


class RecurrentLayers(OneCall):
    """Makes upcycled layers for `inject` whose routers share a recurrent cell, and pass its state from layer to layer.

    Use an object for one call of `inject`; a second one is refused. The layers must be called in the order of the
    model, each once in a forward pass, with rows of the same shape. Checkpoints, which compute layers again, are
    refused.

    Parameters
    ----------
    policy
        Any policy of `driftmoe.routing`.
    width
        Width of the state.
    noise
        As in `upcycle`.

    References
    ----------
    RMoE, Qiu et al. 2024, "Layerwise Recurrent Router for Mixture-of-Experts" (arXiv 2408.06793).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import RecurrentLayers, inject, record
    >>> from driftmoe.routing import TopK
    >>> ffn = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> model = torch.nn.Sequential(ffn(), ffn())
    >>> list(inject(model, ("0", "1"), RecurrentLayers(TopK(2), width=16), n_experts=3))
    ['0', '1']
    >>> model(torch.ones(2, 4)).shape
    torch.Size([2, 4])
    """

    def __init__(self, policy: Policy, *, width: int = 64, noise: float = 0.0) -> None:
        self.policy, self.width, self.noise = policy, width, noise
        self._n_layers = [0]
        self._cell: nn.GRUCell | None = None
        self._passed = _Passed(self._n_layers)

    def __call__(self, ffn: nn.Module, *, n_experts: int, seed: int | None = None) -> MoELayer:
        """Return the next layer."""
        _check_is_dense(ffn)
        experts = upcycle(ffn, n_experts, noise=self.noise, seed=seed)
        router = self.router(experts.w_in.shape[1], n_experts, seed=seed).to(experts.w_in.device)
        return MoELayer(router, experts, self.policy)

    def router(self, n_features: int, n_experts: int, *, seed: int | None = None) -> nn.Module:
        """Return the next router alone, for a layer of your own with experts for rows of this width."""
        with torch.random.fork_rng(devices=[]):
            _ = torch.seed() if seed is None else torch.manual_seed(seed)
            if self._cell is None:
                self._cell = nn.GRUCell(self.width, self.width)
            router = RecurrentRouter(n_features, as_rule(self.policy).n_logits(n_experts), self._cell)
        self._n_layers[0] += 1
        return _InTurn(router, self._n_layers[0] - 1, self._passed)


class PreGate(OneCall):
    """Makes upcycled layers for `inject` that are all routed by the input of the first one, before any is computed.

    So a row's experts in all layers are known when it enters the model, and their weights can be fetched meanwhile. Use
    an object for one call of `inject`; a second one is refused. All layers must see rows of the same width. What
    `RecurrentLayers` says of the order of layers holds here, too.

    Parameters
    ----------
    policy
        Any policy of `driftmoe.routing`.
    is_shared
        Whether all layers have one router, so that a row has the same logits in each, as in Read-ME.
    noise
        As in `upcycle`.

    References
    ----------
    Read-ME, Cai et al. 2024, "Refactorizing LLMs as Router-Decoupled Mixture of Experts with System Co-Design" (arXiv
    2410.19123), sec. 3.2: a pre-gating router. There it is a small transformer, here a linear map.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import PreGate, inject
    >>> from driftmoe.routing import TopK
    >>> ffn = lambda: torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> model, gate = torch.nn.Sequential(ffn(), ffn()), PreGate(TopK(2))
    >>> _ = inject(model, ("0", "1"), gate, n_experts=3)
    >>> [tuple(logits.shape) for logits in gate.ahead(torch.ones(5, 4))]
    [(5, 3), (5, 3)]
    """

    def __init__(self, policy: Policy, *, is_shared: bool = False, noise: float = 0.0) -> None:
        self.policy, self.is_shared, self.noise = policy, is_shared, noise
        self._layers: list[MoELayer] = []
        self._n_layers = [0]
        self._passed = _Passed(self._n_layers)

    def __call__(self, ffn: nn.Module, *, n_experts: int, seed: int | None = None) -> MoELayer:
        """Return the next layer."""
        _check_is_dense(ffn)
        experts = upcycle(ffn, n_experts, noise=self.noise, seed=seed)
        first: Any = self._layers[0].experts if self._layers else experts
        if experts.w_in.shape[1] != first.w_in.shape[1] or (self.is_shared and n_experts != first.n_experts):
            raise ValueError(
                f"PreGate: a block with rows of width {experts.w_in.shape[1]} and {n_experts} experts, and the first "
                f"one has {first.w_in.shape[1]} and {first.n_experts}; all are routed by the input of the first, so "
                "name blocks of one width, and with is_shared give all the same number of experts"
            )
        linear = (
            _linear(self._layers[0])
            if self._layers and self.is_shared
            else make_router("linear", experts.w_in.mT, n_experts, self.policy, seed)
        )
        router = _InTurn(_OfFirst(linear), len(self._layers), self._passed)
        self._layers.append(MoELayer(router, experts, self.policy))
        self._n_layers[0] += 1
        return self._layers[-1]

    def ahead(self, x: Tensor) -> list[Tensor]:
        """Return the logits of all layers, each of shape (..., n_logits), for the input of the first one.

        They are those that the model computes, also after `steer` or `adapt_routing`.
        """
        logits = [_logits(_linear(layer), x) for layer in self._layers]
        return [
            own if layer.delta is None else own + layer.delta
            for layer, own in zip(self._layers, logits, strict=True)
        ]


def _linear(layer: MoELayer) -> nn.Module:
    """Return what a layer of `PreGate` has for a router."""
    router: Any = layer.router
    linear: nn.Module = router.router.linear
    return linear


class _OfFirst(nn.Module):
    """A router of the input of the first layer, which is the state that it passes on."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return logits, and the input of the first layer."""
        first = x if state is None else state
        return self.linear(first), first


class _Passed(threading.local):
    """The state that the last layer passed on, and the place of that layer. Copies have none.

    The list has the number of layers, which is known once all are made.
    """

    place = -1
    state: Tensor | None = None

    def __init__(self, n_layers: list[int] | None = None) -> None:
        self.n_layers = [0] if n_layers is None else n_layers  # pickles of earlier versions have none

    def __reduce__(self) -> tuple[type[_Passed], tuple[list[int]]]:
        return _Passed, (self.n_layers,)


class _InTurn(nn.Module):
    """A router that takes the state of the layer before, and leaves its own to the next."""

    def __init__(self, router: RecurrentRouter | _OfFirst, place: int, passed: _Passed) -> None:
        super().__init__()
        self.router, self.place, self.passed = router, place, passed

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        if is_in_backward():
            raise RuntimeError(
                "a router that takes a state is computed again by a checkpoint, when that of the layer before is gone; "
                "turn checkpointing off"
            )
        state = self.passed.state if self.place else None
        if self.place and (self.passed.place != self.place - 1 or state is None):
            raise RuntimeError(
                f"the router of layer {self.place} is called after that of layer {self.passed.place}; call "
                "the whole model, whose layers must follow one another in the order in which they were injected"
            )
        if state is not None and state.shape[:-1] != x.shape[:-1]:
            raise RuntimeError(
                f"the router of layer {self.place} got rows of shape {tuple(x.shape[:-1])}, after "
                f"{tuple(state.shape[:-1])} in the layer before; inject layers that see the same rows"
            )
        logits, state = self.router(x, state)
        is_last = self.place + 1 == self.passed.n_layers[0]  # whose state would keep the graph of the batch
        self.passed.place, self.passed.state = self.place, None if is_last else state
        return logits
