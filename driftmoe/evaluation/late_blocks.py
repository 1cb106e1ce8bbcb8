"""Run a model over blocks of samples whose labels come late or never, that have weights, or need probabilities.

A model that learns blocks in order takes each sample twice: with weight 0 where it arrives, which only predicts, and
with its own weight where its label comes, if it does. It then gives what it gives sample by sample, in a few calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from driftmoe.evaluation.checks import has_learnt, takes_weight
from driftmoe.evaluation.clock import TimeDelay
from driftmoe.evaluation.delays import Delay, Row, Waiting, Weight, delay_of, labels_rng, weight_of
from driftmoe.evaluation.loops import Answers, one_by_one

NEVER = -1
"""Delay of a label that never comes."""

FAR = 2**62
"""Longest delay that is told from others."""


class Arrivals(NamedTuple):
    """Samples of a block, with the delay and the weight of each.

    Attributes
    ----------
    X, y
        Features and indices of classes, as in blocks of `streams`.
    delays
        Delay of each sample, at most `FAR`, or `NEVER`; int64, shape (n_samples,).
    weights
        Weight of each sample; `None` if each counts 1.
    """

    X: np.ndarray
    y: np.ndarray
    delays: np.ndarray
    weights: np.ndarray | None

    def part(self, first: int, last: int) -> Arrivals:
        """Return some of the samples."""
        weights = None if self.weights is None else self.weights[first:last]
        return Arrivals(self.X[first:last], self.y[first:last], self.delays[first:last], weights)


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

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    asked: np.ndarray
    n_warm_up: int


class WaitingRows(NamedTuple):
    """Samples of blocks that have arrived and wait for their labels, in the order in which they came.

    It is the `Waiting` of samples in arrays. `having` may be called once: what it returns has the same `X`.

    Attributes
    ----------
    warm_start
        Number of first samples whose labels come at once.
    n_arrived, n_learnt
        Number of samples that have arrived, and of those whose label has come.
    when, i, y, weights
        For each sample the number of the sample after which its label is learnt, its own number, the index of its
        class, and its weight; shape (n_waiting,).
    place
        Row of each in `X`.
    X
        Features, shape (n_places, n_features), with rows of samples that wait no longer, and room for others.
    n_used
        Number of rows of `X` that were given away.
    """

    warm_start: int
    n_arrived: int = 0
    n_learnt: int = 0
    when: np.ndarray = np.empty(0, np.int64)
    i: np.ndarray = np.empty(0, np.int64)
    y: np.ndarray = np.empty(0, np.int64)
    weights: np.ndarray = np.empty(0)
    place: np.ndarray = np.empty(0, np.int64)
    X: np.ndarray = np.empty((0, 0))
    n_used: int = 0

    def one_by_one(self, as_sample: Callable[[Row], Row], *, has_weights: bool) -> Waiting:
        """Return the same samples as those of single calls wait, each of them changed."""
        waiting = Waiting(self.warm_start)
        waiting.n_arrived, waiting.n_learnt = self.n_arrived, self.n_learnt
        columns = (self.when.tolist(), self.i.tolist(), self.y.tolist(), self.weights.tolist(), self.place)
        for when, i, y, weight, place in zip(*columns, strict=True):
            row = Row(self.X[place], y, when - i, weight if has_weights else None)
            waiting.add(when, i, as_sample(row))
        return waiting

    def having(
        self, kept: np.ndarray, part: Arrivals, numbers: np.ndarray, new: np.ndarray, n_due: int
    ) -> WaitingRows:
        """Return what waits after a part has arrived and some labels have come.

        Parameters
        ----------
        kept
            Those of the samples here that wait on; indices.
        part
            What has arrived.
        numbers
            The sample after which the label of each of the part is learnt.
        new
            Those of the part that wait; indices.
        n_due
            Number of labels that have come.
        """
        place, X, n_used = self.place[kept], self.X, self.n_used
        if n_used + len(new) > len(X):  # those that wait move to an array with as much room again
            X = np.empty((2 * (len(place) + len(new)), part.X.shape[1]), part.X.dtype)
            if len(place):
                X[: len(place)] = self.X[place]
            place, n_used = np.arange(len(place)), len(place)
        if len(new):
            X[n_used : n_used + len(new)] = part.X[new]
        weights = np.ones(len(new)) if part.weights is None else part.weights[new]
        return WaitingRows(
            self.warm_start,
            self.n_arrived + len(part.y),
            self.n_learnt + n_due,
            np.concatenate((self.when[kept], numbers[new])),
            np.concatenate((self.i[kept], self.n_arrived + new)),
            np.concatenate((self.y[kept], part.y[new])),
            np.concatenate((self.weights[kept], weights)),
            np.concatenate((place, np.arange(n_used, n_used + len(new)))),
            X,
            n_used + len(new),
        )


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
    never = rng.random(len(block.y)) >= label_share
    return block._replace(delays=np.where(never, NEVER, block.delays))


def _with_all_labels(
    stream: Any, size: int, delay: Delay, weight: Weight | None, seed: int | None
) -> Iterator[Arrivals]:
    """Yield what `arrivals_of` does where every label comes."""
    rng = np.random.default_rng(seed)
    reads_samples = isinstance(delay, str) or (callable(delay) and not isinstance(delay, TimeDelay))
    by_clock = delay.of(stream) if isinstance(delay, TimeDelay) else None
    n_before = 0
    for X, y in stream.blocks(size):
        late: Any = None
        if by_clock is not None:
            late = by_clock[n_before : n_before + len(y)]
        elif isinstance(delay, tuple):
            # Drawn at once, they are the same as one by one.
            late = (
                None
                if weight is not None
                else np.minimum(rng.integers(*delay, size=len(y), endpoint=True), FAR)
            )
        elif not reads_samples:
            late = np.full(len(y), min(delay_of({}, None, delay, rng), FAR))
        n_before += len(y)
        if late is not None and weight is None:
            yield Arrivals(X.copy(), y.copy(), late, None)
            continue
        delays: list[int] = []
        weights: list[float] = []
        try:
            for j, (x, label) in enumerate(stream.samples(X, y)):
                n_late = delay_of(x, label, delay, rng) if late is None else int(late[j])
                if weight is not None:
                    weights.append(weight_of(x, label, weight))
                delays.append(min(n_late, FAR))
        finally:  # the error goes on when these have been evaluated
            if n := len(delays):
                of_each = None if weight is None else np.array(weights[:n])
                yield Arrivals(X[:n].copy(), y[:n].copy(), np.array(delays), of_each)


def in_late_blocks(
    stream: Any,
    model: Any,
    step: int,
    warm_start: int,
    arrivals: Iterable[Arrivals],
    waiting: WaitingRows,
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
        before = waiting
        run, waiting = run_of(part, before, learns_weights)
        # In rows, as blocks of streams are: kernels are compiled for that, before time is measured.
        X = run.X if len(columns) == len(stream.features) else np.ascontiguousarray(run.X[:, columns])
        y, weights = run.y, run.weights
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
            passed = before.one_by_one(as_sample, has_weights=part.weights is not None)
            yield from one_by_one(
                map(as_sample, _rows_of(part)), model, warm_start, reads_proba, passed=passed
            )
            continue
        seconds, cpu_seconds = clock() - start, cpu_clock() - cpu_start
        asked = run.asked.tolist()
        yield Answers(
            list(map(stream.classes.__getitem__, part.y.tolist())),
            list(map(labels.__getitem__, asked)),
            seconds,
            cpu_seconds,
            None if part.weights is None else part.weights.tolist(),
            None if proba is None else list(map(proba.__getitem__, asked)),
            run.n_warm_up,
        )


def run_of(part: Arrivals, waiting: WaitingRows, learns_weights: bool) -> tuple[Run, WaitingRows]:
    """Return what a model does with samples that arrive now, and what waits for its label afterwards."""
    n, first = len(part.y), waiting.n_arrived
    numbers = np.arange(first, first + n)
    is_warm = numbers < waiting.warm_start
    comes = is_warm | (part.delays != NEVER)
    when = numbers + np.where(is_warm, 0, part.delays)
    # The labels that come now, older samples first: those that waited came before those of the part.
    is_due, is_due_now = waiting.when < first + n, comes & (when < first + n)
    old, new = np.flatnonzero(is_due), np.flatnonzero(is_due_now)
    times = np.concatenate((waiting.when[old], when[new])) - first
    sources = np.concatenate((np.full(len(old), NEVER), new))
    order = np.argsort(times, kind="stable")
    times, sources = times[order], sources[order]
    # A sample that is learnt before all others when it arrives is predicted and learnt in one row.
    is_first = np.ones(len(times), np.bool_)
    is_first[1:] = times[1:] != times[:-1]
    is_own = is_first & (sources == times)
    later = np.flatnonzero(~is_own)
    asked = np.arange(n) + np.searchsorted(times[later], np.arange(n))
    learnt = np.empty(len(times), np.int64)
    learnt[later] = times[later] + 1 + np.arange(len(later))
    learnt[is_own] = asked[times[is_own]]
    n_rows = n + len(later)
    X, y = np.empty((n_rows, part.X.shape[1]), part.X.dtype), np.empty(n_rows, np.int64)
    weights = np.zeros(n_rows)
    X[asked], y[asked] = part.X, part.y
    rows = np.empty(len(times), np.int64)  # those of the samples that waited, then those of the part
    rows[order] = learnt
    of_old, of_new = rows[: len(old)], rows[len(old) :]
    if len(old):
        X[of_old], y[of_old] = waiting.X[waiting.place[old]], waiting.y[old]
    X[of_new], y[of_new] = part.X[new], part.y[new]
    weights[rows] = 1.0
    if learns_weights and part.weights is not None:
        weights[of_old], weights[of_new] = waiting.weights[old], part.weights[new]
    n_warm_up = 0 if waiting.n_learnt else n if not len(times) else int(times[0]) + 1
    kept, waits = np.flatnonzero(~is_due), np.flatnonzero(comes & ~is_due_now)
    return Run(X, y, weights, asked, n_warm_up), waiting.having(kept, part, when, waits, len(times))


def _rows_of(part: Arrivals) -> Iterator[Row]:
    weights = [None] * len(part.y) if part.weights is None else part.weights.tolist()
    for x, y, delay, weight in zip(part.X, part.y.tolist(), part.delays.tolist(), weights, strict=True):
        yield Row(x, y, None if delay == NEVER else delay, weight)


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
