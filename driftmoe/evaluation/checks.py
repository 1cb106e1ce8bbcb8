"""Check the arguments that every protocol takes: the stream, its samples, the model, and numbers of samples."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Hashable, Iterable, Iterator, Mapping
from inspect import signature
from typing import Any

from river import base, compose
from river.active.base import ActiveLearningClassifier

from driftmoe.costs import DecisionCosts


def check_counts(**counts: int) -> None:
    """Raise ValueError unless each argument is a whole number of samples, at least 1."""
    for name, value in counts.items():
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name}={value!r}; choose a whole number of samples, at least 1")


def check_stream(stream: Any) -> None:
    """Raise ValueError if the stream is text, or cannot be iterated over."""
    if isinstance(stream, str):
        raise ValueError(
            f"stream={stream!r} is text; give the stream itself, such as streams.make({stream!r})"
        )
    if not isinstance(stream, Iterable):
        raise ValueError(
            f"stream={stream!r:.80} of class {type(stream).__name__} has no samples; give pairs (x, y) in order, such "
            "as streams.make('electricity')"
        )


def check_model(model: Any) -> None:
    """Raise ValueError if the model is not a classifier, or is a class instead of an object."""
    if isinstance(model, type):
        raise ValueError(f"{model.__name__} is a class; give a model of it, such as {model.__name__}()")
    if hasattr(model, "test_then_train"):
        return
    last, name = last_step(model), type(model).__name__
    missing = [method for method in ("predict_one", "learn_one") if not callable(getattr(last, method, None))]
    if missing:
        raise ValueError(
            f"model={name if last is model else type(last).__name__} has no {' and no '.join(missing)}; give a "
            "classifier with river's methods; `river.compat.convert_sklearn_to_river` wraps one of scikit-learn"
        )
    if isinstance(last, base.Base) and not isinstance(last, base.Classifier):
        raise ValueError(
            f"{type(last).__name__} is not a classifier; give one, since labels are compared as they are"
        )
    if isinstance(last, ActiveLearningClassifier):
        raise ValueError(
            f"{type(last).__name__} chooses what to learn, and its answers are not labels; give the classifier itself"
        )


def check_learns_one_by_one(model: Any) -> None:
    """Raise ValueError if the model is not a classifier, or tests and trains itself."""
    check_model(model)
    if not hasattr(model, "learn_one"):
        raise ValueError(
            f"{type(model).__name__} tests and trains itself and cannot be told what to learn; use `prequential`, "
            "or choose another model"
        )


def last_step(model: Any) -> Any:
    """Return the last step of a pipeline, or the model itself if it is not a pipeline.

    Examples
    --------
    >>> from river import naive_bayes, preprocessing
    >>> from driftmoe.evaluation import last_step
    >>> last_step(preprocessing.StandardScaler() | naive_bayes.GaussianNB())
    GaussianNB ()
    """
    while isinstance(model, compose.Pipeline):
        model = list(model.steps.values())[-1]
    return model


def has_learnt(error: Exception) -> bool:
    """Return whether a model had learnt rows of a block when it raised an error, as one of its experts may do.

    Examples
    --------
    >>> from driftmoe.evaluation import has_learnt
    >>> error = RuntimeError("an expert of your own failed on one row of five")
    >>> error.n_learnt = 4  # as `learn_many` does
    >>> has_learnt(error), has_learnt(ValueError("refused before learning"))
    (True, False)
    """
    return bool(getattr(error, "n_learnt", 0))


def takes_weight(model: Any) -> bool:
    """Return whether a model, or the last step of a pipeline, learns with weights."""
    return "w" in signature(last_step(model).learn_one).parameters


def labelled(
    samples: Iterable[tuple[Mapping[Any, Any], Hashable]],
) -> Iterator[tuple[Mapping[Any, Any], Hashable]]:
    """Yield the samples, after a check that each is a pair with a label. Else raise ValueError."""
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
                f"sample {i} is {sample!r:.80}, not a pair of a dictionary of features and a label; "
                "`river.stream.iter_pandas` and `iter_array` make such pairs from tables"
            )
        if _is_missing(y, i):
            raise ValueError(f"sample {i} has no label ({y}); leave out samples whose label never comes")
        yield x, y


def _is_missing(y: Any, i: int) -> bool:
    """Return whether the label of sample `i` is missing: `None`, NaN, NaT or pandas' NA."""
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


def costs_of(model: Any) -> DecisionCosts | None:
    """Return the costs by which a model decides, or `None` if it chooses the most probable class."""
    costs = getattr(last_step(model), "decision_costs", None)
    return DecisionCosts(costs) if isinstance(costs, dict) else None
