"""Vectorised weighted sums of rows, which take most of the time of a small network.

`add_rows` adds rows of float32 in their order and rounds after each product and each sum, so that the result is the
same on every processor. A plain numba loop reads and writes the row of sums for each row added, because numba omits
LLVM's pass that would keep it in registers. That takes four times as long. So the innermost loop is written in LLVM's
language here, with vectors of fixed length, which LLVM maps to registers of the available width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from driftmoe.compilation import kernel

N_SUMS = 4
"""Number of sums that `square_sums` returns: one for each value of f % 4 of a feature f."""

FLOAT, INDEX = ir.FloatType(), ir.IntType(64)


def _block(n_vectors: int, length: int) -> Any:
    """Return a function that adds to `n_vectors * length` neighbouring entries of a row."""

    def add(out, at, rows, start, step, amounts, first, stride, chosen, n):  # type: ignore[no-untyped-def]
        """Add to `out` from entry `at` on. The other arguments are as in `add_rows`."""
        for j in range(n_vectors * length):
            for k in chosen[:n]:
                out.flat[at + j] += amounts.flat[first + k * stride] * rows.flat[start + k * step + j]

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return add

    def typed(  # type: ignore[no-untyped-def]
        context, out, at, rows, start, step, amounts, first, stride, chosen, n
    ):
        arrays = {out: types.float32, rows: types.float32, amounts: types.float32, chosen: types.int64}
        if any(array.dtype != dtype or array.layout != "C" for array, dtype in arrays.items()):
            return None
        i = types.int64
        return types.void(out, i, rows, i, i, amounts, i, i, chosen, i), emit

    def emit(context, builder, signature, given):  # type: ignore[no-untyped-def]
        out, rows, amounts, chosen = (
            context.make_array(signature.args[i])(context, builder, given[i]).data for i in (0, 2, 5, 8)
        )
        at, start, step, first, stride, n = (given[i] for i in (1, 3, 4, 6, 7, 9))
        vector = ir.VectorType(FLOAT, length)

        def vectors(array, entry):  # type: ignore[no-untyped-def]
            """Return pointers to the vectors of an array, starting at an entry."""
            offsets = (builder.add(entry, INDEX(v * length)) for v in range(n_vectors))
            return [builder.bitcast(builder.gep(array, [offset]), vector.as_pointer()) for offset in offsets]

        def loaded(pointer):  # type: ignore[no-untyped-def]
            return builder.load(pointer, align=4)

        targets = vectors(out, at)
        undefined = ir.Constant(vector, ir.Undefined)
        with _counted(builder, n, 1, [loaded(target) for target in targets]) as (i, sums):
            k = builder.load(builder.gep(chosen, [i]))
            amount = builder.load(builder.gep(amounts, [builder.add(first, builder.mul(k, stride))]))
            amount = builder.insert_element(undefined, amount, ir.IntType(32)(0))
            same = ir.Constant(ir.VectorType(ir.IntType(32), length), [0] * length)
            amount = builder.shuffle_vector(amount, undefined, same)
            of_row = vectors(rows, builder.add(start, builder.mul(k, step)))
            for v, row in enumerate(of_row):
                sums[v] = builder.fadd(sums[v], builder.fmul(amount, loaded(row)))
        for target, total in zip(targets, sums, strict=True):
            builder.store(total, target, align=4)
        return context.get_dummy_value()

    return intrinsic(typed)


def _squares() -> Any:
    """Return the function behind `square_sums`."""

    def sums(x, mean, precision):  # type: ignore[no-untyped-def]
        """Return four sums of (x - mean)² · precision, over features 0, 4, 8, ..., over 1, 5, 9, ..., and so on."""
        n = len(x) // N_SUMS * N_SUMS
        lanes = [0.0] * N_SUMS
        for f in range(n):
            lanes[f % N_SUMS] += (x[f] - mean[f]) * (x[f] - mean[f]) * precision[f]
        return tuple(lanes)

    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return sums

    def typed(context, x, mean, precision):  # type: ignore[no-untyped-def]
        if any(a.dtype != types.float64 or a.layout != "C" or a.ndim != 1 for a in (x, mean, precision)):
            return None
        return types.UniTuple(types.float64, N_SUMS)(x, mean, precision), emit

    def emit(context, builder, signature, given):  # type: ignore[no-untyped-def]
        arrays = [
            context.make_array(t)(context, builder, v) for t, v in zip(signature.args, given, strict=True)
        ]
        n = builder.and_(builder.extract_value(arrays[0].shape, 0), INDEX(-N_SUMS))
        vector = ir.VectorType(ir.DoubleType(), N_SUMS)
        zeros = ir.Constant(vector, [0.0] * N_SUMS)
        with _counted(builder, n, N_SUMS, [zeros]) as (f, totals):
            x, mean, precision = (
                builder.load(builder.bitcast(builder.gep(array.data, [f]), vector.as_pointer()), align=8)
                for array in arrays
            )
            gap = builder.fsub(x, mean)
            totals[0] = builder.fadd(totals[0], builder.fmul(builder.fmul(gap, gap), precision))
        sums = [builder.extract_element(totals[0], ir.IntType(32)(lane)) for lane in range(N_SUMS)]
        return context.make_tuple(builder, signature.return_type, sums)

    return intrinsic(typed)


@contextmanager
def _counted(builder: Any, n: Any, step: int, values: list) -> Iterator[tuple[Any, list]]:
    """Emit a loop, `for (k = 0; k < n; k += step)`. Yield k and a list of the running values.

    The caller replaces the values in the list by those after an iteration. After the loop the list holds the final
    values.
    """
    before = builder.basic_block
    loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed(">", n, INDEX(0)), loop, after)
    builder.position_at_end(loop)
    k = builder.phi(INDEX)
    running = [builder.phi(value.type) for value in values]
    following = list(running)
    yield k, following
    next_k = builder.add(k, INDEX(step))
    builder.cbranch(builder.icmp_signed("<", next_k, n), loop, after)
    k.add_incoming(INDEX(0), before)
    k.add_incoming(next_k, loop)
    for phi, start, then in zip(running, values, following, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(then, loop)
    builder.position_at_end(after)
    ends = [builder.phi(value.type) for value in values]
    for end, start, then in zip(ends, values, following, strict=True):
        end.add_incoming(start, before)
        end.add_incoming(then, loop)
    following[:] = ends


_square_sums = _squares()
_add_64, _add_16, _add_12 = _block(4, 16), _block(1, 16), _block(3, 4)
_add_4, _add_1 = _block(1, 4), _block(1, 1)


@kernel
def square_sums(x, mean, precision):  # type: ignore[no-untyped-def]
    """Return four sums of (x - mean)² · precision, as for features 0, 4, 8, ...; the last `len(x) % 4` are left out."""
    return _square_sums(x, mean, precision)


@kernel
def add_rows(out, at, n_out, rows, start, step, amounts, first, stride, chosen, n):  # type: ignore[no-untyped-def]
    """Add chosen rows, each multiplied by its amount, in order. All entries are indices into the flattened arrays.

    Parameters
    ----------
    out
        float32; the sums are added to entries `at` to `at + n_out`.
    at, n_out
        int64.
    rows, start, step
        float32 and int64: row k begins at entry `start + k * step`.
    amounts, first, stride
        float32 and int64: the amount of row k is entry `first + k * stride`.
    chosen
        Indices of the rows, int64, shape (at least n,).
    n
        Number of rows.
    """
    j = 0
    while j + 64 <= n_out:
        _add_64(out, at + j, rows, start + j, step, amounts, first, stride, chosen, n)
        j += 64
    while j + 16 <= n_out:
        _add_16(out, at + j, rows, start + j, step, amounts, first, stride, chosen, n)
        j += 16
    while j + 12 <= n_out:
        _add_12(out, at + j, rows, start + j, step, amounts, first, stride, chosen, n)
        j += 12
    while j + 4 <= n_out:
        _add_4(out, at + j, rows, start + j, step, amounts, first, stride, chosen, n)
        j += 4
    while j < n_out:
        _add_1(out, at + j, rows, start + j, step, amounts, first, stride, chosen, n)
        j += 1


@kernel
def active(amounts, chosen):  # type: ignore[no-untyped-def]
    """Write the indices of nonzero amounts to `chosen`, int64, shape (> len(amounts),), and return their number."""
    n = 0
    for k in range(amounts.shape[0]):  # no branch, because a processor could not predict it
        chosen[n] = k
        n += int(amounts[k] != 0.0)
    return n
