"""Dispatch of rows to their chosen experts, and combination of the experts' outputs.

A `Plan` (`Routing.plan`) lists the chosen pairs of row and expert, sorted by expert. `spread` makes one line for each
pair, `expert_linear` multiplies each line by the matrix of its expert, and `collect` adds up the weighted lines of each
row. No chosen pair is dropped, no other pair is computed, and null experts have no pairs.

`expert_linear` computes the product in the fastest of three ways that is possible:

- `by_groups`: one call of `torch.nn.functional.grouped_mm`;
- `by_segments`: one product for each expert that has lines, for inputs that `grouped_mm` does not support;
- `by_gathering`: a copy of an expert's matrix for each line, for very few lines, where calls cost more than products.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from driftmoe.routing import Plan

FEW_LINES, SMALL_MATRIX = 4, 1 << 16
"""Gathering is fastest for at most this many lines, and matrices of at most this many elements."""


def spread(x: Tensor, plan: Plan) -> Tensor:
    """Repeat each row for each of its chosen experts, grouped by expert; (n_rows, n) -> (n_pairs, n)."""
    return x.index_select(0, plan.rows)  # x[plan.rows] is several times slower, forward and backward


def collect(lines: Tensor, plan: Plan, n_rows: int) -> Tensor:
    """Add up the weighted lines of each row; (n_pairs, n) -> (n_rows, n), zeros for a row without experts.

    Sums are computed in the precision of the weights, float32 or wider, and returned in the type of the lines.
    """
    weighted = lines * plan.weights[:, None]
    if n_rows == 1:  # needs fewer calls
        return weighted.sum(0, keepdim=True).to(lines.dtype)
    total = weighted.new_zeros(n_rows, lines.shape[-1]).index_add(0, plan.rows, weighted)
    return total.to(lines.dtype)


def expert_linear(lines: Tensor, weight: Tensor, plan: Plan, bias: Tensor | None = None) -> Tensor:
    """Multiply each line by the matrix of its expert.

    Parameters
    ----------
    lines
        Result of `spread`, shape (n_pairs, n_in).
    weight
        A matrix for each expert, shape (n_experts, n_in, n_out).
    plan
        The pairs of row and expert.
    bias
        A bias for each expert, shape (n_experts, n_out).

    Returns
    -------
    lines
        Shape (n_pairs, n_out), in autocast's type if autocast is on.
    """
    device = lines.device.type
    if torch.is_autocast_enabled(device):  # autocast does not cover `grouped_mm`
        dtype = torch.get_autocast_dtype(device)
        lines, weight = lines.to(dtype), weight.to(dtype)
    if len(lines) <= FEW_LINES and weight.shape[1] * weight.shape[2] <= SMALL_MATRIX:
        out = by_gathering(lines, weight, plan)
    elif can_group(lines, weight):
        out = by_groups(lines, weight, plan)
    else:
        out = by_segments(lines, weight, plan)
    return out if bias is None else out + bias.to(out.dtype).index_select(0, plan.experts)


def by_groups(lines: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    """Multiply in one call for all experts; see `can_group` for its conditions."""
    return F.grouped_mm(lines, weight, offs=plan.offsets[1:])


def by_segments(lines: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    """Multiply in one product for each expert that has lines."""
    return _segment_mm(lines, weight, plan.offsets)


def by_gathering(lines: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    """Multiply in a batch of products, one for each line."""
    return torch.bmm(lines[:, None], weight.index_select(0, plan.experts))[:, 0]


def can_group(lines: Tensor, weight: Tensor) -> bool:
    """Return whether `grouped_mm` supports these inputs: rows of a multiple of 16 bytes, and few types.

    On a GPU it supports bfloat16 alone, from compute capability 8. `torch.compile` also supports bfloat16 alone.
    """
    if not hasattr(F, "grouped_mm"):  # torch before 2.10
        return False
    is_compiling = torch.compiler.is_compiling()
    types = (
        (torch.bfloat16,) if lines.is_cuda or is_compiling else (torch.float32, torch.bfloat16, torch.float16)
    )
    return (
        lines.dtype in types
        and weight.dtype == lines.dtype
        and all(size * weight.element_size() % 16 == 0 for size in weight.shape[1:])
        and (is_compiling or (lines.data_ptr() % 16 == 0 and weight.data_ptr() % 16 == 0))
        and not (lines.is_cuda and torch.cuda.get_device_capability(lines.device) < (8, 0))
    )


# Custom operators, each of which is the gradient of the other. If autograd saw a loop over `weight[e]`, it would
# allocate a gradient of the size of all experts for each expert. A loop over `weight.unbind()` would copy each gradient
# once more. `torch.compile` could compile neither in one piece.


@torch.library.custom_op(
    "driftmoe::segment_mm", mutates_args=(), schema="(Tensor lines, Tensor weight, Tensor offsets) -> Tensor"
)
def _segment_mm(lines: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """Multiply each segment by its matrix; (n_pairs, n_in), (n_experts, n_in, n_out) -> (n_pairs, n_out)."""
    out = lines.new_empty(len(lines), weight.shape[-1])
    for matrix, start, end in _segments(weight, offsets):
        torch.mm(lines[start:end], matrix, out=out[start:end])
    return out


@torch.library.custom_op(
    "driftmoe::segment_outer", mutates_args=(), schema="(Tensor left, Tensor right, Tensor offsets) -> Tensor"
)
def _segment_outer(left: Tensor, right: Tensor, offsets: Tensor) -> Tensor:
    """Sum the outer products of each segment's lines; (n_pairs, n), (n_pairs, m) -> (n_experts, n, m)."""
    out = left.new_zeros(len(offsets) - 1, left.shape[-1], right.shape[-1])
    for matrix, start, end in _segments(out, offsets):
        torch.mm(left[start:end].T, right[start:end], out=matrix)
    return out


def _segments(matrices: Tensor, offsets: Tensor) -> Iterator[tuple[Tensor, int, int]]:
    for e, (start, end) in enumerate(pairwise(offsets.tolist())):
        if start < end:
            yield matrices[e], start, end


@_segment_mm.register_fake
def _(lines: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    return lines.new_empty(lines.shape[0], weight.shape[-1])  # `len` would recompile for each number of lines


@_segment_outer.register_fake
def _(left: Tensor, right: Tensor, offsets: Tensor) -> Tensor:
    return left.new_empty(offsets.shape[0] - 1, left.shape[-1], right.shape[-1])


def _keep_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients_of_mm(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    lines, weight, offsets = ctx.saved_tensors
    of_lines = _segment_mm(gradient, weight.mT, offsets) if ctx.needs_input_grad[0] else None
    of_weight = _segment_outer(lines, gradient, offsets) if ctx.needs_input_grad[1] else None
    return of_lines, of_weight, None


def _gradients_of_outer(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    left, right, offsets = ctx.saved_tensors
    of_left = _segment_mm(right, gradient.mT, offsets) if ctx.needs_input_grad[0] else None
    of_right = _segment_mm(left, gradient, offsets) if ctx.needs_input_grad[1] else None
    return of_left, of_right, None


_segment_mm.register_autograd(_gradients_of_mm, setup_context=_keep_inputs)
_segment_outer.register_autograd(_gradients_of_outer, setup_context=_keep_inputs)
