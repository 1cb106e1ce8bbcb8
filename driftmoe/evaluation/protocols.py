"""Holdout tests, and cross-validation in one pass over the stream."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from river import base

from driftmoe.evaluation.checks import check_counts, check_learns_one_by_one, check_stream, labelled
from driftmoe.evaluation.loops import learn_sample, predict_sample
from driftmoe.evaluation.tally import Checkpoint, Tally
from driftmoe.evaluation.user_metrics import Metrics, by_name


def holdout(
    stream: Iterable[tuple[Mapping[Any, Any], Hashable]],
    model: base.Classifier,
    *,
    metrics: Metrics | None = None,
    every: int = 10_000,
    size: int = 1000,
    keep_predictions: bool = False,
) -> Iterator[Checkpoint]:
    """Learn `every` samples, test on the next `size` without learning them, and so on.

    Parameters
    ----------
    stream, model, metrics, keep_predictions
        As in `prequential`.
    every
        Number of samples to learn before each test.
    size
        Number of samples in each test.

    Yields
    ------
    checkpoint
        One per test: `window` holds its figures, `cumulative` those of all tests so far. A test that is cut short by
        the end of the stream counts too. The previous label, for kappa-temporal, is that of the sample tested before,
        which at the beginning of a test is the last sample of the test before.

    Raises
    ------
    ValueError
        If `every` or `size` is below 1; if a sample is not a pair or has no label; if the model is not a classifier, or
        tests and trains itself; if the stream ends before the first test.

    References
    ----------
    Gama, Sebastião, Rodrigues (2013). On evaluating stream learning algorithms. Machine Learning 90, section 3.1.

    Examples
    --------
    >>> from river import dummy
    >>> from driftmoe.evaluation import holdout
    >>> stream = [({"x": 0.0}, y) for y in "aaaab" * 4]  # learns four, is tested on the fifth
    >>> [test.window["accuracy"] for test in holdout(stream, dummy.PriorClassifier(), every=4, size=1)]
    [0.0, 0.0, 0.0, 0.0]
    """
    check_counts(every=every, size=size)
    check_stream(stream)
    check_learns_one_by_one(model)
    tally = Tally(model, stream, metrics, size, size, None, keep_predictions)
    n_tested = 0
    for i, (x, y) in enumerate(labelled(stream)):
        if i % (every + size) < every:
            tally.add(learn_sample(model, x, y), is_counted=False)
            continue
        tally.add(predict_sample(model, x, y, tally.reads_proba))
        n_tested += 1
        if n_tested % size == 0:
            yield tally.checkpoint()
    if n_tested % size:
        yield tally.checkpoint()
    if n_tested == 0:
        raise ValueError(
            f"the stream ended before the first test, which comes after every={every} samples; choose a smaller number"
        )


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
    """Run several copies of a model side by side, each tested and trained on its own part of the stream.

    The spread of their figures shows how uncertain a figure is. `prequential` gives a single number.

    Parameters
    ----------
    stream, metrics
        As in `prequential`.
    models
        The copies, one per fold, at least 2.
    method
        Which copies learn a sample and which are tested on it.

        - `"cross-validation"`: one copy, drawn at random, is tested; all others learn.
        - `"split"`: one copy, drawn at random, learns; all others are tested.
        - `"bootstrap"`: each copy draws from Poisson(1). It learns the sample that many times, or is tested if it
          draws 0.
    window
        Number of samples of the stream between two checkpoints.
    count_warm_up
        Whether samples count on which a copy is tested before it has learned any.
    seed
        Seed of the draws.

    Yields
    ------
    checkpoints
        One of each fold for every window, and at the end for the rest. The figures are over the samples on which the
        fold was tested, since it has no other predictions. The previous label, for kappa-temporal, is therefore that of
        the sample on which the fold was tested last.

    Raises
    ------
    ValueError
        If there are fewer than 2 models, or one is given twice, which would then be tested on what it has learned; if
        the method is unknown or `window` is below 1; if a sample is not a pair or has no label; if a model is not a
        classifier, or tests and trains itself.

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
    check_stream(stream)
    if not isinstance(models, Sequence):
        raise ValueError(
            f"models={models!r:.80}; give a list of at least 2, one per fold, such as "
            "[model.clone() for _ in range(10)]"
        )
    if len(models) < 2:
        raise ValueError(f"{len(models)} models; give at least 2, one per fold")
    if len(set(map(id, models))) < len(models):
        raise ValueError(
            "a model is given for several folds, and would be tested on what it has learned; give each fold a model of "
            "its own, such as [model.clone() for _ in range(10)]"
        )
    check_counts(window=window)
    for model in models:
        check_learns_one_by_one(model)
    draws = {"cross-validation": _all_but_one, "split": _only_one, "bootstrap": _poisson}
    if method not in draws:
        raise ValueError(f"method={method!r}; choose one of {', '.join(map(repr, draws))}")
    metrics, rng = by_name(metrics), np.random.default_rng(seed)
    tallies = [Tally(model, stream, metrics, window, window, None, False, count_warm_up) for model in models]
    know_a_class = [False] * len(models)
    n_samples = 0
    for x, y in labelled(stream):
        for fold, (tally, times) in enumerate(zip(tallies, draws[method](len(models), rng), strict=True)):
            if times == 0:
                answers = predict_sample(tally.model, x, y, tally.reads_proba)
                tally.add(answers._replace(n_warm_up=int(not know_a_class[fold])))
            else:
                tally.add(learn_sample(tally.model, x, y, times), is_counted=False)
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
