"""Run a model over the samples, one by one or in blocks.

A model that tests and trains itself, such as those of `driftmoe.moa`, follows the protocol `OwnLoop`.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from driftmoe.evaluation.checks import has_learnt, takes_weight
from driftmoe.evaluation.delays import Row, Waiting, with_delays_and_weights

BLOCK_SIZE = 256
"""Samples that a model which takes blocks gets at once, if it does not name another size."""


class Answers(NamedTuple):
    """The predictions of a model on some samples.

    Attributes
    ----------
    y_true, y_pred
        Labels and predictions.
    seconds, cpu_seconds
        Time in the model: wall clock, and summed over all processor cores.
    weights
        Weights of the samples; `None` if each counts 1.
    proba
        Class probabilities of each sample if a metric reads them.
    n_warm_up
        Number of first samples that were predicted before any label had come.

    Examples
    --------
    >>> from driftmoe.evaluation import Answers
    >>> Answers(["a", "b"], ["a", None], seconds=0.0, cpu_seconds=0.0).y_pred
    ['a', None]
    """

    y_true: Sequence[Hashable]
    y_pred: Sequence[Hashable]
    seconds: float
    cpu_seconds: float
    weights: Sequence[float] | None = None
    proba: Sequence[Mapping[Any, float] | None] | None = None
    n_warm_up: int = 0


class OwnLoop(Protocol):
    """A model that tests and trains itself, as MOA's learners do in Java; see `driftmoe.moa`.

    Examples
    --------
    >>> from driftmoe.evaluation import Answers, prequential
    >>> class AlwaysSpam:
    ...     def test_then_train(self, stream, size):
    ...         y_true = [y for _, y in stream]
    ...         yield Answers(y_true, ["spam"] * len(y_true), seconds=0.1, cpu_seconds=0.1)
    >>> import streams
    >>> (checkpoint,) = prequential(streams.make("sea", n_samples=100), AlwaysSpam(), window=100)
    >>> checkpoint.cumulative["accuracy"], checkpoint.seconds
    (0.0, 0.1)
    """

    def test_then_train(self, stream: Any, size: int) -> Iterator[Answers]:
        """Test, then train, on all samples of a stream. Yield the answers, `size` samples at a time."""


def first_is_warm_up(events: Iterator[Answers]) -> Iterator[Answers]:
    """Mark the first sample as warm-up: it is predicted before any label has come, all others after."""
    for n_before, event in enumerate(events):
        yield event if n_before else event._replace(n_warm_up=1)


def one_by_one(
    rows: Iterable[Row],
    model: Any,
    warm_start: int,
    reads_proba: bool,
    *,
    knows_a_class: bool = False,
    passed: Waiting | None = None,
) -> Iterator[Answers]:
    """Predict each sample when it arrives, and learn it when its label does. `passed` holds what waits already.

    A model that has `arrive_one`, as `DriftMoEClassifier` has, is told of samples whose label does not come at once.
    """
    waiting = Waiting(warm_start) if passed is None else passed
    knows_a_class = knows_a_class or waiting.n_learnt > 0
    learns_weights, arrive = takes_weight(model), getattr(model, "arrive_one", None)
    clock, cpu_clock = time.perf_counter, time.process_time
    for row in rows:
        is_warm = waiting.n_arrived >= warm_start
        row = waiting.arrive(row)
        cpu_start, start = cpu_clock(), clock()
        y_pred, proba = None, None
        if is_warm and arrive is not None and not waiting.is_next(row):
            proba = arrive(row.x)
            y_pred = model.decide_one(proba)
        elif is_warm:
            y_pred = model.predict_one(row.x)
            proba = model.predict_proba_one(row.x) if reads_proba else None
        n_warm_up = int(not knows_a_class)
        for due in waiting.due():
            if due.weight is not None and learns_weights:
                model.learn_one(due.x, due.y, w=due.weight)
            else:
                model.learn_one(due.x, due.y)
            knows_a_class = True
        seconds, cpu_seconds = clock() - start, cpu_clock() - cpu_start
        weights = None if row.weight is None else (row.weight,)
        yield Answers((row.y,), (y_pred,), seconds, cpu_seconds, weights, (proba,), n_warm_up)


def in_blocks(
    stream: Any,
    model: Any,
    step: int,
    warm_start: int,
    *,
    blocks: Iterable[Any] | None = None,
    n_passed: int = 0,
) -> Iterator[Answers]:
    """Give the model blocks of samples, cut where steps end.

    They are those of the stream, or `blocks`, which come after its first `n_passed` samples.
    """
    names = [feature.name for feature in stream.features]
    values = [feature.values for feature in stream.features]  # the lists may grow while a file is read
    clock, cpu_clock = time.perf_counter, time.process_time
    n_samples = n_passed
    for block in stream.blocks(size_of_blocks(model)) if blocks is None else blocks:
        first = 0
        while first < len(block.y):
            last = min(first + step - n_samples % step, len(block.y))
            if n_samples < warm_start:
                last = min(last, first + warm_start - n_samples)
            X, y = block.X[first:last], block.y[first:last]
            cpu_start, start = cpu_clock(), clock()
            try:
                y_pred = model.step_many(X, y, names=names, values=values, classes=stream.classes)
            # A row cannot be read, and no row of the block has been learned. The rows before it can be, one by one.
            except (TypeError, ValueError) as error:
                if has_learnt(error):
                    raise
                rows = with_delays_and_weights(stream.samples(X, y), 0, None, None)
                yield from one_by_one(rows, model, warm_start - n_samples, False, knows_a_class=True)
            else:
                seconds, cpu_seconds = clock() - start, cpu_clock() - cpu_start
                y_true = list(map(stream.classes.__getitem__, y.tolist()))
                yield Answers(y_true, y_pred, seconds, cpu_seconds)
            n_samples += last - first
            first = last


def size_of_blocks(model: Any) -> int:
    """Return the number of samples that a model gets at once."""
    return int(getattr(model, "block_size", BLOCK_SIZE))


def predict_sample(model: Any, x: Mapping[Any, Any], y: Hashable, reads_proba: bool) -> Answers:
    """Return the prediction of one sample, with probabilities if `reads_proba`."""
    cpu_start, start = time.process_time(), time.perf_counter()
    y_pred = model.predict_one(x)
    proba = model.predict_proba_one(x) if reads_proba else None
    return Answers(
        (y,), (y_pred,), time.perf_counter() - start, time.process_time() - cpu_start, None, (proba,)
    )


def learn_sample(model: Any, x: Mapping[Any, Any], y: Hashable, times: int = 1) -> Answers:
    """Let a model learn a sample this many times, and return the time it took, with `None` for a prediction."""
    cpu_start, start = time.process_time(), time.perf_counter()
    for _ in range(times):
        model.learn_one(x, y)
    return Answers((y,), (None,), time.perf_counter() - start, time.process_time() - cpu_start)
