"""Experts that are feed-forward networks, with the weights of all experts stacked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.nn.dispatch import collect, expert_linear, spread
from driftmoe.nn.linears import is_linear, matrix, widths
from driftmoe.routing import Routing

Activation = Literal[
    "relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "swiglu", "geglu", "geglu_tanh", "reglu"
]
"""Activation of the hidden layer. `swiglu`, `geglu`, `geglu_tanh` and `reglu` are gated: act(x W_gate) · (x W_up)."""

_TANH = partial(F.gelu, approximate="tanh")

FUNCTIONS: dict[Activation, tuple[Callable[[Tensor], Tensor], bool]] = {
    "relu": (F.relu, False),
    "gelu": (F.gelu, False),
    "swiglu": (F.silu, True),
    "gelu_tanh": (_TANH, False),
    "quick_gelu": (lambda x: x * torch.sigmoid(1.702 * x), False),
    "silu": (F.silu, False),
    "geglu": (F.gelu, True),
    "geglu_tanh": (_TANH, True),
    "reglu": (F.relu, True),
}
"""Function of each activation, and whether it is gated."""


class FeedForwardExperts(nn.Module):
    """Feed-forward networks of one hidden layer: E(x) = act(x W_in + b_in) W_out + b_out.

    Parameters
    ----------
    n_experts
        Number of networks.
    n_features
        Width of inputs and outputs.
    n_hidden
        Width of the hidden layer of each network. Fine-grained experts are many narrow ones; see `split`.
    activation
        `"relu"`, `"gelu"`, `"gelu_tanh"` (its approximation, as in GPT-2), `"quick_gelu"` (CLIP), `"silu"`; or gated,
        act(x W_gate) · (x W_up), where W_in is [W_gate, W_up]: `"swiglu"` with SiLU, `"geglu"`, `"geglu_tanh"` (Gemma)
        and `"reglu"`.
    bias
        Whether there are biases.
    seed
        Seed of the private generator that draws the weights, as in `nn.Linear`; `None` for new random weights each
        time.

    Attributes
    ----------
    w_in
        Shape (n_experts, n_features, n_hidden), twice as wide for gated activations.
    w_out
        Shape (n_experts, n_hidden, n_features).
    b_in, b_out
        Shapes (n_experts, width of w_in) and (n_experts, n_features); `None` without `bias`.

    Notes
    -----
    Dropless: every chosen pair of row and expert is computed, and no other. Fastest if all widths are multiples of 8.

    References
    ----------
    Shazeer 2020, "GLU Variants Improve Transformer" (arXiv 2002.05202), eq. 6: SwiGLU. DeepSeekMoE (arXiv 2401.06066),
    sec. 3.1: fine-grained experts.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts
    >>> from driftmoe.routing import TopK
    >>> experts = FeedForwardExperts(4, 8, 16, seed=0)
    >>> experts(torch.ones(5, 8), TopK(2)(torch.randn(5, 4))).shape
    torch.Size([5, 8])
    """

    is_transposed = True  # inputs come before outputs, as transformers' experts say of theirs

    def __init__(
        self,
        n_experts: int,
        n_features: int,
        n_hidden: int,
        *,
        activation: Activation = "swiglu",
        bias: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if activation not in FUNCTIONS:
            raise ValueError(
                f"FeedForwardExperts: activation={activation!r}; available: {', '.join(FUNCTIONS)}"
            )
        self.activation = activation
        generator = torch.Generator()
        _ = generator.seed() if seed is None else generator.manual_seed(seed)

        def drawn(n_in: int, *shape: int) -> nn.Parameter:
            bound = 1.0 / math.sqrt(n_in)
            return nn.Parameter(torch.empty(n_experts, *shape).uniform_(-bound, bound, generator=generator))

        n_in = 2 * n_hidden if FUNCTIONS[activation][1] else n_hidden
        self.w_in = drawn(n_features, n_features, n_in)
        self.w_out = drawn(n_hidden, n_hidden, n_features)
        self.b_in = drawn(n_features, n_in) if bias else None
        self.b_out = drawn(n_hidden, n_features) if bias else None

    @property
    def n_experts(self) -> int:
        """Number of networks."""
        return len(self.w_in)

    def extra_repr(self) -> str:
        """Return what a printed model says of the layer."""
        return f"activation={self.activation!r}"

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the weighted sum of the chosen experts' outputs, shape (..., n_features), for x of the same shape."""
        plan, rows = routing.plan, x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
        w_in, w_out = self.matrices()
        lines = expert_linear(spread(rows, plan), w_in, plan, self.b_in)  # (n_pairs, width of w_in)
        function, is_gated = FUNCTIONS[self.activation]
        if is_gated:
            gate, up = lines.chunk(2, dim=-1)
            lines = function(gate) * up
        else:
            lines = function(lines)
        lines = expert_linear(lines, w_out, plan, self.b_out)  # (n_pairs, n_features)
        return collect(lines, plan, len(rows)).view_as(x)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return the matrices that the experts compute with: `w_in` and `w_out`."""
        return self.w_in, self.w_out

    def split(self, parts: int) -> FeedForwardExperts:
        """Return fine-grained experts: each expert is cut along its hidden layer into narrow ones that sum to it.

        Expert `e` becomes experts `parts * e` to `parts * e + parts - 1`, with the same weights.
        """
        n_hidden, n_features = self.w_out.shape[1:]
        if parts < 1 or n_hidden % parts:
            raise ValueError(f"split: parts={parts} of n_hidden={n_hidden}; choose a divisor of it")
        fine = FeedForwardExperts(
            self.n_experts * parts,
            n_features,
            n_hidden // parts,
            activation=self.activation,
            bias=self.b_in is not None,
        ).to(self.w_in)
        halves = 2 if FUNCTIONS[self.activation][1] else 1

        def cut(columns: Tensor) -> nn.Parameter:
            # (n_experts, ..., halves, parts, n) -> (n_experts, parts, ..., halves, n): each part keeps its gate columns
            pieces = columns.detach().unflatten(-1, (halves, parts, -1)).movedim(-2, 1)
            return nn.Parameter(pieces.flatten(-2).flatten(0, 1))

        fine.w_in = cut(self.w_in)
        fine.w_out = nn.Parameter(self.w_out.detach().unflatten(1, (parts, -1)).flatten(0, 1).clone())
        if self.b_in is not None and self.b_out is not None:
            fine.b_in = cut(self.b_in)
            fine.b_out = nn.Parameter(self.b_out.detach().repeat_interleave(parts, 0) / parts)
        return fine


def upcycle(
    ffn: nn.Module | Sequence[nn.Module], n_experts: int, *, noise: float = 0.0, seed: int | None = None
) -> FeedForwardExperts:
    """Turn a dense feed-forward network into experts, which are copies of it with optional noise.

    With routing weights that sum to 1, the output equals that of the network, except for the noise. Of several networks
    it is the mean that the weights make of theirs.

    Parameters
    ----------
    ffn
        `nn.Sequential(linear, activation, linear)`, or a module with two or three linear layers that have the names
        common in transformers: `gate_proj, up_proj, down_proj` (Llama, Gemma); `gate_up_proj, down_proj` (Phi-3);
        `w1, w3, w2`; `wi_0, wi_1, wo` (T5); `fc1, fc2` (CLIP); `lin1, lin2`; `wi, wo`; `c_fc, c_proj` (GPT-2);
        `dense_h_to_4h, dense_4h_to_h` (GPT-NeoX). Or experts that are stacked already, as many as `n_experts`: those of
        a Mixtral, or its block with them. The activation is recognised by its values: one of `FeedForwardExperts`.
        Dropout in the network is omitted. BERT's network is spread over two modules; `inject` puts it together for the
        target `"intermediate"`.
        Or a list of networks of one build and size, such as those of models that were trained apart (BAM): expert e is
        a copy of network e modulo their number. `upcycle_models` does so for whole models.
    n_experts
        Number of copies, a multiple of the number of networks; `upcycle(...).split(parts)` makes fine-grained experts.
    noise
        Standard deviation of the normal noise on each weight, relative to the standard deviation of its matrix. Without
        noise, copies become different once the router sends them different rows.
    seed
        Seed of the noise; `None` for new random noise each time.

    Returns
    -------
    experts
        New weights, on the network's device and of its type.

    Raises
    ------
    ValueError
        If `ffn` is not such a network.
    TypeError
        If it is no module and no list of modules.

    References
    ----------
    Komatsuzaki et al. 2023, "Sparse Upcycling" (arXiv 2212.05055). BAM, Zhang et al. 2024 (arXiv 2408.08274): experts
    of several dense models.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import upcycle
    >>> upcycle(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)), 3).w_in.shape
    torch.Size([3, 4, 8])
    """
    generator = torch.Generator()
    _ = generator.seed() if seed is None else generator.manual_seed(seed)
    if isinstance(ffn, list | tuple):
        return _of_several(ffn, n_experts, noise, generator)
    if not isinstance(ffn, nn.Module):
        raise TypeError(f"upcycle: ffn is a {type(ffn).__name__}; give a network or a list of networks")
    if (stacked := stacked_experts(ffn)) is not None:
        return _of_stacked(stacked, n_experts, noise, generator)
    *entries, last = linears = _linears(ffn)
    activation = _activation(ffn, is_gated=_is_gated(linears))
    biases = [getattr(linear, "bias", None) for linear in linears]
    n_hidden, n_features = matrix(last).shape
    experts = FeedForwardExperts(
        n_experts, n_features, n_hidden, activation=activation, bias=any(b is not None for b in biases)
    ).to(matrix(last))
    with torch.no_grad():
        _fill(experts.w_in, torch.cat([matrix(linear) for linear in entries], -1), noise, generator)
        _fill(experts.w_out, matrix(last), noise, generator)
        if experts.b_in is not None and experts.b_out is not None:
            *of_entries, of_last = (
                matrix(linear).new_zeros(matrix(linear).shape[1]) if bias is None else bias
                for linear, bias in zip(linears, biases, strict=True)
            )
            _fill(experts.b_in, torch.cat(of_entries), noise, generator)
            _fill(experts.b_out, of_last, noise, generator)
    return experts


def stacked_experts(block: nn.Module) -> nn.Module | None:
    """Return the experts of a block, or the block itself, if they are stacked as in Mixtral; else None.

    A block that has other parts beside its experts and their router, such as a shared expert, is not known.
    """
    found = getattr(block, "experts", block)
    w_in, w_out = getattr(found, "gate_up_proj", None), getattr(found, "down_proj", None)
    if not isinstance(w_in, Tensor) or not isinstance(w_out, Tensor) or w_in.dim() != 3:
        return None
    is_known = w_in.shape[1:] == (2 * w_out.shape[2], w_out.shape[1]) and not hasattr(found, "down_proj_bias")
    if not is_known or (
        found is not block and {name for name, _ in block.named_children()} != {"experts", "gate"}
    ):
        raise ValueError(
            f"upcycle: the experts of {type(block).__name__} are not as those of Mixtral: matrices gate_up_proj, "
            "(n_experts, 2 · n_hidden, n_features), and down_proj without biases, with a router `gate` and nothing else"
        )
    return found


def _of_stacked(
    stacked: nn.Module, n_experts: int, noise: float, generator: torch.Generator
) -> FeedForwardExperts:
    """Return experts with the weights of stacked ones."""
    w_in, w_out = (
        getattr(stacked, name).detach().mT for name in ("gate_up_proj", "down_proj")
    )  # with fused_lora, too
    if n_experts != len(w_in):
        raise ValueError(f"upcycle: n_experts={n_experts}, but {len(w_in)} are there; choose as many")
    activation = _activation(stacked, is_gated=True)
    experts = FeedForwardExperts(n_experts, w_in.shape[1], w_out.shape[1], activation=activation).to(w_in)
    with torch.no_grad():
        _fill(experts.w_in, w_in, noise, generator)
        _fill(experts.w_out, w_out, noise, generator)
    return experts


def _of_several(
    networks: Sequence[nn.Module], n_experts: int, noise: float, generator: torch.Generator
) -> FeedForwardExperts:
    """Return experts that are copies of several networks in turn."""
    if not networks or n_experts < 1 or n_experts % len(networks):
        raise ValueError(
            f"upcycle: n_experts={n_experts} of {len(networks)} networks; choose a multiple of their number"
        )
    copies = [upcycle(network, 1) for network in networks]
    builds = [(c.activation, {name: tuple(p.shape[1:]) for name, p in c.named_parameters()}) for c in copies]
    for i, build in enumerate(builds):
        if build != builds[0]:
            raise ValueError(
                f"upcycle: network {i} is {build} and the first {builds[0]}; give networks of one activation and size"
            )
    _, n_hidden, n_features = copies[0].w_out.shape
    has_bias = copies[0].b_in is not None
    experts = FeedForwardExperts(
        n_experts, n_features, n_hidden, activation=copies[0].activation, bias=has_bias
    ).to(copies[0].w_in)
    with torch.no_grad():
        for name, target in experts.named_parameters():
            each = torch.cat([c.get_parameter(name) for c in copies])
            _fill(target, each[torch.arange(n_experts) % len(copies)], noise, generator)
    return experts


def _fill(target: nn.Parameter, dense: Tensor, noise: float, generator: torch.Generator) -> None:
    """Fill the weights of experts with those of a network, or of as many, and add noise."""
    target.copy_(dense)
    if noise:
        drawn = torch.randn(target.shape, generator=generator).to(target)
        target.add_(drawn * (noise * dense.std(correction=0)))


NAMES = (
    "gate_proj up_proj down_proj", "gate_up_proj down_proj", "w1 w3 w2", "wi_0 wi_1 wo", "fc1 fc2", "lin1 lin2",
    "wi wo", "c_fc c_proj", "dense_h_to_4h dense_4h_to_h",
)  # fmt: skip
"""Names of the linear layers of feed-forward networks in order, gates first."""

ACTIVATIONS = ("act_fn", "act", "activation", "activation_fn")
"""Names of their activations."""


def _linears(ffn: nn.Module) -> list[nn.Module]:
    """Return the linear layers of a feed-forward network in order."""
    if isinstance(ffn, nn.Sequential):
        layers = list(ffn)
        parts = layers[:1] + layers[2:]
    else:
        known = next((names.split() for names in NAMES if all(hasattr(ffn, n) for n in names.split())), [])
        parts = [getattr(ffn, name) for name in known]
    if len(parts) not in (2, 3) or not all(is_linear(part) for part in parts):
        raise ValueError(
            f"upcycle: {type(ffn).__name__} is not a known feed-forward network; give "
            "nn.Sequential(linear, activation, linear), or see the docstring for the names of layers"
        )
    return parts


def _is_gated(linears: list[nn.Module]) -> bool:
    """Return whether there is a gate: a layer of its own, or the first half of the first one."""
    return len(linears) == 3 or widths(linears[0])[1] == 2 * widths(linears[-1])[0]


def _activation(ffn: nn.Module, *, is_gated: bool) -> Activation:
    """Return the name of the activation that has the values of a network's."""
    found = list(ffn)[1:2] if isinstance(ffn, nn.Sequential) else []
    found += [getattr(ffn, name) for name in ACTIVATIONS if hasattr(ffn, name)]
    table = {name: function for name, (function, needs_gate) in FUNCTIONS.items() if needs_gate == is_gated}
    x = torch.linspace(-4.0, 4.0, 65)
    for name, function in table.items():
        if found and torch.allclose(found[0](x), function(x), atol=1e-6):
            return name
    raise ValueError(
        f"upcycle: the activation {found[0] if found else None} of {type(ffn).__name__} is not known; available where "
        f"{'there is a gate' if is_gated else 'there is no gate'}: {', '.join(table)}"
    )
