"""How a run uses its labels and their order: which come, what models do with the order, and if samples are shuffled."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from river import base, compose, dummy

from driftmoe import own
from driftmoe.classifier import DriftMoEClassifier
from driftmoe.evaluation import TimeDelay
from driftmoe.experiment.delays import parsed_delay
from driftmoe.markov import MarkovClassifier

LABEL_ORDERS = ("use", "ignore")
"""What models may do with the order in which labels come."""

OF_ORDER = ("history", "sequence")
"""Extra experts that predict from the labels before a sample."""

ORDER_ALONE = (dummy.NoChangeClassifier, MarkovClassifier)
"""Models that are nothing without the order of labels."""


def order_protocol(line: Mapping[str, Any]) -> str:
    """Return the part of a run's identity that concerns which labels come, and the order; empty for most runs."""
    parts = [f"{_percent(share)} % of labels come"] if (share := label_share_of(line)) < 1.0 else []
    if str(line.get("label_order") or "use") == "ignore":
        parts.append("label order ignored")
    if line.get("shuffle_window"):
        parts.append(f"shuffled in windows of {int(line['shuffle_window']):,}")
    return ", ".join(parts)


def label_share_of(line: Mapping[str, Any]) -> float:
    """Return the share of the labels that come in a run; lines, and points of curves, say it where it is not 1."""
    return float(line.get("label_share") or 1.0)


def _percent(share: float) -> str:
    """Return a share in percent with all its digits, so that different shares have different texts."""
    return format((100 * Decimal(repr(share))).normalize(), "f")


def check_order(label_order: str, shuffle_window: int | None, delay: str) -> None:
    """Raise ValueError if a run cannot use the order of its samples like this.

    Parameters
    ----------
    label_order
        One of `LABEL_ORDERS`.
    shuffle_window
        Samples in each window within which samples are shuffled; `None` to leave them in order.
    delay
        Delay of the labels, as in `Run`.
    """
    if label_order not in LABEL_ORDERS:
        raise ValueError(f"label_order={label_order!r}; choose one of {', '.join(LABEL_ORDERS)}")
    if shuffle_window is None:
        return
    if isinstance(shuffle_window, bool) or not isinstance(shuffle_window, int) or shuffle_window < 2:
        raise ValueError(f"shuffle_window={shuffle_window!r}; choose a whole number of samples, at least 2")
    late = parsed_delay(delay)
    if isinstance(late, TimeDelay | str):
        raise ValueError(
            f"delay {delay!r} comes from a column, which says how late labels are where samples stay in order; with "
            "shuffle_window give a number of samples or a range, which count in the shuffled order"
        )


def of_model(spec: str, model: Any, label_order: str, *, is_trained: bool = False) -> Any:
    """Return a model, or one like it that makes no use of the order of labels.

    Parameters
    ----------
    spec
        Name of the model, as the user wrote it.
    model
        A new model, or a trained one.
    label_order
        `"use"` returns the model as it is. `"ignore"` leaves out the experts of `OF_ORDER`, also of models within
        models. Models that have no such part are returned as they are.
    is_trained
        Whether it has learnt.

    Raises
    ------
    ValueError
        If the model is nothing without the order, if it is trained and makes use of it, or if it is a user's own, of
        which nobody knows.
    """
    if label_order == "use":
        return model
    if own.is_own(spec):
        raise ValueError(
            f"label_order='ignore': nobody knows whether {spec} uses the order of labels; leave out one of the two"
        )
    without = _without(model, spec)
    if is_trained and without is not model:
        raise ValueError(
            f"label_order='ignore': {spec} has learnt with {' or '.join(OF_ORDER)} among its experts; train a model "
            "without them, or leave out one of the two"
        )
    return without


def _without(value: Any, spec: str) -> Any:
    """Return a model, or an argument, without all that uses the order of labels; itself if it uses none."""
    if isinstance(value, ORDER_ALONE):
        raise ValueError(
            f"label_order='ignore': {type(value).__name__} predicts from the order of labels and nothing else; leave "
            f"out one of the two ({spec})"
        )
    if isinstance(value, list | tuple):
        items = [_without(item, spec) for item in value]
        return value if all(map(_is, items, value)) else items
    if isinstance(value, compose.Pipeline):
        steps = {name: _without(step, spec) for name, step in value.steps.items()}
        return (
            value if all(map(_is, steps.values(), value.steps.values())) else compose.Pipeline(*steps.items())
        )
    if not isinstance(value, base.Base):
        return value
    given = _arguments(value)
    changed = {name: new for name, of in given.items() if (new := _without(of, spec)) is not of}
    if isinstance(value, DriftMoEClassifier) and set(OF_ORDER) & set(_names(given.get("extras", ()))):
        extras = changed.get("extras", given["extras"])
        changed["extras"] = [extra for extra in extras if extra not in OF_ORDER]
    return value.clone(changed) if changed else value


def _arguments(model: base.Base) -> dict[str, Any]:
    """Return the arguments of a model as they are; river's own `_get_params` takes models within it apart."""
    if isinstance(model, DriftMoEClassifier):
        return model.settings
    names = inspect.signature(type(model)).parameters
    return {name: getattr(model, name) for name in names if hasattr(model, name)}


def _names(extras: Any) -> list[str]:
    return [extra for extra in extras if isinstance(extra, str)]


def _is(one: Any, other: Any) -> bool:
    return one is other
