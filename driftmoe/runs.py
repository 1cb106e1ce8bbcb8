"""Runs of samples through a model: those that it cannot read are found, and all others are predicted and learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from driftmoe.evaluation import has_learnt

Proba = dict[Any, float]

Answered = TypeVar("Answered")

MOST_NEWS = 8
"""Samples with new names in a run whose events are all told, at most: models without records keep the last 8 of each
kind."""


def run(
    model: Any,
    samples: Sequence[Mapping[Any, Any]],
    labels: Sequence[Any],
    weights: Sequence[float],
    asked: Sequence[bool],
    *,
    awaits: bool | Sequence[bool] = False,
) -> list[Proba | str | None]:
    """Predict and learn samples in turn, each as it needs.

    Parameters
    ----------
    model
        A classifier. One with `run_rows` takes them all in one call.
    samples
        Features.
    labels
        Label of each sample; `None` for one that is only predicted.
    weights
        Weight of each sample.
    asked
        Whether each sample is predicted, before it is learnt.
    awaits
        Whether a model with `arrive_one` is told that the labels of samples without one will come; for all samples, or
        for each.

    Returns
    -------
    answers
        For each sample, its class probabilities, `None` if it is only learnt, or why it cannot be read.

    Raises
    ------
    RuntimeError
        If a part of the model failed after another had learnt a sample.
    """
    rows, n = getattr(model, "run_rows", None), len(samples)
    is_late = [awaits] * n if isinstance(awaits, bool) else awaits
    late = {"awaits": is_late} if hasattr(model, "arrive_one") else {}
    if rows is not None:
        try:
            return list(rows(samples, labels, weights, asked=asked, **late))
        except (TypeError, ValueError) as error:
            if has_learnt(error):
                raise RuntimeError(f"{type(error).__name__}: {error}") from error
    if rows is None or n == 1:
        one_by_one = zip(samples, labels, weights, asked, is_late, strict=True)
        return [tried(_run_one, model, *one) for one in one_by_one]
    halves = slice(n // 2), slice(n // 2, n)  # to find the samples that cannot be read
    return [
        answer
        for half in halves
        for answer in run(
            model, samples[half], labels[half], weights[half], asked[half], awaits=is_late[half]
        )
    ]


def n_with_few_news(model: Any, some: Sequence[tuple[Mapping[str, Any], Any]]) -> int:
    """Return how many of the first samples bring so few new classes and features that a model keeps all its events.

    Parameters
    ----------
    model
        A classifier.
    some
        Features and label of each sample; the label is `None` if it is not learnt.
    """
    encoder, n = getattr(model, "_encoder", None), 0
    if len(some) <= MOST_NEWS or encoder is None:
        return len(some)
    labels, names = set(encoder.classes), set(encoder.features)
    for i, (features, label) in enumerate(some):
        if label is None:
            continue
        n += label not in labels or not (
            names.issuperset(features)
            or all(name in names for name, value in features.items() if value is not None)
        )
        if n > MOST_NEWS:
            return i
    return len(some)


def tried(call: Callable[..., Answered], *arguments: Any) -> Answered | str:
    """Return what a call returns, or the message if it refuses its arguments."""
    try:
        return call(*arguments)
    except (TypeError, ValueError) as error:
        return str(error)


def _run_one(
    model: Any, x: Mapping[Any, Any], y: Any, w: float, is_asked: bool, awaits: bool
) -> Proba | None:
    if y is None and awaits and hasattr(model, "arrive_one"):
        arrived: Proba = model.arrive_one(x)
        return arrived
    # One that is only learnt is predicted, too: that tells whether it can be read.
    proba: Proba = model.predict_proba_one(x)
    try:
        if y is not None and w == 1.0:
            model.learn_one(x, y)
        elif y is not None and w > 0.0:
            model.learn_one(x, y, w=w)
    # A step of a pipeline may have learnt the sample, and another not.
    except (TypeError, ValueError) as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    return proba if is_asked else None
