"""Prequential evaluation: each sample is predicted first and learnt after, and every sample counts.

`prequential` is the protocol of the field, with delayed labels, warm start, sample weights, and a past that slides or
fades. `holdout` tests at intervals on samples that are not learnt. `cross_validate` does what cross-validation does,
in one pass over the stream. All three yield checkpoints.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import numbers
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from river import base, compose
from river.active.base import ActiveLearningClassifier
from river.metrics import MCC, CrossEntropy, LogLoss, RollingPRAUC, RollingROCAUC
from river.metrics.base import BinaryMetric, Metric, WrapperMetric
from river.metrics.base import Metrics as Several

from driftmoe.metrics import Fading, RamHours, Scores, pass_over, without_none

if TYPE_CHECKING:
    from driftmoe.telemetry import RoutingReport

FAILURES = Exception
"""What a stream or a model may raise half way; what had been measured until then is not lost.

Models and streams are anybody's, and libraries have errors of their own classes, so no list of classes would do. It is
never swallowed: `prequential` lets it go on, a grid keeps it with its traceback, and so does `driftmoe evaluate`.
"""

BLOCK_SIZE = 256
"""Samples that a model which takes blocks gets at once, where it does not name another size."""

MEASURING_SHARE = 0.02
"""Time for measuring memory, as a share of the time in the model."""

Delay = int | tuple[int, int] | str | Callable[[Any, Any], int]
Weight = str | Callable[[Any, Any], float]
Metrics = Metric | Sequence[Metric] | Mapping[str, Metric]


@dataclass(frozen=True)
class Checkpoint:
    """What had been measured when a step was full, or when the stream ended.

    Attributes
    ----------
    n_samples
        Samples of the stream so far.
    cumulative
        Figures over all samples so far that count, as shares: accuracy, kappa, kappa_m, kappa_t, f1_macro, g_mean, and
        those of the metrics asked for; NaN where none counts yet.
    window
        The same over the recent past: the last window, or all with older samples counting less.
    seconds
        Time spent in the model so far: predicting and learning, without making samples or counting hits.
    window_seconds
        The same since the last checkpoint.
    cpu_seconds
        Time of all processor cores spent in the model so far.
    model_bytes
        Memory of the model when it was last measured; see `prequential`.
    ram_hours
        Memory times `seconds` so far, in GB·h.
    predictions
        (true label, prediction) of each sample since the last checkpoint, those of the warm-up too, where asked for;
        else empty.
    routing
        What the routing of the model did on the samples that it learnt, over the same window and from the start of the
        run; `None` of a model that has no `routing_report`.
    n_warm_up
        Samples so far that were predicted before any label had come, so that no model could know a class.
    n_counted
        Samples so far that count in `cumulative`: those that were predicted, less the warm-up unless it is to count.
    n_window_counted
        Samples that count in `window`.
    """

    n_samples: int
    cumulative: dict[str, float]
    window: dict[str, float]
    seconds: float
    window_seconds: float
    cpu_seconds: float = 0.0
    model_bytes: int = 0
    ram_hours: float = 0.0
    predictions: tuple[tuple[Hashable, Hashable], ...] = ()
    routing: RoutingReport | None = None
    n_warm_up: int = 0
    n_counted: int = 0
    n_window_counted: int = 0


def prequential(
    stream: Iterable[tuple[Mapping[Any, Any], Hashable]],
    model: base.Classifier | OwnLoop,
    *,
    metrics: Metrics | None = None,
    window: int = 1000,
    step: int | None = None,
    fading: float | None = None,
    delay: Delay | None = None,
    weight: Weight | None = None,
    warm_start: int = 0,
    count_warm_up: bool = False,
    keep_predictions: bool = False,
    seed: int | None = None,
) -> Iterator[Checkpoint]:
    """Test, then train, on each sample in turn; yield a checkpoint for every step.

    A sample that is predicted before the first label has come, of which no model can know the class, does not count
    in the figures; without `delay` that is the very first one.

    Parameters
    ----------
    stream
        Samples in order, as `(x, y)`. A stream's `classes` decide between equally frequent labels in kappa-M.
    model
        Any river classifier. A sample of which it can say nothing (`predict_one` gives `None`) once a label has come
        counts as wrong, and its answer as no class; for a metric of probabilities an empty answer is the worst. Where
        the stream has `blocks` and the model `step_many`, as `DriftMoEClassifier` has, samples go in blocks, which is
        faster and gives the same predictions. One with `test_then_train`, as those of `driftmoe.moa` have, tests and
        trains itself on a stream.
    metrics
        River metrics to compute beside the standard figures, one, several or by name; the name is that of the class
        otherwise. One that reads probabilities makes the model give both label and probabilities, sample by sample.
        Each is also computed anew for every window, so that none that forgets by itself is needed; river's `Rolling`,
        which is no metric, is not taken. One of two classes reads labels as True and False; any other label can be
        the positive one, as in `F1(pos_val="yes")`.
    window
        Samples that a checkpoint's `window` looks back on.
    step
        Samples between two checkpoints; `window` by default. A smaller one makes the window slide.
    fading
        Factor in (0, 1) by which a sample counts less than the one after it: `window` then holds figures over all
        samples, faded. See `driftmoe.metrics.Fading`.
    delay
        Samples that arrive between a sample and its label; the sample is predicted when it arrives and learnt when
        its label does, after the sample that has just arrived has been predicted, older samples first. An integer, a
        pair `(low, high)` for a random one with equal chances, the name of a column of the stream that holds it (which
        the model does not get to see), or a function of `(x, y)`. A label that is due after the end is not learnt.
        With 1, a label is learnt after the next sample has been predicted: what river's `delay=2` does, whose 1 is 0
        here; river also learns what is left at the end. The baseline of kappa-temporal knows the label before at once,
        so that a model which repeats the last label it learnt is below 0.
    weight
        How much a sample counts, in the figures and, where `learn_one` of the model, or of the last step of a
        pipeline, has an argument `w`, in learning: the name of a column that holds it (which the model does not get to
        see), or a function of `(x, y)`. Many of river's models have none, its ensembles among them; these learn each
        sample once, and the weight counts in their figures alone.
    warm_start
        First samples that are learnt at once and not predicted; checkpoints begin after them.
    count_warm_up
        Whether samples count that are predicted before the first label has come, as wrong ones of most models. Of use
        for a model that has learnt before.
    keep_predictions
        Whether checkpoints carry the predictions.
    seed
        Of random delays.

    Yields
    ------
    checkpoint
        One per full step, and one at the end for the rest. Values of a window are of its own samples alone, except
        that the baseline of kappa-M is the majority of the last `window` labels and that of kappa-temporal the label
        before, as in MOA's windowed evaluator. When the run is interrupted, or the stream or the model raises, the
        samples since the last checkpoint come as one more before the exception goes on.

    Raises
    ------
    ValueError
        If `window` or `step` is below 1, or `step` does not divide `window`; if `fading` is out of range; if a delay is
        negative or a weight is not positive and finite; if a sample is none or has no label; if the model is no
        classifier; if a metric is none of classification, two have one name, or one of two classes does not know which
        label is the positive one; if a model that tests and trains itself is to do what it cannot; if the stream ends
        within `warm_start`, or before the first label has come.

    Notes
    -----
    The model's memory is measured at checkpoints, as long as measuring has taken no more than 2 % of the time in the
    model, because walking through a large ensemble of Python objects takes seconds.

    References
    ----------
    Gama, Sebastião, Rodrigues (2013). On evaluating stream learning algorithms. Machine Learning 90.

    Examples
    --------
    >>> from river import datasets, naive_bayes
    >>> from driftmoe.evaluation import prequential
    >>> for checkpoint in prequential(datasets.Phishing(), naive_bayes.GaussianNB(), window=500):
    ...     print(checkpoint.n_samples, round(checkpoint.cumulative["accuracy"], 3))
    500 0.858
    1000 0.881
    1250 0.885
    """
    step = window if step is None else step
    delay = delay or 0
    _check_stream(stream)
    _check_model(model)
    _check_delay(delay)
    if not (weight is None or isinstance(weight, str) or callable(weight)):
        raise ValueError(
            f"weight={weight!r}; give the name of a feature that holds it, or a function of sample and label"
        )
    _check_counts(window=window, step=step)
    if not isinstance(warm_start, numbers.Integral) or warm_start < 0:
        raise ValueError(f"warm_start={warm_start!r}; choose a whole number of samples, 0 or more")
    tally = _Tally(model, stream, metrics, window, step, fading, keep_predictions, count_warm_up)
    if weight is not None:
        tally.check_metrics_take_weights()
    is_plain = not (delay or weight or tally.reads_proba)
    if hasattr(model, "test_then_train"):
        if not is_plain or warm_start or not hasattr(stream, "blocks"):
            raise ValueError(
                f"{type(model).__name__} runs in a loop of its own, which knows neither delay, weight nor "
                "warm_start, gives no probabilities, and takes streams of `streams` only; leave these out, "
                "or choose another model"
            )
        events = _first_is_warm_up(model.test_then_train(stream, step))
    elif hasattr(stream, "blocks") and hasattr(model, "step_many") and is_plain:
        events = _first_is_warm_up(_in_blocks(stream, model, step, warm_start))
    else:
        rows = _with_delays_and_weights(stream, delay, weight, seed)
        events = _one_by_one(rows, model, warm_start, tally.reads_proba)
    try:
        for event in events:
            tally.add(event, is_counted=tally.n_samples >= warm_start)
            if tally.n_samples == warm_start:
                tally.begin()
            if tally.n_samples % step == 0 and tally.n_samples > warm_start:
                yield tally.checkpoint()
    except (KeyboardInterrupt, FAILURES):
        if tally.n_samples % step and tally.n_samples > warm_start:
            yield tally.checkpoint()
        raise
    if 0 < tally.n_samples <= warm_start:
        raise ValueError(
            f"warm_start={warm_start}, but the stream has {tally.n_samples} samples, so that none was predicted; "
            "choose a shorter warm start"
        )
    if tally.n_samples % step:
        yield tally.checkpoint()
    if tally.n_samples and not tally.n_counted:
        raise ValueError(
            f"all {tally.n_samples} samples were predicted before the first label came, so that no model could know a "
            "class; give a longer stream or a shorter delay, or let these samples count (count_warm_up=True, "
            "--count-warm-up)"
        )


def holdout(
    stream: Iterable[tuple[Mapping[Any, Any], Hashable]],
    model: base.Classifier,
    *,
    metrics: Metrics | None = None,
    every: int = 10_000,
    size: int = 1000,
    keep_predictions: bool = False,
) -> Iterator[Checkpoint]:
    """Learn `every` samples, then test on the next `size` without learning them, and so on.

    Parameters
    ----------
    stream, model, metrics, keep_predictions
        As in `prequential`.
    every
        Samples to learn before each test.
    size
        Samples of each test.

    Yields
    ------
    checkpoint
        One per test; `window` holds its figures and `cumulative` those of all tests so far. A test that the end of the
        stream cuts short counts too. The label before, for kappa-temporal, is that of the sample tested before, at the
        begin of a test the last one of the test before.

    Raises
    ------
    ValueError
        If `every` or `size` is below 1; if a sample is none or has no label; if the model is no classifier or runs in
        a loop of its own.

    References
    ----------
    Gama, Sebastião, Rodrigues (2013). On evaluating stream learning algorithms. Machine Learning 90, section 3.1.
    """
    _check_counts(every=every, size=size)
    _check_stream(stream)
    _check_learns_one_by_one(model)
    tally = _Tally(model, stream, metrics, size, size, None, keep_predictions)
    n_tested = 0
    for i, (x, y) in enumerate(_labelled(stream)):
        if i % (every + size) < every:
            tally.add(_learnt(model, x, y), is_counted=False)
            continue
        tally.add(_tested(model, x, y, tally.reads_proba))
        n_tested += 1
        if n_tested % size == 0:
            yield tally.checkpoint()
    if n_tested % size:
        yield tally.checkpoint()


def cross_validate(
    stream: Iterable[tuple[Mapping[Any, Any], Hashable]],
    models: Sequence[base.Classifier],
    *,
    method: Literal["cross-validation", "split", "bootstrap"] = "cross-validation",
    metrics: Metrics | None = None,
    window: int = 1000,
    count_warm_up: bool = False,
    seed: int | None = None,
) -> Iterator[tuple[Checkpoint, ...]]:
    """Run several copies of a model side by side, each tested and trained on its own share of the stream.

    The spread of their figures tells how sure a figure is, where `prequential` gives one number.

    Parameters
    ----------
    stream, metrics
        As in `prequential`.
    models
        The copies, one per fold, at least 2.
    method
        Who learns a sample and who is tested on it.

        - `"cross-validation"`: one, drawn at random, is tested; all others learn.
        - `"split"`: one, drawn at random, learns; all others are tested.
        - `"bootstrap"`: each draws from Poisson(1): it learns the sample that many times, or is tested on 0.
    window
        Samples of the stream between two checkpoints.
    count_warm_up
        Whether samples count on which a fold is tested before it has learnt any.
    seed
        Of the draws.

    Yields
    ------
    checkpoints
        One of each fold for every window, and at the end for the rest. Figures are over the samples on which the fold
        was tested, for which alone it has predictions; so the label before, for kappa-temporal, is that of the sample
        on which the fold was tested last.

    Raises
    ------
    ValueError
        If there are fewer than 2 models, or one is given twice, which would be tested on what it has learnt; if the
        method is unknown or `window` below 1; if a sample is none or has no label; if a model is no classifier or runs
        in a loop of its own.

    References
    ----------
    Bifet, de Francisci Morales, Read, Holmes, Pfahringer (2015). Efficient online evaluation of big data stream
    classifiers. KDD, section 3.1.

    Examples
    --------
    >>> from river import datasets, naive_bayes
    >>> from driftmoe.evaluation import cross_validate
    >>> *_, folds = cross_validate(datasets.Phishing(), [naive_bayes.GaussianNB() for _ in range(10)], seed=1)
    >>> sum(fold.cumulative["accuracy"] for fold in folds) / 10 > 0.85
    True
    """
    _check_stream(stream)
    if not isinstance(models, Sequence):
        raise ValueError(
            f"models={models!r:.80}; give a list of at least 2, one per fold, such as "
            "[model.clone() for _ in range(10)]"
        )
    if len(models) < 2:
        raise ValueError(f"{len(models)} models; give at least 2, one per fold")
    if len(set(map(id, models))) < len(models):
        raise ValueError(
            "a model is given for several folds, and would be tested on what it has learnt; give each fold one of its "
            "own, such as [model.clone() for _ in range(10)]"
        )
    _check_counts(window=window)
    for model in models:
        _check_learns_one_by_one(model)
    draws = {"cross-validation": _all_but_one, "split": _only_one, "bootstrap": _poisson}
    if method not in draws:
        raise ValueError(f"method={method!r}; choose one of {', '.join(map(repr, draws))}")
    metrics, rng = _by_name(metrics), np.random.default_rng(seed)
    tallies = [_Tally(model, stream, metrics, window, window, None, False, count_warm_up) for model in models]
    know_a_class = [False] * len(models)
    n_samples = 0
    for x, y in _labelled(stream):
        for fold, (tally, times) in enumerate(zip(tallies, draws[method](len(models), rng), strict=True)):
            if times == 0:
                tested = _tested(tally.model, x, y, tally.reads_proba)
                tally.add(tested._replace(n_warm_up=int(not know_a_class[fold])))
            else:
                tally.add(_learnt(tally.model, x, y, times), is_counted=False)
                know_a_class[fold] = True
        n_samples += 1
        if n_samples % window == 0:
            yield tuple(tally.checkpoint() for tally in tallies)
    if n_samples % window:
        yield tuple(tally.checkpoint() for tally in tallies)


def _all_but_one(n: int, rng: np.random.Generator) -> list[int]:
    tested = int(rng.integers(n))
    return [int(fold != tested) for fold in range(n)]


def _only_one(n: int, rng: np.random.Generator) -> list[int]:
    learning = int(rng.integers(n))
    return [int(fold == learning) for fold in range(n)]


def _poisson(n: int, rng: np.random.Generator) -> list[int]:
    return rng.poisson(1.0, n).tolist()


class Answers(NamedTuple):
    """Samples that have been dealt with, and what the model said of them.

    Attributes
    ----------
    y_true, y_pred
        Labels and predictions.
    seconds, cpu_seconds
        Time in the model, and that of all processor cores.
    weights
        Of the samples; `None` where each counts 1.
    proba
        Probabilities of the one sample, where a metric reads them.
    n_warm_up
        How many of the samples, from the first on, were predicted before any label had come.
    """

    y_true: Sequence[Hashable]
    y_pred: Sequence[Hashable]
    seconds: float
    cpu_seconds: float
    weights: Sequence[float] | None = None
    proba: Mapping[Any, float] | None = None
    n_warm_up: int = 0


class OwnLoop(Protocol):
    """A model that tests and trains itself, as MOA's learners do in Java; see `driftmoe.moa`."""

    def test_then_train(self, stream: Any, size: int) -> Iterator[Answers]:
        """Test, then train, on all samples of a stream; yield the answers of `size` samples at a time."""


class _Row(NamedTuple):
    """One sample, with the number of samples after which its label comes, and its weight."""

    x: Mapping[Any, Any]
    y: Hashable
    delay: int
    weight: float | None


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name}={value!r}; choose a whole number of samples, at least 1")


def _check_stream(stream: Any) -> None:
    if isinstance(stream, str):
        raise ValueError(
            f"stream={stream!r} is text; give the stream itself, such as streams.make({stream!r})"
        )
    if not isinstance(stream, Iterable):
        raise ValueError(
            f"stream={stream!r:.80} of class {type(stream).__name__} has no samples; give pairs (x, y) in order, such "
            "as streams.make('electricity')"
        )


def _check_model(model: Any) -> None:
    """Refuse what is no classifier, and a class in place of a model made of it."""
    if isinstance(model, type):
        raise ValueError(f"{model.__name__} is a class; give a model of it, such as {model.__name__}()")
    if hasattr(model, "test_then_train"):
        return
    last, name = _last_step(model), type(model).__name__
    missing = [method for method in ("predict_one", "learn_one") if not callable(getattr(last, method, None))]
    if missing:
        raise ValueError(
            f"model={name if last is model else type(last).__name__} has no {' and no '.join(missing)}; give a "
            "classifier with river's methods, into which `river.compat.convert_sklearn_to_river` turns one of "
            "scikit-learn"
        )
    if isinstance(last, base.Base) and not isinstance(last, base.Classifier):
        raise ValueError(
            f"{type(last).__name__} is no classifier; give one, since labels are compared as they are"
        )
    if isinstance(last, ActiveLearningClassifier):
        raise ValueError(
            f"{type(last).__name__} chooses what to learn, and its answers are no labels; give the classifier itself"
        )


def _last_step(model: Any) -> Any:
    """Return the last step of a pipeline, or the model that is none."""
    while isinstance(model, compose.Pipeline):
        model = list(model.steps.values())[-1]
    return model


def _check_learns_one_by_one(model: Any) -> None:
    _check_model(model)
    if not hasattr(model, "learn_one"):
        raise ValueError(
            f"{type(model).__name__} runs in a loop of its own and cannot be told what to learn; use `prequential`, "
            "or choose another model"
        )


def _labelled(
    samples: Iterable[tuple[Mapping[Any, Any], Hashable]],
) -> Iterator[tuple[Mapping[Any, Any], Hashable]]:
    """Pass samples on; refuse what is none, and one without a label, which can be neither tested nor learnt."""
    for i, sample in enumerate(samples):
        x: Any = None
        y: Any = None
        with contextlib.suppress(TypeError, ValueError):
            x, y = sample
        is_sample = isinstance(x, dict | Mapping | str) and not isinstance(
            sample, str
        )  # some pipelines take text
        if not is_sample:
            raise ValueError(
                f"sample {i} is {sample!r:.80}, and no pair of a dictionary of features and a label; "
                "`river.stream.iter_pandas` and `iter_array` make pairs of tables"
            )
        if _is_missing(y, i):
            raise ValueError(f"sample {i} has no label ({y}); leave out samples whose label never comes")
        yield x, y


def _is_missing(y: Any, i: int) -> bool:
    """Tell whether the label of sample `i` is none of a class: `None`, NaN, NaT or pandas' NA."""
    try:
        hash(y)
    except TypeError:
        raise ValueError(
            f"sample {i} has the label {y!r:.80} of class {type(y).__name__}, by which nothing can be counted; give a "
            "number or text"
        ) from None
    try:
        return y is None or bool(y != y)
    except TypeError:  # pandas' NA is neither equal to itself nor not
        return True


def _takes_weight(model: Any) -> bool:
    """Tell whether a model, or the last step of a pipeline, learns with weights."""
    return "w" in signature(_last_step(model).learn_one).parameters


def _check_delay(delay: Any) -> None:
    """Refuse what is no number of samples, no range of them, no name and no function."""
    is_range = (
        isinstance(delay, tuple) and len(delay) == 2 and all(isinstance(d, numbers.Integral) for d in delay)
    )
    if isinstance(delay, numbers.Real | str) or callable(delay) or (is_range and 0 <= delay[0] <= delay[1]):
        return
    raise ValueError(
        f"delay={delay!r}; give a number of samples, a range (low, high) with 0 <= low <= high, the name of a feature, "
        "or a function of sample and label"
    )


def _with_delays_and_weights(
    samples: Iterable[tuple[Mapping[Any, Any], Hashable]],
    delay: Delay,
    weight: Weight | None,
    seed: int | None,
) -> Iterator[_Row]:
    hidden = {name for name in (delay, weight) if isinstance(name, str)}
    rng = np.random.default_rng(seed)
    for x, y in _labelled(samples):
        if isinstance(delay, str):
            if delay not in x:
                raise ValueError(
                    f"delay={delay!r} is no feature of this sample, which has {', '.join(map(str, x))}; give a number "
                    "of samples, a range, or the name of a feature that holds it"
                )
            d = x[delay]
        elif isinstance(delay, tuple):
            d = rng.integers(*delay, endpoint=True)
        else:
            d = delay(x, y) if callable(delay) else delay
        if not isinstance(d, int | float | np.number) or not d >= 0 or float(d) % 1:
            raise ValueError(
                f"delay={d}; a label comes a whole number of samples after its own, not before: choose 0, 1, 2, ..."
            )
        w = None
        if weight is not None:
            if isinstance(weight, str) and weight not in x:
                raise ValueError(
                    f"weight={weight!r} is no feature of this sample, which has {', '.join(map(str, x))}; give the "
                    "name of a feature that holds it, or a function of sample and label"
                )
            w = float(x[weight] if isinstance(weight, str) else weight(x, y))
            if not 0.0 < w < math.inf:
                raise ValueError(f"weight={w}; choose finite weights above 0")
        if hidden:
            x = {name: value for name, value in x.items() if name not in hidden}
        yield _Row(x, y, int(d), w)


def _first_is_warm_up(events: Iterator[Answers]) -> Iterator[Answers]:
    """Mark the first sample, which is predicted before any label has come; all others are predicted after."""
    for n_before, event in enumerate(events):
        yield event if n_before else event._replace(n_warm_up=1)


def _one_by_one(
    rows: Iterable[_Row], model: Any, warm_start: int, reads_proba: bool, *, knows_a_class: bool = False
) -> Iterator[Answers]:
    """Predict each sample when it arrives, and learn each when its label does."""
    waiting: list[tuple[int, int, _Row]] = []
    takes_weight = _takes_weight(model)
    clock, cpu_clock = time.perf_counter, time.process_time
    for i, row in enumerate(rows):
        is_warm = i >= warm_start
        if is_warm and row.delay > 0 and not isinstance(row.x, str):
            row = row._replace(x=dict(row.x))  # who made the sample may use the dictionary again
        heapq.heappush(waiting, (i + row.delay * is_warm, i, row))
        cpu_start, start = cpu_clock(), clock()
        y_pred = model.predict_one(row.x) if is_warm else None
        proba = model.predict_proba_one(row.x) if is_warm and reads_proba else None
        n_warm_up = int(not knows_a_class)
        while waiting and waiting[0][0] <= i:
            _, _, due = heapq.heappop(waiting)
            if due.weight is not None and takes_weight:
                model.learn_one(due.x, due.y, w=due.weight)
            else:
                model.learn_one(due.x, due.y)
            knows_a_class = True
        seconds, cpu_seconds = clock() - start, cpu_clock() - cpu_start
        weights = None if row.weight is None else (row.weight,)
        yield Answers((row.y,), (y_pred,), seconds, cpu_seconds, weights, proba, n_warm_up)


def _in_blocks(stream: Any, model: Any, step: int, warm_start: int) -> Iterator[Answers]:
    """Let the model step through blocks, cut where steps end."""
    names = [feature.name for feature in stream.features]
    values = [feature.values for feature in stream.features]  # the lists may grow while a file is read
    clock, cpu_clock = time.perf_counter, time.process_time
    n_samples = 0
    for block in stream.blocks(getattr(model, "block_size", BLOCK_SIZE)):
        first = 0
        while first < len(block.y):
            last = min(first + step - n_samples % step, len(block.y))
            if n_samples < warm_start:
                last = min(last, first + warm_start - n_samples)
            X, y = block.X[first:last], block.y[first:last]
            cpu_start, start = cpu_clock(), clock()
            try:
                y_pred = model.step_many(X, y, names=names, values=values, classes=stream.classes)
            except (
                TypeError,
                ValueError,
            ):  # a row cannot be read and none has been learnt: those before it can
                rows = _with_delays_and_weights(stream.samples(X, y), 0, None, None)
                yield from _one_by_one(rows, model, warm_start - n_samples, False, knows_a_class=True)
            else:
                seconds, cpu_seconds = clock() - start, cpu_clock() - cpu_start
                yield Answers([stream.classes[t] for t in y.tolist()], y_pred, seconds, cpu_seconds)
            n_samples += last - first
            first = last


def _tested(model: Any, x: Mapping[Any, Any], y: Hashable, reads_proba: bool) -> Answers:
    cpu_start, start = time.process_time(), time.perf_counter()
    y_pred = model.predict_one(x)
    proba = model.predict_proba_one(x) if reads_proba else None
    return Answers((y,), (y_pred,), time.perf_counter() - start, time.process_time() - cpu_start, None, proba)


def _learnt(model: Any, x: Mapping[Any, Any], y: Hashable, times: int = 1) -> Answers:
    cpu_start, start = time.process_time(), time.perf_counter()
    for _ in range(times):
        model.learn_one(x, y)
    return Answers((y,), (None,), time.perf_counter() - start, time.process_time() - cpu_start)


class _Tally:
    """All that is measured of one run."""

    def __init__(
        self,
        model: Any,
        stream: Any,
        metrics: Metrics | None,
        window: int,
        step: int,
        fading: float | None,
        keep_predictions: bool,
        counts_warm_up: bool = False,
    ) -> None:
        classes = getattr(stream, "classes", ())
        self.model = model
        self.n_samples = self.n_warm_up = self.n_counted = 0
        self._counts_warm_up = counts_warm_up
        self._counted_in_step: deque[int] = deque([0], maxlen=window // step)
        asked_for = _by_name(metrics)
        self._readers = {name: _reader(name, metric) for name, metric in asked_for.items()}
        self._metrics = {name: _anew(metric) for name, metric in asked_for.items()}
        self.reads_proba = not all(metric.requires_labels for metric in self._metrics.values())
        self._total = Scores(classes=classes)
        self._is_faded = fading is not None
        self._recent: Any
        if fading is None:
            self._recent = Scores(window, classes, step)
            self._recent_metrics = {}
        else:
            self._recent = Fading(Scores, factor=fading, classes=classes)
            self._recent_metrics = {
                name: Fading(metric.clone, factor=fading) for name, metric in self._metrics.items()
            }
        # What each metric of a window reads, step by step.
        self._read: deque[list[tuple[dict[str, tuple[Any, Any]], float]]] = deque([[]], maxlen=window // step)
        self._keep_predictions = keep_predictions
        self._predictions: list[tuple[Hashable, Hashable]] = []
        self._seconds = self._seconds_before = self._cpu_seconds = self._measuring = 0.0
        self._model_bytes = 0
        self._ram_hours = RamHours()
        self._routing_before: deque[Any] = deque(maxlen=window // step)
        self._routing_at_start = None
        if hasattr(model, "routing_report"):
            self._routing_at_start = model.routing_report().cumulative
            self._routing_before.append(self._routing_at_start)

    def begin(self) -> None:
        """Begin the first window after a warm start, whose time and routing count from the start of the run only."""
        self._seconds_before = self._seconds
        if self._routing_at_start is not None:
            self._routing_before.clear()
            self._routing_before.append(self.model.routing_report().cumulative)

    def add(self, event: Answers, *, is_counted: bool = True) -> None:
        """Take in some samples; those that were learnt only do not count in the figures."""
        self.n_samples += len(event.y_true)
        self._seconds += event.seconds
        self._cpu_seconds += event.cpu_seconds
        if not is_counted:
            return
        if self._keep_predictions:
            self._predictions += zip(event.y_true, event.y_pred, strict=True)
        self.n_warm_up += event.n_warm_up
        if event.n_warm_up and not self._counts_warm_up:
            event = self._pass_over_warm_up(event)
        if not event.y_true:
            return
        self.n_counted += len(event.y_true)
        self._counted_in_step[-1] += len(event.y_true)
        self._total.update_many(event.y_true, event.y_pred, event.weights)
        if self._is_faded:
            for y, p, w in zip(event.y_true, event.y_pred, event.weights or repeat(1.0)):  # noqa: B905 - endless
                self._recent.update(y, p, w)
        else:
            self._recent.update_many(event.y_true, event.y_pred, event.weights)
        if self._metrics:
            self._add_to_metrics(event)

    def _pass_over_warm_up(self, event: Answers) -> Answers:
        """Return the samples that count, after the baselines have learnt the labels of those that do not."""
        n = event.n_warm_up
        of_labels = (self._total, self._recent, *self._metrics.values(), *self._recent_metrics.values())
        for y, w in zip(event.y_true[:n], event.weights or repeat(1.0)):  # noqa: B905 - endless
            for metric in of_labels:
                pass_over(metric, y, w)
        return event._replace(
            y_true=event.y_true[n:], y_pred=event.y_pred[n:], weights=event.weights and event.weights[n:]
        )

    def _add_to_metrics(self, event: Answers) -> None:
        for y, p, w in zip(event.y_true, event.y_pred, event.weights or repeat(1.0)):  # noqa: B905 - endless
            reads = {name: reader(y, p, event.proba) for name, reader in self._readers.items()}
            for metrics in (self._metrics, self._recent_metrics):
                for name, metric in metrics.items():
                    _update(metric, *reads[name], w)
            if not self._is_faded:
                self._read[-1].append((reads, w))

    def check_metrics_take_weights(self) -> None:
        """Raise where a metric would count each sample as one."""
        for name, metric in self._metrics.items():
            if not getattr(_innermost(metric), "works_with_weights", True):
                raise ValueError(f"{name} takes no weights; choose another metric, or leave out weight")

    def checkpoint(self) -> Checkpoint:
        """Return what has been measured, and begin a new step."""
        if self._measuring <= MEASURING_SHARE * self._seconds:
            start = time.perf_counter()
            self._model_bytes = getattr(self.model, "_raw_memory_usage", 0)  # not all are river's
            self._measuring += time.perf_counter() - start
            self._ram_hours.update(self._model_bytes, self._seconds)
        n_window_counted = self.n_counted if self._is_faded else sum(self._counted_in_step)
        checkpoint = Checkpoint(
            n_samples=self.n_samples,
            cumulative=_known(self._total.get() | _values(self._metrics), self.n_counted),
            window=_known(self._recent.get() | self._window_metrics(), n_window_counted),
            seconds=self._seconds,
            window_seconds=self._seconds - self._seconds_before,
            cpu_seconds=self._cpu_seconds,
            model_bytes=self._model_bytes,
            ram_hours=self._ram_hours.get(self._seconds),
            predictions=tuple(self._predictions),
            routing=self._routing(),
            n_warm_up=self.n_warm_up,
            n_counted=self.n_counted,
            n_window_counted=n_window_counted,
        )
        if not self._is_faded:
            self._recent.restart()
            self._read.append([])
            self._counted_in_step.append(0)
        self._predictions.clear()
        self._seconds_before = self._seconds
        return checkpoint

    def _routing(self) -> RoutingReport | None:
        if self._routing_at_start is None:
            return None
        report: RoutingReport = self.model.routing_report()
        so_far, before = report.cumulative, self._routing_before[0]
        self._routing_before.append(so_far)
        return replace(report, window=so_far - before, cumulative=so_far - self._routing_at_start)

    def _window_metrics(self) -> dict[str, float]:
        if self._is_faded:
            return _values(self._recent_metrics)
        of_window = {name: metric.clone() for name, metric in self._metrics.items()}
        for step in self._read:
            for reads, w in step:
                for name, metric in of_window.items():
                    _update(metric, *reads[name], w)
        return _values(of_window)


def _values(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: metric.get() for name, metric in metrics.items()}


def _known(figures: dict[str, float], n_counted: int) -> dict[str, float]:
    """Return the figures of so many samples; of none nothing is known."""
    return figures if n_counted else dict.fromkeys(figures, math.nan)


def _update(metric: Any, y: Any, said: Any, w: float) -> None:
    if w == 1.0:
        metric.update(y, said)  # not all take a weight
    else:
        metric.update(y, said, w)


def _anew(metric: Any) -> Any:
    """Return a metric like this that has seen nothing, for what `_reader` gives it."""
    inner = _innermost(metric)
    if isinstance(inner, BinaryMetric) and getattr(inner, "pos_val", True) is not True:
        return metric.clone({"pos_val": True})
    return without_none(metric.clone())


def _innermost(metric: Any) -> Any:
    while isinstance(metric, WrapperMetric):
        metric = metric.metric
    return metric


def _reader(name: str, metric: Any) -> Callable[[Hashable, Hashable, Any], tuple[Any, Any]]:
    """Return a function of label, prediction and probabilities that gives truth and answer as a metric reads them.

    A metric of two classes is told whether each is the positive one, as True and False: river's own compare with
    `pos_val` twice, and find no positive sample where that is not True.
    """
    inner = _innermost(metric)
    if not isinstance(inner, BinaryMetric):
        if not inner.requires_labels:
            # Of a label without a probability river's cross-entropy makes a certain one.
            is_entropy = isinstance(inner, CrossEntropy)
            return lambda y, label, proba: (y, {y: 0.0, **proba} if is_entropy else proba)
        return lambda y, label, proba: (y, label)
    pos_val, counts_negatives = getattr(inner, "pos_val", True), isinstance(inner, MCC)

    def of_label(y: Hashable, label: Hashable, proba: Any) -> tuple[bool, bool]:
        truth = is_positive(y)
        if label is None:  # wrong, and where only what was called positive can be wrong, not positive
            return truth, counts_negatives and not truth
        return truth, label == pos_val

    def of_proba(y: Hashable, label: Hashable, proba: Mapping[Any, float]) -> tuple[bool, dict[bool, float]]:
        truth = is_positive(y)
        p = proba.get(pos_val, 0.0) if proba else float(not truth)
        return truth, {True: p, False: 1.0 - p}

    def is_positive(y: Hashable) -> bool:
        if pos_val is True and y not in (True, False):
            instead = "give such labels"
            if isinstance(inner, LogLoss):
                instead += ", or choose CrossEntropy, which takes any"
            elif isinstance(inner, RollingROCAUC):
                instead += f", or choose ROCAUC(pos_val={y!r})"
            elif not isinstance(inner, RollingPRAUC):  # the rolling ones take no text
                instead = f"name the one that counts as positive, as in {type(inner).__name__}(pos_val={y!r})"
            raise ValueError(f"{name} reads labels as True and False, and {y!r} is neither; {instead}")
        return bool(y == pos_val)

    return of_label if inner.requires_labels else of_proba


def _by_name(metrics: Metrics | None) -> dict[str, Any]:
    """Return metrics by name, after a check that they can be computed for the run and for each window."""
    named: list[tuple[str, Any]]
    if isinstance(metrics, Mapping):
        named = list(metrics.items())
    elif isinstance(metrics, Metric) and not isinstance(metrics, Several):
        named = [(type(metrics).__name__, metrics)]
    elif isinstance(metrics, Iterable | None) and not isinstance(metrics, str):
        named = [(type(metric).__name__, metric) for metric in metrics or ()]
    else:
        raise ValueError(
            f"metrics={metrics!r}; give a river metric, several, or a dictionary of them by name"
        )
    for name, metric in named:
        if not isinstance(name, str):
            raise ValueError(f"a metric is named {name!r}; choose text for its name")
        if isinstance(metric, type):
            raise ValueError(
                f"metric {metric.__name__} is a class; give a metric of it, such as {metric.__name__}()"
            )
        if not isinstance(metric, Metric):
            raise ValueError(
                f"metric {metric!r} of class {type(metric).__name__} is no river metric; give the metric itself, "
                "which is computed for each window, too"
            )
        if not hasattr(metric, "requires_labels") or not _is_number(metric):
            raise ValueError(f"{name} is no metric of classification that gives a number; choose another")
        if name in Scores().get():
            raise ValueError(
                f"a metric is named {name!r}, as one of the standard figures; choose another name"
            )
    if len({name for name, _ in named}) < len(named):
        raise ValueError(
            f"metrics {', '.join(name for name, _ in named)}: two have one name; give a dictionary with a name for each"
        )
    return dict(named)


def _is_number(metric: Metric) -> bool:
    try:
        return isinstance(metric.clone().get(), numbers.Real)
    except NotImplementedError:  # reports, which are made of several
        return False
