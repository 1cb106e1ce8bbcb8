"""Go on with an evaluation that was stopped: pass over the samples that it has seen, without a model."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from driftmoe.evaluation.delays import Row, Waiting
from driftmoe.evaluation.late_blocks import Arrivals, WaitingRows, run_of
from driftmoe.state import State, check_names

ADDED = {"label_share": 1.0}
"""Argument that states of older versions do not name -> what they were kept with."""

ENTRIES = ("protocol", "tally")
"""Entries of an evaluation's state: its arguments, and what it has counted."""


def check_protocol(state: State, protocol: Mapping[str, Any]) -> None:
    """Raise ValueError unless a state comes from an evaluation with these arguments."""
    check_names(state, ENTRIES, "an evaluation")
    always = [name for name in protocol if name not in ADDED]
    check_names(state["protocol"], always, "the protocol of an evaluation", optional=ADDED)
    kept = ADDED | state["protocol"]
    for name, value in protocol.items():
        if (before := kept[name]) != value:
            raise ValueError(
                f"resume_from was kept with {name}={before!r}, but {name}={value!r} is given; give the same arguments, "
                "or begin anew without resume_from"
            )


def blocks_after(
    stream: Any, size: int, n_passed: int, labels: Counter[Hashable], n_left_out: int
) -> Iterator[Any]:
    """Return the blocks of a stream after its first samples, whose labels are counted in `labels`.

    Parameters
    ----------
    stream
        A stream with blocks.
    size
        Number of samples in a block.
    n_passed
        Number of samples to pass over.
    labels
        Label -> number; added to.
    n_left_out
        Number of first samples whose labels are not counted.

    Raises
    ------
    ValueError
        If the stream has fewer samples.
    """
    blocks, n = iter(stream.blocks(size)), 0
    while n < n_passed:
        block = next(blocks, None)
        if block is None:
            raise _too_short(n, n_passed)
        n_here = min(len(block.y), n_passed - n)
        labels.update(stream.classes[t] for t in block.y[max(n_left_out - n, 0) : n_here].tolist())
        n += n_here
        if n_here < len(block.y):
            return itertools.chain([block._replace(X=block.X[n_here:], y=block.y[n_here:])], blocks)
    return blocks


def arrivals_after(
    arrivals: Iterator[Arrivals],
    n_passed: int,
    labels: Counter[Hashable],
    n_left_out: int,
    warm_start: int,
    classes: Sequence[Hashable],
) -> tuple[WaitingRows, Iterator[Arrivals]]:
    """Let the first samples of blocks arrive. Return those that wait for their labels, and the blocks that are left.

    See `blocks_after`. Labels are indices into `classes`.
    """
    waiting = WaitingRows(warm_start)
    while waiting.n_arrived < n_passed:
        block = next(arrivals, None)
        if block is None:
            raise _too_short(waiting.n_arrived, n_passed)
        n_here = min(len(block.y), n_passed - waiting.n_arrived)
        labels.update(classes[t] for t in block.y[max(n_left_out - waiting.n_arrived, 0) : n_here].tolist())
        _, waiting = run_of(block.part(0, n_here), waiting, learns_weights=False)
        if n_here < len(block.y):
            return waiting, itertools.chain([block.part(n_here, len(block.y))], arrivals)
    return waiting, arrivals


def rows_after(
    rows: Iterator[Row], n_passed: int, labels: Counter[Hashable], n_left_out: int, warm_start: int
) -> Waiting:
    """Let the first rows arrive, and return those that still wait for their labels; see `blocks_after`."""
    waiting = Waiting(warm_start)
    for row in itertools.islice(rows, n_passed):
        if waiting.n_arrived >= n_left_out:
            labels[row.y] += 1
        waiting.arrive(row)
        for _ in waiting.due():
            pass
    if waiting.n_arrived < n_passed:
        raise _too_short(waiting.n_arrived, n_passed)
    return waiting


def check_labels(passed: Mapping[Hashable, float], counted: Mapping[Hashable, float]) -> None:
    """Raise ValueError if the samples that were passed over are not those that the evaluation has counted."""
    if passed == counted:
        return
    label = next(label for label in [*counted, *passed] if passed.get(label, 0) != counted.get(label, 0))
    raise ValueError(
        f"the stream is not the one that resume_from has seen: among the same samples label {label!r} came "
        f"{passed.get(label, 0):,.0f} times, not {counted.get(label, 0):,.0f}; give the same stream, from its first "
        "sample on"
    )


def check_ends(events: Iterable[Any], n_samples: int) -> None:
    """Raise ValueError if a stream goes on after the sample at which the evaluation had found its end."""
    for _ in events:
        raise ValueError(
            f"resume_from had reached the end of its stream after {n_samples:,} samples, but this stream goes on; "
            "evaluate the whole stream anew"
        )


def _too_short(n_samples: int, n_passed: int) -> ValueError:
    return ValueError(
        f"the stream has {n_samples:,} samples, but resume_from has seen {n_passed:,}; give the same stream, from its "
        "first sample on"
    )
