"""A router that never learns, and a bias for each expert that balances the load."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from driftmoe.routing.checks import check_option


class RandomRouter(nn.Module):
    """A linear router that is drawn at random and never learns: the control for every learnt router.

    Parameters
    ----------
    n_inputs, n_experts
        Sizes.
    seed
        Seed of the private generator; None draws a new one each time.

    Notes
    -----
    Weights are uniform in ±1/sqrt(n_inputs), as `nn.Linear` draws them. There is no bias. The weights are a buffer, so
    `state_dict` has them, but an optimiser does not see them. The product is computed in float32, also under autocast.

    References
    ----------
    SMoE-Dropout, Chen et al. 2023 (arXiv 2303.01610).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import RandomRouter
    >>> router = RandomRouter(5, 3, seed=0)
    >>> router(torch.ones(7, 5)).shape, len(list(router.parameters()))
    (torch.Size([7, 3]), 0)
    """

    weight: Tensor

    def __init__(self, n_inputs: int, n_experts: int, *, seed: int | None = None) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(n_inputs)
        weight = np.random.default_rng(seed).uniform(-bound, bound, (n_experts, n_inputs))
        self.register_buffer("weight", torch.from_numpy(weight.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (..., n_experts), for inputs of shape (..., n_inputs)."""
        with torch.autocast(x.device.type, enabled=False):
            return x.to(self.weight.dtype) @ self.weight.T


class BiasBalancer(nn.Module):
    """A bias for each expert that evens out the load of the experts without a loss.

    After each batch the bias of an overloaded expert falls and that of an underloaded one rises. The bias decides which
    experts are chosen, never their weights: call `TopK(k)(logits, bias=balancer.bias)`, then
    `balancer.update(routing.mask)`.

    Let f_i be expert i's share of all choices. Then b_i moves by `rate` · sign(1/n - f_i), the paper's rule, or by
    `rate` · (1 - n f_i), in proportion to the missing load. Both terms are shares: code that compares a count with a
    share moves every bias the same way, which changes nothing.

    Parameters
    ----------
    n_experts
        Number of experts.
    rate
        Step of the bias, in units of scores.
    rule
        `"sign"`, or `"proportional"`, which does not oscillate if the step is large in comparison with the scores.

    Attributes
    ----------
    bias
        Shape (n_experts,), mean 0. It is a buffer, so no optimiser and no weight decay changes it.

    References
    ----------
    Wang et al. 2024, "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts" (arXiv 2408.15664), alg. 1.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.routing import BiasBalancer, TopK
    >>> balancer = BiasBalancer(2, rate=0.5)
    >>> balancer.update(TopK(1)(torch.tensor([[1.0, 0.0]])).mask)
    >>> balancer.bias.tolist()
    [-0.5, 0.5]
    """

    bias: Tensor

    def __init__(
        self, n_experts: int, *, rate: float = 1e-3, rule: Literal["sign", "proportional"] = "sign"
    ) -> None:
        super().__init__()
        check_option("BiasBalancer: rule", rule, ("sign", "proportional"))
        self.rate = rate
        self.rule = rule
        self.register_buffer("bias", torch.zeros(n_experts))

    @torch.no_grad()
    def update(self, mask: Tensor) -> None:
        """Adjust the bias to the load of a batch, given as `Routing.mask`, shape (..., n_experts).

        With `torch.distributed` the load is that of all processes, so that all have the same bias. Each of them must
        call this then, as often as the others.
        """
        places = mask.reshape(-1, mask.shape[-1]).sum(0)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(places)
        missing = 1.0 - len(places) * places / places.sum().clamp_min(1)
        step = missing.sign() if self.rule == "sign" else missing
        self.bias += self.rate * (step - step.mean())  # only differences between biases choose

    @torch.no_grad()
    def reset(self) -> None:
        """Set the bias to zero, for example after a drift alarm."""
        self.bias.zero_()
