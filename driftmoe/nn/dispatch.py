"""Bring rows to the experts that they chose, and the experts' answers back.

A `Plan` (`Routing.plan`) lists the chosen pairs of row and expert, sorted by expert. `spread` makes one line of each
pair, `expert_linear` multiplies the lines of an expert with that expert's matrix, `collect` adds up the weighted lines
of a row. No pair is dropped, none that was not chosen is computed, and a null expert has no pair.

`expert_linear` has three ways to the same product, and takes the one that is fastest where it can be taken:

- `by_groups`: one call of `torch.nn.functional.grouped_mm`;
- `by_segments`: one product for each expert that has lines, for what `grouped_mm` does not take;
- `by_gathering`: a copy of an expert's matrix for each line, for a line or two, where calls cost more than products.
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
"""As many lines, of matrices of so many elements, are quicker by gathering."""


def spread(x: Tensor, plan: Plan) -> Tensor:
    """Repeat each row for each expert that it chose; (n_rows, n) -> (n_pairs, n), the lines of an expert together."""
    return x.index_select(0, plan.rows)  # x[plan.rows] is the same, several times slower both ways


def collect(lines: Tensor, plan: Plan, n_rows: int) -> Tensor:
    """Add up the weighted lines of each row; (n_pairs, n) -> (n_rows, n), zeros for a row without an expert.

    Sums are taken in the precision of the weights, float32 at least, and returned in that of the lines.
    """
    weighted = lines * plan.weights[:, None]
    if n_rows == 1:  # fewer calls
        return weighted.sum(0, keepdim=True).to(lines.dtype)
    total = weighted.new_zeros(n_rows, lines.shape[-1]).index_add(0, plan.rows, weighted)
    return total.to(lines.dtype)


def expert_linear(lines: Tensor, weight: Tensor, plan: Plan, bias: Tensor | None = None) -> Tensor:
    """Multiply each line with the matrix of its expert.

    Parameters
    ----------
    lines
        What `spread` gives, shape (n_pairs, n_in).
    weight
        A matrix for each expert, shape (n_experts, n_in, n_out).
    plan
        Whose line is whose.
    bias
        What is added for each expert, shape (n_experts, n_out).

    Returns
    -------
    lines
        Shape (n_pairs, n_out); in the type that autocast asks for, where it is on.
    """
    device = lines.device.type
    if torch.is_autocast_enabled(device):  # `grouped_mm` does not take part in it
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
    """One call for all experts; what it takes, `can_group` tells."""
    return F.grouped_mm(lines, weight, offs=plan.offsets[1:])


def by_segments(lines: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    """One product for each expert that has lines."""
    return _segment_mm(lines, weight, plan.offsets)


def by_gathering(lines: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    """A batch of products, one for each line."""
    return torch.bmm(lines[:, None], weight.index_select(0, plan.experts))[:, 0]


def can_group(lines: Tensor, weight: Tensor) -> bool:
    """Whether `torch.nn.functional.grouped_mm` takes these: rows of whole 16 bytes, and few types.

    On a GPU it is made for bfloat16, from compute capability 8 on; `torch.compile` knows it for nothing else.
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


# Operators of our own, each the other's gradient. A loop over `weight[e]` that autograd saw would make a gradient of
# the size of all experts for each of them, one over `weight.unbind()` would copy each gradient once more, and compiled
# code would break at either.


@torch.library.custom_op(
    "driftmoe::segment_mm", mutates_args=(), schema="(Tensor lines, Tensor weight, Tensor offsets) -> Tensor"
)
def _segment_mm(lines: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """Lines of each segment times its matrix; (n_pairs, n_in), (n_experts, n_in, n_out) -> (n_pairs, n_out)."""
    out = lines.new_empty(len(lines), weight.shape[-1])
    for matrix, start, end in _segments(weight, offsets):
        torch.mm(lines[start:end], matrix, out=out[start:end])
    return out


@torch.library.custom_op(
    "driftmoe::segment_outer", mutates_args=(), schema="(Tensor left, Tensor right, Tensor offsets) -> Tensor"
)
def _segment_outer(left: Tensor, right: Tensor, offsets: Tensor) -> Tensor:
    """Sum of the outer products of each segment's lines; (n_pairs, n), (n_pairs, m) -> (n_experts, n, m)."""
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
    return lines.new_empty(lines.shape[0], weight.shape[-1])  # `len` would compile anew for each number


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
