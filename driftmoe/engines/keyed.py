"""The step of a keyed stream: the state of one key and its next events in; new state, predictions and alarms out.

It knows no engine. An engine gives it the events of each key in order, and keeps the state with the guarantees that it
has. The result does not depend on how the events of a key are cut into calls: each event alone, or all of them at once.

A late label finds its features among those that wait. They are kept by the engine, as a map of each key in which
entries may live for a limited time (`waiting`), or else in the state itself, at most 1000 of them.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple

from driftmoe.engines import states
from driftmoe.engines.states import Live
from driftmoe.evaluation import last_step
from driftmoe.runs import Proba, n_with_few_news, run
from driftmoe.service import events as of_service

KINDS = ("features", "label", "sample")
"""What an event may be."""

MOST_WAITING = 1000
"""Samples of a key that wait for their labels in its state, at most, if no engine keeps them."""

MOST_IN_RUN = 256
"""Samples that go through a model at once. A model keeps only its last events, which are told after each run."""

LIMITS = of_service.Limits()
"""Greatest sizes of an event."""


class Event(NamedTuple):
    """One event of a key.

    Attributes
    ----------
    seq
        Place in the order of the key's events: a whole number that grows. An event whose number is not above that of
        the last one was taken before, and is passed over.
    id
        Joins a label to its features; `None` for features that will have no label.
    kind
        `"features"`: a sample to predict. `"label"`: the label of the sample with this id. `"sample"`: features and
        label, predicted first and then learnt.
    payload
        Of features, a dict of feature and value (numbers, booleans, text, `None`). Of a label, the label, or
        `{"label": ..., "weight": ...}`. Of a sample, `{"features": ..., "label": ..., "weight": ...}`. Weights may be
        left out.

    Examples
    --------
    >>> from driftmoe.engines import Event
    >>> Event(1, "a", "features", {"x": 1.5}), Event(2, "a", "label", "yes")  # doctest: +ELLIPSIS
    (Event(seq=1, ...), Event(seq=2, id='a', kind='label', payload='yes'))
    """

    seq: int
    id: str | None
    kind: str
    payload: Any


class Prediction(NamedTuple):
    """What the model of a key said of a sample.

    Attributes
    ----------
    seq, id
        Those of the event.
    label
        The class that is predicted; `None` while no class is known.
    proba
        {label: probability}.

    Examples
    --------
    >>> from driftmoe.engines import Prediction
    >>> Prediction(7, "a", "yes", {"yes": 0.75, "no": 0.25}).label
    'yes'
    """

    seq: int
    id: str | None
    label: Any
    proba: Proba


class Alarm(NamedTuple):
    """Something that somebody may want to know.

    Attributes
    ----------
    kind
        What the model noticed (`"drift"`, `"warning"`, `"tree replaced"`, `"new class"`, `"new feature"`; see
        `DriftMoEClassifier.events`), or why an event was not used: `"refused"` (it cannot be read), `"repeated"` (an
        event of this or a later number was taken before), `"duplicate"` (features with this id wait already),
        `"unmatched"` (no features wait for the label), `"expired"` (features that waited in the state were given up).
    text
        One sentence.
    seq
        Number of the event that was not used; `None` if the model noticed something.
    sample
        Number of the learnt sample at which the model noticed something, from 1; otherwise `None`.

    Examples
    --------
    >>> from driftmoe.engines import Event, Make, step
    >>> step(None, [Event(1, "a", "label", "yes")], Make("moe-data")).alarms[0].kind
    'unmatched'
    """

    kind: str
    text: str
    seq: int | None = None
    sample: int | None = None


class Step(NamedTuple):
    """What follows from events of a key.

    Attributes
    ----------
    state
        The new state of the key, for the next call.
    predictions
        One for each event with features that could be read, in their order.
    alarms
        In the order of events; what the model noticed comes last.

    Examples
    --------
    >>> from driftmoe.engines import Event, Make, step
    >>> type(step(None, [Event(1, None, "features", {"x": 1.0})], Make("moe-data")).state)
    <class 'bytes'>
    """

    state: bytes
    predictions: list[Prediction]
    alarms: list[Alarm]


class Cache:
    """Live models of a worker, by the state that they stand for, so that it need not be read anew.

    A model leaves the cache when its state is asked for, and comes back with the new state. A call that fails, or a
    state that an engine gives again after a failure, therefore finds nothing and reads the state: the cache changes
    nothing but the speed.

    Parameters
    ----------
    n_models
        Models that are kept, at most; the one that was used longest ago goes first.

    Examples
    --------
    >>> from driftmoe.engines import Cache, Event, Make, step
    >>> cache, make = Cache(100), Make("moe-data", seed=1)
    >>> first = step(None, [Event(1, "a", "features", {"x": 1.0})], make, cache=cache)
    >>> second = step(first.state, [Event(2, "a", "label", "yes")], make, cache=cache)
    >>> cache.n_found, cache.n_read
    (1, 0)
    """

    def __init__(self, n_models: int = 1000) -> None:
        if n_models < 0:
            raise ValueError(f"n_models={n_models} must be 0 or more")
        self._n_models = n_models
        self._kept: OrderedDict[bytes, Live] = OrderedDict()
        self.n_found, self.n_read = 0, 0

    def take(self, state: bytes) -> Live | None:
        """Return what stands for a state, if it is there. It is no longer in the cache then."""
        live = self._kept.pop(_name(state), None)
        self.n_found += live is not None
        self.n_read += live is None
        return live

    def put(self, state: bytes, live: Live) -> None:
        """Keep what stands for a state."""
        if self._n_models:
            self._kept[_name(state)] = live
            while len(self._kept) > self._n_models:
                self._kept.popitem(last=False)


def step(
    state: bytes | None,
    events: Iterable[Any],
    make: Callable[[], Any],
    *,
    waiting: MutableMapping[str, str] | None = None,
    cache: Cache | None = None,
) -> Step:
    """Take the next events of one key.

    Parameters
    ----------
    state
        What the last call returned for this key; `None` for a new key.
    events
        The events in order of `seq`: `Event`, or anything with its four attributes or entries.
    make
        Returns the model of a new key: a classifier that `driftmoe.save` can save. `Make` is one that can be sent to
        other machines. If its models have a prior, it needs a method `loaded_prior` that returns the prior, as `Make`
        has.
    waiting
        Map of this key, which an engine keeps: id -> text. Samples wait there for their labels, and the engine may
        drop those that wait for too long. It is changed only if the call succeeds. Default: they wait in the state, at
        most 1000 of them.
    cache
        Live models of this worker.

    Returns
    -------
    step
        New state, predictions and alarms. An event that cannot be used is told as an alarm, and changes nothing else.

    Raises
    ------
    ValueError
        If the events are not in order, or the state is damaged. Nothing has changed then.
    TypeError
        If `make` returns a model that cannot be saved without code.
    RuntimeError
        If a part of the model failed; the old state holds.

    Examples
    --------
    >>> from driftmoe.engines import Event, Make, step
    >>> make = Make("moe-data(n_experts=1, top_k=1)", seed=1)
    >>> state, predictions, alarms = step(None, [Event(1, "a", "features", {"x": 1.0})], make)
    >>> predictions[0].label is None  # no class is known yet
    True
    >>> state, _, _ = step(state, [Event(2, "a", "label", "yes")], make)
    >>> step(state, [Event(3, "b", "features", {"x": 2.0})], make).predictions[0].label
    'yes'
    """
    live = None if state is None or cache is None else cache.take(state)
    if live is None:
        prior = getattr(make, "loaded_prior", lambda: None)()
        live = Live(make()) if state is None else states.from_bytes(state, prior)
    pending = None if waiting is None else _Pending(waiting)
    taken = _Taking(live, live.waiting if pending is None else pending)
    taken.take(events)
    new = states.to_bytes(live)
    if pending is not None:
        pending.publish()
    if cache is not None:
        cache.put(new, live)
    return Step(new, taken.predictions, taken.alarms)


class _Operation(NamedTuple):
    """A sample that goes through the model; its label is `None` if it is only predicted."""

    seq: int
    id: str | None
    features: dict[str, Any]
    label: Any
    weight: float
    is_asked: bool


class _Pending:
    """The map of an engine with changes that are still to be made."""

    def __init__(self, kept: MutableMapping[str, str]) -> None:
        self._kept = kept
        self._changed: dict[str, dict[str, Any] | None] = {}

    def get(self, name: str) -> dict[str, Any] | None:
        """Return the features of a sample that waits, or `None`."""
        if name in self._changed:
            return self._changed[name]
        text = self._kept.get(name)
        return None if text is None else json.loads(text)

    def __setitem__(self, name: str, features: dict[str, Any]) -> None:
        self._changed[name] = features

    def pop(self, name: str, default: None) -> None:
        """Let a sample wait no longer."""
        self._changed[name] = default

    def publish(self) -> None:
        """Change the map."""
        for name, features in self._changed.items():
            if features is None:
                self._kept.pop(name, None)
            else:
                self._kept[name] = json.dumps(features, separators=(",", ":"))


class _Taking:
    """What follows from the events of one call."""

    def __init__(self, live: Live, waiting: _Pending | dict[str, dict[str, Any]]) -> None:
        self._live, self._waiting = live, waiting
        self._decide = _choice_of(last_step(live.model))
        self._run: list[_Operation] = []
        self._in_run: set[str] = set()
        self._refused: set[str] = set()
        self._noticed: list[Alarm] = []
        self.predictions: list[Prediction] = []
        self.alarms: list[Alarm] = []

    def take(self, events: Iterable[Any]) -> None:
        """Take events in order."""
        before = None
        for given in events:
            event = _event_of(given)
            if before is not None and event.seq <= before:
                raise ValueError(
                    f"the event {event.seq} comes after {before}; give the events of a key in the order of `seq`"
                )
            before = event.seq
            if event.seq <= self._live.seq:
                self._tell("repeated", event.seq, f"the events of this key were taken up to {self._live.seq}")
                continue
            self._live.seq = event.seq
            try:
                self._take_one(event.seq, read(event))
            except of_service.EventError as error:
                self._tell("refused", event.seq, str(error))
            if len(self._run) >= MOST_IN_RUN:
                self._flush()
        self._flush()
        self.alarms.sort(key=lambda alarm: alarm.seq or 0)
        self.alarms += self._noticed

    def _take_one(self, seq: int, event: of_service.Event) -> None:
        name, features, label = event.id, event.features, event.label
        if features is None:
            features = self._waiting.get(name or "")
            if features is None:
                self._tell_unmatched(seq, name)
                return
            self._waiting.pop(name or "", None)
            self._run.append(_Operation(seq, name, features, label, event.weight, False))
            return
        if name is not None and self._waiting.get(name) is not None:
            self._flush()  # whether the model can read those that wait is seen then
            if self._waiting.get(name) is not None:
                self._tell("duplicate", seq, f"features of {name!r} wait already; the first ones count")
                return
        if name is not None and label is None:
            self._wait(seq, name, features)
        self._run.append(_Operation(seq, name, features, label, event.weight, True))

    def _wait(self, seq: int, name: str, features: dict[str, Any]) -> None:
        """Let a sample wait for its label."""
        if name in self._in_run:
            self._flush()  # if the model cannot read the earlier one, the later one waits all the same
        self._refused.discard(name)
        if isinstance(self._waiting, dict) and len(self._waiting) >= MOST_WAITING:
            self._flush()  # those that the model cannot read do not wait
            if len(self._waiting) >= MOST_WAITING:
                oldest = next(iter(self._waiting))
                del self._waiting[oldest]
                self._tell(
                    "expired", seq, f"{oldest!r} is given up: {MOST_WAITING} samples wait for their labels"
                )
        self._in_run.add(name)
        self._waiting[name] = features

    def _flush(self) -> None:
        """Let what was added go through the model."""
        left, self._run = self._run, []
        self._in_run.clear()
        while left:
            some = [(one.features, one.label) for one in left]
            n = n_with_few_news(last_step(self._live.model), some)
            self._answer(left[:n])
            left = left[n:]

    def _answer(self, found: list[_Operation]) -> None:
        """Let samples go through the model, and tell what it has noticed."""
        answers = run(
            self._live.model,
            [one.features for one in found],
            [one.label for one in found],
            [one.weight for one in found],
            [one.is_asked for one in found],
            awaits=True,
        )
        for one, proba in zip(found, answers, strict=True):
            if isinstance(proba, str):
                self._refuse(one, proba)
            elif proba is not None:
                label = self._decide(proba) if proba else None
                self.predictions.append(Prediction(one.seq, one.id, label, proba))
        events = getattr(last_step(self._live.model), "events", None)
        for noticed in [] if events is None else events(self._live.noticed):
            self._live.noticed = noticed.sample
            self._noticed.append(Alarm(noticed.kind, str(noticed), sample=noticed.sample))

    def _refuse(self, one: _Operation, reason: str) -> None:
        """Tell that the model cannot read a sample. It waits no longer, so that its label finds nothing."""
        if not one.is_asked and one.id in self._refused:
            self._tell_unmatched(one.seq, one.id)
            return
        if one.label is None and one.id is not None:
            self._waiting.pop(one.id, None)
            self._refused.add(one.id)
        self._tell("refused", one.seq, reason)

    def _tell_unmatched(self, seq: int, name: str | None) -> None:
        self._tell("unmatched", seq, f"no features wait for the label of {name!r}")

    def _tell(self, kind: str, seq: int, text: str) -> None:
        self.alarms.append(Alarm(kind, text, seq))


def read(event: Event) -> of_service.Event:
    """Return an event with its payload in parts.

    Raises
    ------
    EventError
        If it cannot be read. The message names the field.
    """
    payload = event.payload
    if event.kind == "features":
        fields: Any = {"features": payload}
        if type(payload) is not dict:
            raise of_service.EventError("payload", "of features is a dict of feature and value")
    elif event.kind == "label":
        fields = payload if type(payload) is dict else {"label": payload}
        _check_fields(event.kind, fields, needed=("label",), other=("weight",))
    elif event.kind == "sample":
        fields = payload
        _check_fields(event.kind, fields, needed=("features", "label"), other=("weight",))
    else:
        raise of_service.EventError("kind", f"is {event.kind!r:.40}; known are {', '.join(KINDS)}")
    features = fields.get("features")
    if type(features) is dict:
        for name in features:
            if type(name) is not str:
                raise of_service.EventError("payload", f"names its features by text, and not by {name!r:.40}")
        fields = fields | {"features": dict(features)}  # a copy, since the caller may change his own
    return of_service.checked_event({"id": event.id, **fields}, LIMITS)


def _check_fields(kind: str, fields: Any, needed: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Raise EventError unless a payload has the fields that it needs, and no others."""
    allowed = {*needed, *other}
    if (
        type(fields) is not dict
        or not allowed.issuperset(fields)
        or any(fields.get(name) is None for name in needed)
    ):
        raise of_service.EventError(
            "payload", f"of a {kind} has {' and '.join(needed)}, and may have a weight"
        )


def _event_of(given: Any) -> Event:
    """Return an event of anything that has its attributes or entries."""
    if isinstance(given, Event):
        event = given
    else:
        try:
            event = Event(
                *(
                    given[name] if isinstance(given, Mapping) else getattr(given, name)
                    for name in Event._fields
                )
            )
        except (AttributeError, KeyError) as error:
            lacks = error.name if isinstance(error, AttributeError) else error.args[0]
            raise ValueError(f"an event has {', '.join(Event._fields)}; this one lacks {lacks!r}") from None
    if type(event.seq) is not int or event.seq < 0:
        raise ValueError(f"the seq of an event is {event.seq!r:.40}; it must be a whole number, 0 or more")
    return event


def _choice_of(model: Any) -> Callable[[Proba], Any]:
    """Return how a model chooses a class by probabilities: by its costs, or the most probable one."""
    if getattr(model, "decision_costs", None) is not None:
        decide: Callable[[Proba], Any] = model.decide_one
        return decide
    return lambda proba: max(proba, key=proba.__getitem__)


def _name(state: bytes) -> bytes:
    """Return a short name of a state."""
    return hashlib.blake2b(state, digest_size=16).digest()
