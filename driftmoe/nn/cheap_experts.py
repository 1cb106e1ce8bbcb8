"""Experts that cost little beside one network, and a router that knows how sure it is."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.nn.experts import FUNCTIONS, upcycle
from driftmoe.nn.moe import _logits
from driftmoe.nn.padding import is_in_backward
from driftmoe.routing import Routing, top_k_mask
from driftmoe.routing.checks import check_count


class ModulatedExperts(nn.Module):
    """Experts that are one network, each with its own scale and shift of the hidden units.

    E_e(x) = (gamma_e · h + beta_e) W_out + b_out, h = act(x W_in + b_in). The network is computed once for each row,
    however many experts the row has, because the sum over experts is taken before W_out.

    Parameters
    ----------
    n_experts
        Number of experts.
    ffn
        A feed-forward network that `upcycle` knows. It is copied.
    noise
        Standard deviation of what is added to gamma and beta at first. Without noise all experts are the network, and
        become different once the router sends them different rows.
    seed
        Seed of the noise; `None` for new random noise each time.

    Attributes
    ----------
    gamma, beta
        Shape (n_experts, n_hidden), ones and zeros at first.
    ffn
        The network, which learns, too; `experts.ffn.requires_grad_(False)` leaves 2 · n_hidden numbers an expert.

    References
    ----------
    MoFME, Zhang et al. 2023 (arXiv 2312.16610): feature modulated experts. FiLM (arXiv 1709.07871), eq. 1.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import ModulatedExperts, MoELayer
    >>> from driftmoe.routing import TopK
    >>> ffn = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    >>> layer, x = MoELayer(torch.nn.Linear(4, 12), ModulatedExperts(12, ffn), TopK(2)), torch.ones(3, 4)
    >>> torch.allclose(layer(x).output, ffn(x), atol=1e-6)
    True
    """

    def __init__(
        self, n_experts: int, ffn: nn.Module, *, noise: float = 0.0, seed: int | None = None
    ) -> None:
        super().__init__()
        check_count("ModulatedExperts: n_experts", n_experts)
        self.ffn = upcycle(ffn, 1)
        generator = torch.Generator()
        _ = generator.seed() if seed is None else generator.manual_seed(seed)
        shape, like = (n_experts, self.ffn.w_out.shape[1]), self.ffn.w_out
        drawn = noise * torch.randn(2, *shape, generator=generator)
        self.gamma = nn.Parameter((1.0 + drawn[0]).to(like))
        self.beta = nn.Parameter(drawn[1].to(like))

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return len(self.gamma)

    def extra_repr(self) -> str:
        """Return what a printed model says of the experts."""
        return f"activation={self.ffn.activation!r}"

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the weighted sum of the chosen experts' outputs, shape (..., n_features), for x of the same shape."""
        ffn, weights = self.ffn, routing.weights
        function, is_gated = FUNCTIONS[ffn.activation]
        hidden = F.linear(x, ffn.w_in[0].T, None if ffn.b_in is None else ffn.b_in[0])
        if is_gated:
            gate, up = hidden.chunk(2, dim=-1)
            hidden = function(gate) * up
        else:
            hidden = function(hidden)
        weights = weights.to(hidden.dtype)
        out = (hidden * (weights @ self.gamma) + weights @ self.beta) @ ffn.w_out[0]
        return out if ffn.b_out is None else out + weights.sum(-1, keepdim=True) * ffn.b_out[0]


class UncertainRouter(nn.Module):
    """A router that is asked several times with other inputs left out, and answers with the mean of its probabilities.

    Where the draws agree, the answer has the softmax of the router's; where they do not, it is flatter. So a policy
    that counts on certainty, such as `TopP` or `EntropyHybrid`, gives such a row more experts. The logits are shifted,
    so that a policy of sigmoids (`score="sigmoid"`) gives other weights than for the router alone.

    Parameters
    ----------
    router
        A router with one logit for each expert, such as `nn.Linear`.
    n_features
        Width of the rows.
    n_samples
        Number of draws.
    p
        Share of the inputs that a draw leaves out, in [0, 1); the others are divided by 1 - p, as in dropout.
    seed
        Seed of the draws; `None` for new ones each time.

    Attributes
    ----------
    masks
        What `eval()` uses for every row: drawn once, shape (n_samples, n_features), so that equal rows are routed
        alike. While the layer trains, each row has draws of its own, and checkpoints, which would draw others when they
        compute the layer again, are refused.

    References
    ----------
    MoFME, Zhang et al. 2023 (arXiv 2312.16610): an uncertainty-aware router, by dropout. Its formula could not be
    read; here it is the mean of probabilities of Gal and Ghahramani 2016 (arXiv 1506.02142).

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import UncertainRouter
    >>> router = UncertainRouter(torch.nn.Linear(8, 4), 8, n_samples=5, p=0.2, seed=0).eval()
    >>> x = torch.randn(3, 8)
    >>> torch.allclose(router(x).exp().sum(-1), torch.ones(3)), router.doubt(x).shape
    (True, torch.Size([3]))
    """

    masks: Tensor

    def __init__(
        self,
        router: nn.Module,
        n_features: int,
        *,
        n_samples: int = 8,
        p: float = 0.1,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_count("UncertainRouter: n_samples", n_samples)
        if not 0.0 <= p < 1.0:
            raise ValueError(f"UncertainRouter: p={p}; choose a share in [0, 1)")
        self.router, self.n_samples, self.p = router, n_samples, p
        self._generator = torch.Generator()
        _ = self._generator.seed() if seed is None else self._generator.manual_seed(seed)
        self.register_buffer("masks", self._drawn(n_samples, n_features))

    def extra_repr(self) -> str:
        """Return what a printed model says of the router."""
        return f"n_samples={self.n_samples}, p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities as logits, shape (..., n_experts)."""
        return torch.logsumexp(self._log_p(x), 0) - math.log(self.n_samples)

    def doubt(self, x: Tensor) -> Tensor:
        """Return how far the draws disagree, shape (...): entropy of the mean less mean of the entropies, in nats."""
        log_p = self._log_p(x)
        mean = torch.logsumexp(log_p, 0) - math.log(self.n_samples)
        of_mean = -(mean.exp() * mean).sum(-1)
        return (of_mean + (log_p.exp() * log_p).sum(-1).mean(0)).clamp_min(0.0)

    def _log_p(self, x: Tensor) -> Tensor:
        """Return the logarithms of the probabilities of each draw, shape (n_samples, ..., n_experts)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.training:
            if self.p > 0.0 and is_in_backward():
                raise RuntimeError(
                    "UncertainRouter: a router that trains is computed again by a checkpoint, which would draw other "
                    "inputs than before, so that gradients were wrong; turn checkpointing off, or call router.eval()"
                )
            masks = self._drawn(self.n_samples, *x.shape).to(x)
        else:
            masks = self.masks.to(x).view(self.n_samples, *(1 for _ in x.shape[:-1]), -1)
        return _logits(self.router, x * masks).log_softmax(-1)

    def _drawn(self, *shape: int) -> Tensor:
        return (torch.rand(shape, generator=self._generator) >= self.p) / (1.0 - self.p)


class CompressedExperts(nn.Module):
    """Experts of which a row computes only the weightiest ones; each other chosen one is a vector.

    Let m(x) be the weighted mean of what the `keep` weightiest experts of a row say. Each other expert e that the row
    chose says c_e · m(x), element by element. All c_e are 1 at first: then the row's other experts agree with its main
    ones.

    Parameters
    ----------
    experts
        The experts, such as `FeedForwardExperts`.
    n_features
        Width of their outputs.
    keep
        Number of experts that a row computes at most.

    Attributes
    ----------
    vectors
        c, shape (n_experts, n_features).

    Notes
    -----
    With `TopK(2)` and keep=1 a row costs half of what it did. `fit` finds the vectors from rows of the task without
    training.

    References
    ----------
    He et al. 2025, "Efficiently Editing Mixture-of-Experts Models with Compressed Experts" (arXiv 2503.00634): other
    activated experts become vectors. Its formula could not be read: that a vector multiplies the main experts' answer
    is ours.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import CompressedExperts, FeedForwardExperts, MoELayer
    >>> from driftmoe.routing import TopK
    >>> layer = MoELayer(torch.nn.Linear(8, 4), FeedForwardExperts(4, 8, 16), TopK(2))
    >>> x = torch.randn(100, 8)
    >>> whole, cheap = layer(x), CompressedExperts(layer.experts, 8)
    >>> before = (cheap(x, whole.routing) - whole.output).square().mean()
    >>> cheap.fit(x, whole.routing)
    >>> bool((cheap(x, whole.routing) - whole.output).square().mean() < before)
    True
    """

    def __init__(self, experts: nn.Module, n_features: int, *, keep: int = 1) -> None:
        super().__init__()
        check_count("CompressedExperts: keep", keep)
        self.experts, self.keep = experts, keep
        like = next(experts.parameters())
        self.vectors = nn.Parameter(like.new_ones(self.n_experts, n_features))

    @property
    def n_experts(self) -> int:
        """Number of experts."""
        return int(self.experts.n_experts)  # type: ignore[arg-type]  # modules have any attribute

    def extra_repr(self) -> str:
        """Return what a printed model says of the experts."""
        return f"keep={self.keep}"

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return what the main experts of each row say, and the vectors of its others make of it."""
        main, others = self._split(routing)
        said = self.experts(x, main)  # (..., n_features)
        mean = said / main.weights.sum(-1, keepdim=True).clamp_min(1e-9).to(said.dtype)
        return said + mean * (others.to(said.dtype) @ self.vectors)

    @torch.no_grad()
    def fit(self, x: Tensor, routing: Routing) -> None:
        """Set each vector to what fits best, in squares, what its expert says on rows where it is not a main one.

        Vectors of experts that are never in that place stay as they are. Computes all chosen experts once.

        Parameters
        ----------
        x
            Rows of the task, shape (..., n_features).
        routing
            Their routing by the layer.
        """
        main, others = self._split(routing)
        said = self.experts(x, main).flatten(0, -2)
        weight = main.weights.sum(-1).flatten()[:, None].clamp_min(1e-9)
        mean = (said / weight.to(said.dtype)).double()
        rows, apart = x.flatten(0, -2), others.flatten(0, -2) > 0.0
        for e in range(self.n_experts):
            at = apart[:, e].nonzero()[:, 0]
            if not len(at):
                continue
            mask = F.one_hot(torch.full_like(at, e), self.n_experts).bool()
            own = self.experts(rows[at], Routing(mask.to(routing.weights.dtype), mask, routing.logits))
            m = mean[at]
            best = (own.double() * m).sum(0) / m.square().sum(0).clamp_min(1e-30)
            self.vectors[e] = best.to(self.vectors.dtype)

    def _split(self, routing: Routing) -> tuple[Routing, Tensor]:
        """Return the routing to main experts, and the weights of the others, shape (..., n_experts)."""
        ranked = routing.weights.detach().masked_fill(~routing.mask, -torch.inf)
        mask = top_k_mask(ranked, min(self.keep, ranked.shape[-1]))
        at_most = None if routing.at_most is None else min(self.keep, routing.at_most)
        main = replace(routing, weights=routing.weights * mask, mask=mask, at_most=at_most)
        return main, routing.weights * (routing.mask & ~mask)
