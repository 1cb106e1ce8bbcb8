"""Prequential evaluation: each sample is predicted first and learnt after, and every sample counts."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from river import base

from driftmoe.metrics import Scores

FAILURES = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What a stream or a model may raise half way; what had been measured until then is not lost."""


BLOCK_SIZE = 256
"""Samples that a model which takes blocks gets at once."""


@dataclass(frozen=True)
class Checkpoint:
    """What had been measured when a window was full, or when the stream ended.

    Attributes
    ----------
    n_samples
        Samples so far.
    cumulative
        Figures over all samples so far, as shares: accuracy, kappa, kappa_m, kappa_t, f1_macro, g_mean.
    window
        The same over the samples since the last checkpoint.
    seconds
        Time spent in the model so far: predicting and learning, without making samples or counting hits.
    window_seconds
        The same since the last checkpoint.
    """

    n_samples: int
    cumulative: dict[str, float]
    window: dict[str, float]
    seconds: float
    window_seconds: float


def prequential(
    stream: Iterable[tuple[Mapping[Any, Any], Hashable]], model: base.Classifier, *, window: int = 1000
) -> Iterator[Checkpoint]:
    """Test, then train, on each sample in turn; yield a checkpoint for every window.

    Parameters
    ----------
    stream
        Samples in order, as `(x, y)`. A stream's `classes` decide between equally frequent labels in kappa-M.
    model
        Any river classifier. A sample of which it can say nothing (`predict_one` gives `None`) counts as wrong. Where
        the stream has `blocks` and the model `step_many`, as `DriftMoEClassifier` has, samples go in blocks, which is
        faster and gives the same predictions.
    window
        Samples between two checkpoints.

    Yields
    ------
    checkpoint
        One per full window, and one at the end for the rest. Values of a window are of its own samples alone, except
        that the baseline of kappa-M is the majority of the last `window` labels and that of kappa-temporal the label
        before, as in MOA's windowed evaluator. When the run is interrupted, or the stream or the model raises, the
        samples since the last checkpoint come as one more before the exception goes on.

    Raises
    ------
    ValueError
        If `window` is below 1.

    References
    ----------
    Gama, Sebastião, Rodrigues (2013). On evaluating stream learning algorithms. Machine Learning 90.

    Examples
    --------
    >>> from river import datasets, naive_bayes
    >>> from driftmoe.evaluation import prequential
    >>> for checkpoint in prequential(datasets.Phishing(), naive_bayes.GaussianNB(), window=500):
    ...     print(checkpoint.n_samples, round(checkpoint.cumulative["accuracy"], 3))
    500 0.856
    1000 0.88
    1250 0.884
    """
    if window < 1:
        raise ValueError(f"window={window}; choose at least 1 sample")
    classes = getattr(stream, "classes", ())
    total, current = Scores(classes=classes), Scores(window, classes)
    seconds = window_seconds = 0.0
    n_samples = 0

    def checkpoint() -> Checkpoint:
        return Checkpoint(n_samples, total.get(), current.get(), seconds + window_seconds, window_seconds)

    try:
        for y_true, y_pred, taken in _taken(stream, model, window):
            window_seconds += taken
            total.update_many(y_true, y_pred)
            current.update_many(y_true, y_pred)
            n_samples += len(y_true)
            if n_samples % window == 0:
                yield checkpoint()
                current.restart()
                seconds += window_seconds
                window_seconds = 0.0
    except (KeyboardInterrupt, *FAILURES):
        if n_samples % window:
            yield checkpoint()
        raise
    if n_samples % window:
        yield checkpoint()


Taken = tuple[Sequence[Hashable], Sequence[Hashable], float]
"""True labels, predicted labels, and the seconds that the model took."""


def _taken(stream: Any, model: Any, window: int) -> Iterator[Taken]:
    """Let the model predict, then learn, each sample in turn; in blocks, cut where windows end, if both offer them."""
    if not hasattr(stream, "blocks") or not hasattr(model, "step_many"):
        yield from _one_by_one(stream, model)
        return
    names = [feature.name for feature in stream.features]
    values = [feature.values for feature in stream.features]  # the lists may grow while a file is read
    clock = time.perf_counter
    n_samples = 0
    for block in stream.blocks(BLOCK_SIZE):
        first = 0
        while first < len(block.y):
            last = min(first + window - n_samples % window, len(block.y))
            X, y = block.X[first:last], block.y[first:last]
            start = clock()
            try:
                y_pred = model.step_many(X, y, names=names, values=values, classes=stream.classes)
            except (
                TypeError,
                ValueError,
            ):  # a row cannot be read and none has been learnt: those before it can
                yield from _one_by_one(stream.samples(X, y), model)
            else:
                taken = clock() - start
                classes = stream.classes
                yield [classes[target] for target in y.tolist()], y_pred, taken
            n_samples += last - first
            first = last


def _one_by_one(samples: Iterable[tuple[Any, Any]], model: Any) -> Iterator[Taken]:
    clock = time.perf_counter
    for x, y in samples:
        start = clock()
        y_pred = model.predict_one(x)
        model.learn_one(x, y)
        yield (y,), (y_pred,), clock() - start
