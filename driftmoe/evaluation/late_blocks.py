"""Run a model over blocks of samples whose labels come late or never, that have weights, or need probabilities.

A model that learns blocks in order takes each sample twice: with weight 0 where it arrives, which only predicts, and
with its own weight where its label comes, if it does. It then gives what it gives sample by sample, in a few calls.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from driftmoe.evaluation.checks import has_learnt, takes_weight
from driftmoe.evaluation.clock import TimeDelay
from driftmoe.evaluation.delays import Delay, Row, Waiting, Weight, delay_of, labels_rng, weight_of
from driftmoe.evaluation.loops import Answers, one_by_one


class Arrivals(NamedTuple):
    """Samples of a block, with the delay and the weight of each.

    Attributes
    ----------
    X, y
        Features and indices of classes, as in blocks of `streams`.
    timing
        Delay and weight of each sample; the delay is `None` if its label never comes, the weight if each counts 1.
    """

    X: np.ndarray
    y: np.ndarray
    timing: list[tuple[int | None, float | None]]

    def part(self, first: int, last: int) -> Arrivals:
        """Return some of the samples."""
        return Arrivals(self.X[first:last], self.y[first:last], self.timing[first:last])


class Run(NamedTuple):
    """What a model does with some samples that arrive, in order.

    Attributes
    ----------
    X, y, weights
        Rows for `step_many`; one of weight 0 is only predicted.
    asked
        The row in which each of the samples is predicted.
    n_warm_up
        Number of samples, the first ones, that are predicted before any label has come.
    """

    X: list[np.ndarray]
    y: list[int]
    weights: list[float]
    asked: list[int]
    n_warm_up: int


def takes_late_blocks(stream: Any, model: Any, *, reads_proba: bool) -> bool:
    """Whether a stream has blocks, and a model takes those in which some rows are only predicted."""
    step = getattr(model, "step_proba_many" if reads_proba else "step_many", None)
    return hasattr(stream, "blocks") and step is not None and "w" in signature(step).parameters


def arrivals_of(
    stream: Any, size: int, delay: Delay, weight: Weight | None, seed: int | None, label_share: float = 1.0
) -> Iterator[Arrivals]:
    """Yield the samples of a stream, `size` at a time, with their delays and weights.

    If one of these is refused, the samples before it are yielded first.
    """
    blocks = _with_all_labels(stream, size, delay, weight, seed)
    if label_share == 1.0:
        return blocks
    rng = labels_rng(seed)
    return (_with_some_labels(block, label_share, rng) for block in blocks)


def _with_some_labels(block: Arrivals, label_share: float, rng: np.random.Generator) -> Arrivals:
    """Return a block in which only a share of the labels comes, drawn as if one by one."""
    never = (rng.random(len(block.y)) >= label_share).tolist()
    timing = [
        (None if is_never else late, w) for is_never, (late, w) in zip(never, block.timing, strict=True)
    ]
    return block._replace(timing=timing)


def _with_all_labels(
    stream: Any, size: int, delay: Delay, weight: Weight | None, seed: int | None
) -> Iterator[Arrivals]:
    """Yield what `arrivals_of` does where every label comes."""
    rng = np.random.default_rng(seed)
    reads_samples = isinstance(delay, str) or callable(delay) or weight is not None
    by_clock = iter(delay.of(stream).tolist()) if isinstance(delay, TimeDelay) else None
    for X, y in stream.blocks(size):
        timing: list[tuple[int | None, float | None]] = []
        if by_clock is not None and weight is None:
            yield Arrivals(
                X.copy(), y.copy(), [(n_late, None) for n_late in itertools.islice(by_clock, len(y))]
            )
            continue
        if not reads_samples:
            late = (
                _drawn(delay, len(y), rng)
                if isinstance(delay, tuple)
                else [delay_of({}, None, delay, rng)] * len(y)
            )
            yield Arrivals(X.copy(), y.copy(), [(n_late, None) for n_late in late])
            continue
        try:
            for x, label in stream.samples(X, y):
                n_late = delay_of(x, label, delay, rng) if by_clock is None else next(by_clock)
                timing.append((n_late, None if weight is None else weight_of(x, label, weight)))
        finally:  # the error goes on when these have been evaluated
            if timing:
                yield Arrivals(X[: len(timing)].copy(), y[: len(timing)].copy(), timing)


def _drawn(between: tuple[int, int], n: int, rng: np.random.Generator) -> list[int]:
    """Return random delays, the same as if they were drawn one by one."""
    delays: list[int] = rng.integers(*between, size=n, endpoint=True).tolist()
    return delays


def in_late_blocks(
    stream: Any,
    model: Any,
    step: int,
    warm_start: int,
    arrivals: Iterable[Arrivals],
    waiting: Waiting,
    hidden: frozenset[str],
    *,
    reads_proba: bool,
) -> Iterator[Answers]:
    """Predict samples when they arrive and learn them when their labels do, in blocks that are cut where steps end.

    `waiting` holds what has arrived before. The model does not see the features in `hidden`.
    """
    columns = [i for i, feature in enumerate(stream.features) if feature.name not in hidden]
    legend: dict[str, Any] = {
        "names": [stream.features[i].name for i in columns],
        "values": [stream.features[i].values for i in columns],
    }
    learns_weights = takes_weight(model)
    step_rows = model.step_proba_many if reads_proba else model.step_many
    if "awaits" in signature(step_rows).parameters:  # the labels of rows of weight 0 come later
        legend["awaits"] = True
    clock, cpu_clock = time.perf_counter, time.process_time

    def as_sample(row: Row) -> Row:
        [(x, y)] = stream.samples(row.x[np.newaxis], np.array([row.y]))
        return row._replace(x={name: value for name, value in x.items() if name not in hidden}, y=y)

    for part in _cut(arrivals, step, warm_start, waiting.n_arrived):
        before = waiting.copied(lambda row: row)
        run = run_of(part, waiting, learns_weights)
        # In rows, as blocks of streams are: kernels are compiled for that, before time is measured.
        X = np.ascontiguousarray(np.array(run.X)[:, columns])
        y, weights = np.array(run.y), np.array(run.weights)
        proba: list[Any] | None = None
        cpu_start, start = cpu_clock(), clock()
        try:
            if reads_proba:
                labels, proba = model.step_proba_many(X, y, classes=stream.classes, w=weights, **legend)
            else:
                labels = model.step_many(X, y, classes=stream.classes, w=weights, **legend)
        # A row cannot be read, and no row of the part has been learned. The rows before it can be, one by one.
        except (TypeError, ValueError) as error:
            if has_learnt(error):
                raise
            rows = map(as_sample, _rows_of(part))
            yield from one_by_one(rows, model, warm_start, reads_proba, passed=before.copied(as_sample))
            continue
        seconds, cpu_seconds = clock() - start, cpu_clock() - cpu_start
        yield Answers(
            [stream.classes[t] for t in part.y.tolist()],
            [labels[row] for row in run.asked],
            seconds,
            cpu_seconds,
            None if part.timing[0][1] is None else [w for _, w in part.timing if w is not None],
            None if proba is None else [proba[row] for row in run.asked],
            run.n_warm_up,
        )


def run_of(part: Arrivals, waiting: Waiting, learns_weights: bool) -> Run:
    """Return what a model does with samples that arrive now, and let them wait for their labels."""
    X: list[np.ndarray] = []
    y: list[int] = []
    weights: list[float] = []
    asked: list[int] = []
    n_warm_up = 0
    for row in _rows_of(part):
        n_warm_up += waiting.n_learnt == 0
        waiting.arrive(row)
        asked.append(len(X))
        X.append(row.x)
        y.append(row.y)
        weights.append(0.0)
        for due in waiting.due():
            weight = 1.0 if due.weight is None or not learns_weights else due.weight
            if due is row and asked[-1] == len(X) - 1:  # nothing is learnt before it
                weights[-1] = weight
            else:
                X.append(due.x)
                y.append(due.y)
                weights.append(weight)
    return Run(X, y, weights, asked, n_warm_up)


def _rows_of(part: Arrivals) -> Iterator[Row]:
    for x, y, (delay, weight) in zip(part.X, part.y.tolist(), part.timing, strict=True):
        yield Row(x, y, delay, weight)


def _cut(arrivals: Iterable[Arrivals], step: int, warm_start: int, n_arrived: int) -> Iterator[Arrivals]:
    """Yield the samples in parts that end where a step or the warm start ends. `n_arrived` came before them."""
    for block in arrivals:
        first = 0
        while first < len(block.y):
            last = min(first + step - n_arrived % step, len(block.y))
            if n_arrived < warm_start:
                last = min(last, first + warm_start - n_arrived)
            yield block.part(first, last)
            n_arrived += last - first
            first = last
