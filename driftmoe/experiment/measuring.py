"""The metrics that a run computes beside the standard figures: their names, and where its figures stand."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from river import base

from driftmoe.evaluation import last_step
from driftmoe.metrics import STANDARD, asked, metrics_of, names_of

_BLOCK_SIZE = 4096


def labels_of(stream: Any) -> list[Hashable]:
    """Return the labels that occur in a stream, in its order; the stream is read for that."""
    if not hasattr(stream, "blocks"):
        return list(dict.fromkeys(label for _, label in stream))
    found = {int(target) for block in stream.blocks(_BLOCK_SIZE) for target in set(block.y.tolist())}
    return [stream.classes[target] for target in sorted(found)]


def figures_of(texts: Iterable[str], stream: Any) -> list[str]:
    """Return the names of the figures that a user asks for on a stream; see `driftmoe.metrics.names_of`."""
    return names_of(texts, cache(partial(labels_of, stream)))


def computed(names: Iterable[str]) -> tuple[str, ...]:
    """Return which figures are not among those that every run has."""
    return tuple(name for name in names if name not in STANDARD)


def reads_proba(names: Iterable[str]) -> bool:
    """Return whether a metric of these names reads probabilities."""
    return any(not asked(name).metric(True, 1).requires_labels for name in names)


def check_gives_proba(model: Any, name: str, metrics: Sequence[str]) -> None:
    """Raise ValueError if a model, known by its name, gives no probabilities and a metric reads them."""
    readers = [metric for metric in metrics if reads_proba([metric])]
    last = last_step(model)
    gives_none = getattr(type(last), "predict_proba_one", None) in (None, base.Classifier.predict_proba_one)
    if readers and gives_none:
        raise ValueError(
            f"{name} gives no probabilities, which {readers[0]} reads; leave out one of the two"
            + ("" if hasattr(model, "test_then_train") else ", or give the model predict_proba_one(x)")
        )


def metrics_for(names: Sequence[str], stream: Any, window: int) -> dict[str, Any] | None:
    """Return the metrics of a run, by name, or `None` if it has none."""
    if not names:
        return None
    known = set(map(str, stream.classes)) if hasattr(stream, "classes") else set()
    labels = stream.classes if all(asked(name).label in known for name in names) else labels_of(stream)
    return metrics_of(names, lambda: labels, window)


def split(figures: Mapping[str, float], names: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the standard figures, and those of the metrics, `None` where a metric is not defined.

    A standard figure that is not defined is left out, except where none is because no sample counts.
    """
    asked_for = {name: figures[name] if math.isfinite(figures[name]) else None for name in names}
    counts = not math.isnan(figures["accuracy"])
    standard = {
        name: value
        for name, value in figures.items()
        if name not in asked_for and not (counts and math.isnan(value))
    }
    return standard, asked_for
