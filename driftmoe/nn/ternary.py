"""Feed-forward experts of three values: -1, 0 and 1, times one number for each matrix."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from driftmoe.nn.experts import FeedForwardExperts, upcycle
from driftmoe.nn.moe import MoELayer, make_router
from driftmoe.routing import Policy, TopK

TRITS, SCALE = ".trits", ".scale"
"""Endings of names in a packed state: five values a byte, and the number of each matrix."""

_POWERS = (1, 3, 9, 27, 81)  # 3^5 = 243 values fit into a byte


class TernaryExperts(FeedForwardExperts):
    """Feed-forward experts that compute with matrices of three values, and learn the full ones behind them.

    A matrix W of an expert is computed with as s · clip(round(W / s), -1, 1), where s is the mean of |W|. The gradient
    passes straight through to W. Parameters as in `FeedForwardExperts`; `ternary` makes them of others.

    References
    ----------
    MoTE, Wang et al. 2025 (arXiv 2506.14435). BitNet b1.58 (arXiv 2402.17764), eqs. 1 to 3: the three values. Inputs
    are not rounded here (to 8 bits there).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import TernaryExperts
    >>> experts = TernaryExperts(2, 8, 16, seed=0)
    >>> [matrix[0].unique().numel() for matrix in experts.matrices()]
    [3, 3]
    >>> full = sum(p.numel() * p.element_size() for p in experts.parameters())
    >>> full // sum(tensor.numel() * tensor.element_size() for tensor in experts.packed().values())
    17
    """

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return the matrices of three values, which have the gradients of the full ones."""
        w_in, w_out = (_rounded(w).detach() + (w - w.detach()) for w in (self.w_in, self.w_out))
        return w_in, w_out

    def split(self, parts: int) -> TernaryExperts:
        """Return fine-grained experts of the same three values, which sum to these; see `FeedForwardExperts.split`.

        The full matrices behind them are the nearest that have these values: what else they had learnt is left out.
        """
        signs = copy.deepcopy(self)
        signs.w_in.data, signs.w_out.data = _signs(self.w_in.detach()), _signs(self.w_out.detach())
        fine = ternary(FeedForwardExperts.split(signs, parts))
        for p, whole in ((fine.w_in, self.w_in), (fine.w_out, self.w_out)):
            p.data = _full(p.data, _scale(whole.detach()).repeat_interleave(parts, 0))
        return fine

    def packed(self) -> dict[str, Tensor]:
        """Return the experts as few bytes for a file, such as one of safetensors: 1.6 bits a weight, biases as is.

        `save_adapter` does not do so: it keeps the full matrices, with which training can go on.

        Raises
        ------
        ValueError
            If a number is NaN or infinite.
        """
        packed = {}
        for name, p in self.named_parameters():
            if not bool(torch.isfinite(p).all()):
                raise ValueError(
                    f"packed: {name} holds NaN or infinite numbers; train with a smaller learning rate"
                )
            if name.startswith("b_"):
                packed[name] = p.detach().clone()
                continue
            digits = (_signs(p.detach()) + 1).flatten(1).to(torch.int16)  # (n_experts, n)
            digits = nn.functional.pad(digits, (0, -digits.shape[1] % 5)).unflatten(1, (-1, 5))
            packed[name + TRITS] = (digits * digits.new_tensor(_POWERS)).sum(-1).to(torch.uint8)
            packed[name + SCALE] = _scale(p.detach()).flatten()
        return packed

    def load_packed(self, packed: Mapping[str, Tensor]) -> None:
        """Take over what `packed` returned, up to rounding.

        Raises
        ------
        ValueError
            If a tensor is missing or has another type or shape, a byte stands for no five values, or a scale is
            negative. The experts are then unchanged.
        """
        own = self.packed()
        for name in sorted(own.keys() | packed.keys()):
            came = packed.get(name)
            is_like = name in own and came is not None and came.shape == own[name].shape
            is_known = came is not None and (came.is_floating_point() or came.dtype == torch.uint8)
            if (
                not is_like
                or came is None
                or not is_known
                or name.endswith(TRITS) != (came.dtype == torch.uint8)
            ):
                raise ValueError(
                    f"load_packed: {name} is {'missing' if came is None else (tuple(came.shape), came.dtype)}, and "
                    f"{(tuple(own[name].shape), own[name].dtype) if name in own else 'nothing'} is meant; give what "
                    "`packed` returned for experts of this size"
                )
            is_damaged = not bool(torch.isfinite(came).all()) or (
                bool((came > 242).any())
                if name.endswith(TRITS)
                else name.endswith(SCALE) and bool((came < 0).any())
            )
            if is_damaged:
                raise ValueError(f"load_packed: {name} is damaged; save it again")
        with torch.no_grad():
            for name, p in self.named_parameters():
                if name.startswith("b_"):
                    p.copy_(packed[name])
                    continue
                bytes_of = packed[name + TRITS].to(p.device, torch.int16)[..., None]
                digits = bytes_of // bytes_of.new_tensor(_POWERS) % 3 - 1
                signs = digits.flatten(1)[:, : p[0].numel()].to(p.dtype)
                p.copy_(_full(signs.view_as(p), packed[name + SCALE].to(p.device, p.dtype)[:, None, None]))


def ternary(experts: FeedForwardExperts) -> TernaryExperts:
    """Return a copy of experts that computes with three values for each matrix.

    Parameters
    ----------
    experts
        Experts, such as those of `upcycle`.

    Examples
    --------
    >>> from driftmoe.nn import FeedForwardExperts, ternary
    >>> small = ternary(FeedForwardExperts(2, 8, 16, activation="relu", seed=0))
    >>> small.activation, sorted(small.packed())[:2]
    ('relu', ['w_in.scale', 'w_in.trits'])
    """
    n_hidden, n_features = experts.w_out.shape[1:]
    made = TernaryExperts(
        experts.n_experts,
        n_features,
        n_hidden,
        activation=experts.activation,
        bias=experts.b_in is not None,
    ).to(experts.w_in)
    made.load_state_dict(experts.state_dict())
    return made


def ternary_layer(
    ffn: nn.Module,
    *,
    n_experts: int,
    policy: Policy | None = None,
    router: Literal["linear", "random"] = "linear",
    seed: int | None = None,
) -> MoELayer:
    """Add ternary copies of a feed-forward network to it as experts. The network itself is the shared expert.

    Parameters
    ----------
    ffn
        The network, as in `upcycle`. The caller must freeze it (`inject` does).
    n_experts
        Number of ternary experts.
    policy
        Any policy of `driftmoe.routing`; default `TopK(1, renorm=False)`. MoTE chooses one expert.
    router, seed
        As in `upcycled_layer`.

    Returns
    -------
    layer
        For `inject`. Its output differs from the network's at first, as in MoTE: the experts' is added.

    References
    ----------
    MoTE, Wang et al. 2025 (arXiv 2506.14435), sec. 3.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import ternary_layer
    >>> ffn = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> ternary_layer(ffn, n_experts=3)(torch.ones(2, 4)).output.shape
    torch.Size([2, 4])
    """
    chosen = TopK(1, renorm=False) if policy is None else policy
    experts = ternary(upcycle(ffn, n_experts))
    return MoELayer(make_router(router, experts.w_in.mT, n_experts, chosen, seed), experts, chosen, ffn)


def _scale(w: Tensor) -> Tensor:
    """Return the mean magnitude of each matrix, shape (n_experts, 1, 1)."""
    return w.abs().mean((1, 2), keepdim=True)


def _signs(w: Tensor) -> Tensor:
    smallest = torch.finfo(w.dtype).tiny
    return (w / _scale(w).clamp_min(smallest)).round().clamp(-1.0, 1.0)


def _full(signs: Tensor, scale: Tensor) -> Tensor:
    """Return matrices that are rounded to these signs times a scale of shape (n_experts, 1, 1)."""
    share = signs.abs().mean((1, 2), keepdim=True).clamp_min(1.0 / signs[0].numel())
    return signs * scale / share  # so that the mean of |W| is the scale


def _rounded(w: Tensor) -> Tensor:
    return _signs(w) * _scale(w)
