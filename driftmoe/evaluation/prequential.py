"""Prequential evaluation: predict each sample first, then learn it; every sample counts."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from river import base

from driftmoe.evaluation.checks import check_counts, check_model, check_stream
from driftmoe.evaluation.clock import TimeDelay
from driftmoe.evaluation.delays import (
    Delay,
    Weight,
    check_delay,
    check_label_share,
    check_weight,
    hidden_by,
    with_delays_and_weights,
)
from driftmoe.evaluation.late_blocks import arrivals_of, in_late_blocks, takes_late_blocks
from driftmoe.evaluation.loops import (
    Answers,
    OwnLoop,
    first_is_warm_up,
    in_blocks,
    one_by_one,
    size_of_blocks,
)
from driftmoe.evaluation.progress import Shown, check_progress, watched
from driftmoe.evaluation.resuming import (
    arrivals_after,
    blocks_after,
    check_ends,
    check_labels,
    check_protocol,
    rows_after,
)
from driftmoe.evaluation.tally import Checkpoint, Tally
from driftmoe.evaluation.user_metrics import Metrics
from driftmoe.state import State


def prequential(
    stream: Iterable[tuple[Mapping[Any, Any], Hashable]],
    model: base.Classifier | OwnLoop,
    *,
    metrics: Metrics | None = None,
    window: int = 1000,
    step: int | None = None,
    fading: float | None = None,
    delay: Delay | None = None,
    label_share: float = 1.0,
    weight: Weight | None = None,
    warm_start: int = 0,
    count_warm_up: bool = False,
    keep_predictions: bool = False,
    seed: int | None = None,
    resume_from: State | None = None,
    progress: Shown = False,
) -> Evaluation:
    """Test, then train, on each sample in turn. Yield a checkpoint after every step.

    Samples that are predicted before the first label has come, when no model can know a class, do not count in the
    figures. Without `delay` this is only the first sample.

    Parameters
    ----------
    stream
        Samples in order, as `(x, y)`. If it has `classes`, their order decides between equally frequent labels in
        kappa-M.
    model
        Any river classifier. If it predicts nothing (`predict_one` returns `None`) after a label has come, the
        prediction counts as wrong, but `None` is not a class; for a metric of probabilities an empty prediction is the
        worst. If the stream has `blocks` and the model `step_many`, as `DriftMoEClassifier` has, samples go in blocks,
        which is faster and gives the same predictions. With late labels or weights, `step_many` must take weights `w`;
        a metric of probabilities also needs `step_proba_many`. A model with `test_then_train`, such as those of
        `driftmoe.moa`, tests and trains itself on a stream.
    metrics
        River metrics to compute beside the standard figures: one, several, or a dictionary of them by name; without a
        name, that of the class is taken. If a metric reads probabilities, the model gives both label and probabilities.
        Each metric is also computed anew for every window, so that metrics need not forget by
        themselves; river's `Rolling`, which is not a metric, is refused. A metric of two classes reads labels as True
        and False; another label can be the positive one, as in `F1(pos_val="yes")`.
    window
        Number of samples that a checkpoint's `window` looks back on.
    step
        Samples between two checkpoints; `window` by default. With a smaller step the window slides.
    fading
        Factor in (0, 1): each sample counts this much times the weight of the one after it, and `window` holds figures
        over all samples, faded. See `driftmoe.metrics.Fading`.
    delay
        Samples that arrive between a sample and its label. A sample is predicted when it arrives and learned when its
        label does, after the sample that has just arrived has been predicted; older samples are learned first. Give an
        integer; a pair `(low, high)` for a random delay with equal chances; the name of a column of the stream that
        holds it, which is then hidden from the model; a `TimeDelay` for a delay in time, for which the stream is read
        once more, so that an iterator will not do; or a function of `(x, y)`. A label that is due after the end is not
        learned. With 1, a label is learned after the next sample has been predicted: this is river's `delay=2`, and
        river's 1 is 0 here; river also learns what is left at the end. The baselines of kappa-temporal and kappa-order
        know the last label at once, so that a model which repeats the last label it learned is below 0.
    label_share
        Probability with which the label of a sample comes, above 0 and at most 1; the draws do not depend on the delay.
        A label that does not come is never learned. Its sample is predicted all the same, as one whose label is late,
        since the model cannot know, and counts in the figures. In the warm start all labels come.
    weight
        Weight of a sample: the name of a column that holds it, which is then hidden from the model, or a function of
        `(x, y)`. It counts in the figures. It counts in learning only if `learn_one` of the model, or of the last step
        of a pipeline, has an argument `w`, which many of river's models lack, its ensembles among them.
    warm_start
        Number of first samples that are learned at once and not predicted. Checkpoints begin after them.
    count_warm_up
        Whether samples count that are predicted before the first label has come; most models get them wrong. Useful for
        a model that has been trained before.
    keep_predictions
        Whether checkpoints carry the predictions.
    seed
        Seed of random delays, and of the draws of labels that come.
    resume_from
        The `state()` of an evaluation that was stopped, kept together with its model. Give that model, the same stream
        from its first sample on, and the same other arguments. A model of another class, or one of ours that has
        learnt another number of samples, is refused. The samples that were seen are passed over, and the
        checkpoints after them are those that the evaluation would have had if it had gone on.
    progress
        Whether to show a progress bar on standard error. With `True` there is one in a terminal or notebook, and none
        in a file; `"always"` shows it there, too.

    Returns
    -------
    evaluation
        An iterator over checkpoints: one per full step, and one at the end for the rest. The figures of a window are
        over its own samples, but the baseline of kappa-M predicts the majority of the last `window` labels, and that
        of kappa-temporal the previous label, as in MOA's windowed evaluator; that of kappa-order has counted all
        labels so far. If the run is interrupted, or the stream
        or the model raises, one more checkpoint holds the samples since the last one, and then the exception goes on.

    Raises
    ------
    ValueError
        - If `window` or `step` is below 1, or `step` does not divide `window`; if `fading` is out of range.
        - If a delay is negative, a weight is not positive and finite, or `label_share` is not in (0, 1].
        - If a sample is not a pair, or has no label.
        - If the model is not a classifier, or tests and trains itself and is asked for what it cannot do.
        - If a metric is not one of classification, two metrics have the same name, or a metric of two classes does not
          know which label is the positive one.
        - If the stream ends within `warm_start`, or before the first label has come.
        - If `resume_from` comes from an evaluation with other arguments, or of another stream, as far as the labels of
          the samples that it has seen tell.

    All are raised when the first checkpoint is asked for.

    Notes
    -----
    The memory of the model is measured at checkpoints, but only while measuring has taken at most 2 % of the time in
    the model: walking through a large ensemble of Python objects takes seconds.

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
    return Evaluation(
        stream,
        model,
        metrics,
        Protocol(
            window,
            window if step is None else step,
            fading,
            delay or 0,
            weight,
            warm_start,
            count_warm_up,
            seed,
            label_share,
        ),
        keep_predictions=keep_predictions,
        resume_from=resume_from,
        progress=progress,
    )


class Protocol(NamedTuple):
    """The arguments of `prequential` that decide about its figures, with their defaults filled in."""

    window: int
    step: int
    fading: float | None
    delay: Delay
    weight: Weight | None
    warm_start: int
    count_warm_up: bool
    seed: int | None
    label_share: float

    @property
    def is_plain(self) -> bool:
        """Whether every label comes, and at once, and every sample counts the same."""
        return not (self.delay or self.weight) and self.label_share == 1.0

    @property
    def timing(self) -> tuple[Delay, Weight | None, int | None, float]:
        """What decides when labels come and what samples count, in the order of `with_delays_and_weights`."""
        return self.delay, self.weight, self.seed, self.label_share

    @property
    def hidden(self) -> frozenset[str]:
        """The features that hold delays and weights."""
        return hidden_by(self.delay, self.weight)

    def check(self, stream: Any) -> None:
        """Raise ValueError if an argument is not allowed, or not on this stream."""
        check_delay(self.delay, stream)
        check_label_share(self.label_share)
        check_weight(self.weight)
        check_counts(window=self.window, step=self.step)
        _check_warm_start(self.warm_start)

    def state(self) -> State:
        """Return the arguments as plain values. A function is only said to be one."""
        state = {name: "a function" if callable(value) else value for name, value in self._asdict().items()}
        state["label_share"] = float(self.label_share)
        if isinstance(self.delay, TimeDelay):
            state["delay"] = f"{self.delay.seconds} s by {self.delay.column}"
        return state


class Evaluation(Generator[Checkpoint, None, None]):
    """A prequential evaluation in progress: an iterator over its checkpoints, whose state can be kept.

    `prequential` returns it. Its parameters are those of `prequential`, gathered in a `Protocol`.

    Examples
    --------
    Keep the state with the model, and go on from there, in another process if you like:

    >>> import copy
    >>> from river import datasets, naive_bayes
    >>> from driftmoe.evaluation import prequential
    >>> model = naive_bayes.GaussianNB()
    >>> evaluation = prequential(datasets.Phishing(), model, window=500)
    >>> next(evaluation).n_samples
    500
    >>> kept, model = evaluation.state(), copy.deepcopy(model)
    >>> for checkpoint in prequential(datasets.Phishing(), model, window=500, resume_from=kept):
    ...     print(checkpoint.n_samples, round(checkpoint.cumulative["accuracy"], 3))
    1000 0.881
    1250 0.885
    """

    def __init__(
        self,
        stream: Any,
        model: Any,
        metrics: Metrics | None,
        protocol: Protocol,
        *,
        keep_predictions: bool,
        resume_from: State | None,
        progress: Shown = False,
    ) -> None:
        self._stream, self._model, self._metrics = stream, model, metrics
        self._protocol, self._keep_predictions, self._kept = protocol, keep_predictions, resume_from
        self._progress = progress
        self._tally: Tally | None = None
        self._is_between_steps = False
        self._checkpoints = self._run()

    def send(self, value: None) -> Checkpoint:
        """Return the next checkpoint."""
        return self._checkpoints.send(value)

    def throw(self, *error: Any) -> Checkpoint:
        """Raise an exception where the evaluation waits."""
        return self._checkpoints.throw(*error)

    @property
    def has_state(self) -> bool:
        """Whether `state` can be asked for: there was a checkpoint, and no interrupt within the step after it."""
        return self._is_between_steps

    def state(self) -> State:
        """Return the state of the evaluation at its newest checkpoint, for `prequential(..., resume_from=)`.

        Keep it together with the model as it is now: the two must be of the same sample. It consists of plain values,
        unless metrics or fading are asked for: then it has copies of these objects.

        Raises
        ------
        ValueError
            If there was no checkpoint yet, or the evaluation was interrupted within a step, so that the model may have
            learned samples that are not counted.
        """
        if self._tally is None or not self._is_between_steps:
            n = self._tally.n_samples if self._tally else 0
            raise ValueError(
                f"the evaluation is not at the end of a step, but at sample {n:,}; take its state after a checkpoint"
            )
        return {"protocol": self._described(self._tally), "tally": self._tally.state()}

    def _described(self, tally: Tally) -> State:
        """Return what must be the same when the evaluation goes on: the arguments, and what tells models apart."""
        n_learnt = tally.routing_now.n_samples if tally.routing_now else None
        return self._protocol.state() | {
            "metrics": tally.metric_classes,
            "model": type(self._model).__name__,
            "samples learnt by the model": n_learnt,
        }

    def _run(self) -> Generator[Checkpoint, None, None]:
        check_stream(self._stream)
        check_model(self._model)
        self._protocol.check(self._stream)
        check_progress(self._progress)
        window, step, fading, _, weight, warm_start, counts_warm_up, *_ = self._protocol
        tally = Tally(
            self._model,
            self._stream,
            self._metrics,
            window,
            step,
            fading,
            self._keep_predictions,
            counts_warm_up,
        )
        if weight is not None:
            tally.check_metrics_take_weights()
        if self._kept is not None:
            check_protocol(self._kept, self._described(tally))
            tally.restore(self._kept["tally"])
        self._tally, self._is_between_steps = tally, self._kept is not None
        events = self._events(tally)
        if tally.n_samples % step:  # the kept evaluation had found the end of the stream
            check_ends(events, tally.n_samples)
        length = getattr(self._stream, "n_samples", None)
        events = watched(events, self._progress, tally.n_samples, length)
        try:
            for event in events:
                self._is_between_steps = False
                tally.add(event, is_counted=tally.n_samples >= warm_start)
                if tally.n_samples == warm_start:
                    tally.begin()
                if tally.n_samples % step == 0 and tally.n_samples > warm_start:
                    checkpoint = tally.checkpoint()
                    self._is_between_steps = True
                    yield checkpoint
        # Models and streams may raise errors of any class. What was measured is given out, and the error goes on.
        except (KeyboardInterrupt, Exception):
            self._is_between_steps = False
            if tally.n_samples % step and tally.n_samples > warm_start:
                yield tally.checkpoint()
            raise
        _check_some_were_predicted(tally, warm_start)
        if tally.n_samples % step and not self._is_between_steps:
            checkpoint = tally.checkpoint()
            self._is_between_steps = True
            yield checkpoint
        _check_one_counts(tally)

    def _events(self, tally: Tally) -> Iterator[Answers]:
        """Return the answers of the model to the samples that the tally has not seen."""
        stream, model, protocol, n_passed = self._stream, self._model, self._protocol, tally.n_samples
        is_plain = protocol.is_plain and not tally.reads_proba
        if hasattr(model, "test_then_train"):
            _check_own_loop(stream, model, is_plain and not protocol.warm_start and not n_passed)
            return first_is_warm_up(model.test_then_train(stream, protocol.step))
        labels: Counter[Hashable] = Counter()
        n_left_out = protocol.warm_start + (0 if protocol.count_warm_up else tally.n_warm_up)
        if hasattr(stream, "blocks") and hasattr(model, "step_many") and is_plain:
            blocks = blocks_after(stream, size_of_blocks(model), n_passed, labels, n_left_out)
            events = in_blocks(
                stream, model, protocol.step, protocol.warm_start, blocks=blocks, n_passed=n_passed
            )
            events = events if n_passed else first_is_warm_up(events)
        elif takes_late_blocks(stream, model, reads_proba=tally.reads_proba):
            of_blocks = arrivals_of(stream, size_of_blocks(model), *protocol.timing)
            waiting, of_blocks = arrivals_after(
                of_blocks, n_passed, labels, n_left_out, protocol.warm_start, stream.classes
            )
            events = in_late_blocks(
                stream, model, protocol.step, protocol.warm_start, of_blocks, waiting, protocol.hidden,
                reads_proba=tally.reads_proba,
            )  # fmt: skip
        else:
            rows = with_delays_and_weights(stream, *protocol.timing)
            passed = rows_after(rows, n_passed, labels, n_left_out, protocol.warm_start)
            events = one_by_one(rows, model, protocol.warm_start, tally.reads_proba, passed=passed)
        if n_passed:
            check_labels(labels, tally.labels())
        return events


def _check_warm_start(warm_start: int) -> None:
    if not isinstance(warm_start, numbers.Integral) or warm_start < 0:
        raise ValueError(f"warm_start={warm_start!r}; choose a whole number of samples, 0 or more")


def _check_some_were_predicted(tally: Tally, warm_start: int) -> None:
    """Raise ValueError if there were samples, but not more than those of the warm start."""
    if 0 < tally.n_samples <= warm_start:
        raise ValueError(
            f"warm_start={warm_start}, but the stream has {tally.n_samples} samples, so that none was predicted; "
            "choose a shorter warm start"
        )


def _check_one_counts(tally: Tally) -> None:
    """Raise ValueError if there were samples, and all belong to the warm-up."""
    if tally.n_samples and not tally.n_counted:
        raise ValueError(
            f"all {tally.n_samples} samples were predicted before the first label came, so that no model could know a "
            "class; give a longer stream, a shorter delay or a larger share of labels, or let these samples count: "
            "count_warm_up=True"
        )


def _check_own_loop(stream: Any, model: Any, is_plain: bool) -> None:
    """Raise ValueError if a model that tests and trains itself is asked for what it cannot do."""
    if not is_plain or not hasattr(stream, "blocks"):
        raise ValueError(
            f"{type(model).__name__} tests and trains itself; it knows neither delay, label_share, weight nor "
            "warm_start, gives no probabilities, cannot be resumed, and takes only streams of `streams`; leave these "
            "out, or choose another model"
        )
