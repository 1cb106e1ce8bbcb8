"""What the models of keys have said: lines of an engine's output, and the figures of them all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from driftmoe.engines.event_files import Keyed
from driftmoe.engines.keyed import Alarm, Prediction, Step

PREDICTION, ALARM = "prediction", "alarm"
"""What a result is."""

FIRST = (10, 100, 1000)
"""First events of each key over which the accuracy is told."""


class Result(NamedTuple):
    """A prediction or an alarm, as engines write it.

    Attributes
    ----------
    key
        The key.
    seq
        Number of the event of a prediction. Of an alarm, the number of the event that was not used, or -1.
    id
        Id of the event, if it has one and this is a prediction.
    what
        `"prediction"` or `"alarm"`.
    content
        The rest, as JSON: `label` and `proba` (pairs of label and probability), or `kind`, `text` and `sample`.
    """

    key: str
    seq: int
    id: str | None
    what: str
    content: str


def results_of(key: str, step: Step) -> Iterator[Result]:
    """Yield what a step says, as an engine writes it."""
    for one in step.predictions:
        yield Result(
            key, one.seq, one.id, PREDICTION, _written({"label": one.label, "proba": list(one.proba.items())})
        )
    for alarm in step.alarms:
        content = {"kind": alarm.kind, "text": alarm.text, "sample": alarm.sample}
        yield Result(key, -1 if alarm.seq is None else alarm.seq, None, ALARM, _written(content))


def said(result: Result) -> Prediction | Alarm:
    """Return the prediction or the alarm of a result."""
    content = json.loads(result.content)
    if result.what == PREDICTION:
        return Prediction(
            result.seq, result.id, content["label"], {label: p for label, p in content["proba"]}
        )
    return Alarm(content["kind"], content["text"], None if result.seq < 0 else result.seq, content["sample"])


@dataclass
class Figures:
    """Figures of a keyed stream.

    Attributes
    ----------
    n_keys, n_events, n_predictions
        Numbers of keys, events and predictions.
    n_scored, n_right
        Number of predictions whose label has come, and of those that were right.
    first
        For each number of `FIRST`: predictions of so many first samples of each key that were scored, and right ones.
    alarms
        Kind of alarm -> number.
    digest
        SHA-256 of all predictions in the order of events.
    """

    n_keys: int = 0
    n_events: int = 0
    n_predictions: int = 0
    n_scored: int = 0
    n_right: int = 0
    first: dict[int, tuple[int, int]] = field(default_factory=lambda: dict.fromkeys(FIRST, (0, 0)))
    alarms: dict[str, int] = field(default_factory=dict)
    digest: str = ""


def figures_of(events: Iterable[Keyed], results: Iterable[Result]) -> Figures:
    """Compare predictions with labels.

    Parameters
    ----------
    events
        All events, in order.
    results
        All results; predictions in the order of their events, alarms anywhere.

    Raises
    ------
    RuntimeError
        If predictions are missing, are there twice, or are not in order: an engine has failed to do what it promises.
    """
    found, alarms, sha256 = Figures(), Counter[str](), hashlib.sha256()
    predictions = _predictions(results, alarms)
    next_one = next(predictions, None)
    n_of_key: Counter[str] = Counter()
    waiting: dict[tuple[str, str | None], tuple[int, Any]] = {}
    for key, event in events:
        found.n_events += 1
        if event.kind == "label":
            _score(found, waiting.pop((key, event.id), None), event.payload)
            continue
        n_of_key[key] += 1
        if next_one is None or next_one.seq != event.seq:
            continue  # the event was refused, which an alarm tells
        if next_one.key != key:
            raise RuntimeError(
                f"the prediction of event {event.seq} is one of {next_one.key!r}, not of {key!r}"
            )
        found.n_predictions += 1
        sha256.update(f"{json.dumps([next_one.seq, key, next_one.id])}{next_one.content}\n".encode())
        told = n_of_key[key], json.loads(next_one.content)["label"]
        if event.kind == "sample":
            _score(found, told, event.payload["label"])
        else:
            waiting[key, event.id] = told
        next_one = next(predictions, None)
    if next_one is not None:
        raise RuntimeError(f"the prediction of event {next_one.seq} is there twice, or belongs to no event")
    found.n_keys, found.digest = len(n_of_key), sha256.hexdigest()
    found.alarms = dict(sorted(alarms.items()))
    n_told = sum(alarms[kind] for kind in ("refused", "duplicate", "repeated"))
    if found.n_predictions + n_told < sum(n_of_key.values()):
        raise RuntimeError(
            f"{sum(n_of_key.values()):,} events need a prediction, and there are {found.n_predictions:,} and "
            f"{n_told:,} that were not used"
        )
    return found


def _predictions(results: Iterable[Result], alarms: Counter[str]) -> Iterator[Result]:
    """Yield the predictions; count the alarms."""
    for one in results:
        if one.what == PREDICTION:
            yield one
        else:
            alarms[json.loads(one.content)["kind"]] += 1


def _score(found: Figures, told: tuple[int, Any] | None, payload: Any) -> None:
    """Count a prediction whose label has come."""
    truth = payload["label"] if isinstance(payload, dict) else payload
    if told is None or truth is None:  # which the step has refused
        return
    n, label = told
    is_right = label == truth
    found.n_scored += 1
    found.n_right += is_right
    for first, (n_scored, n_right) in found.first.items():
        if n <= first:
            found.first[first] = n_scored + 1, n_right + is_right


def _written(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))
