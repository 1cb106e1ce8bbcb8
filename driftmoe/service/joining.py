"""Labels find their samples: what is known of each id, and what follows from an event.

A batch of events is taken in order. For each model, what is to be predicted and what is to be learnt go through it
together, which gives the same result as one after the other.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from driftmoe.service.arrivals import Arrival, Bounds, Operation, Outcome
from driftmoe.service.events import Event, EventError, as_mapping
from driftmoe.service.keyed import KeyedModel
from driftmoe.service.scores import Answer, label_json
from driftmoe.service.store import (
    EXPIRED,
    LEARNT,
    REFUSED,
    WAITING,
    Label,
    Row,
    Store,
    add_counts,
    write_about,
    write_dead,
    write_expired,
    write_labels,
    write_outbox,
    write_rows,
)
from driftmoe.service.waiting import Name, Waiting

AHEAD = 86_400.0
"""Seconds by which the time of an event may be ahead of the clock: one far ahead would end the waiting of all."""

MOST_SHOWN = 10_000
"""Characters of an event that was not used that are kept."""


class Joiner:
    """What is known of the ids, between batches and within one.

    Parameters
    ----------
    store
        The store, from which it is read.
    bounds
        What is kept.
    model_of
        Returns the model of a key; raises EventError if there can be no more.
    clock
        Returns the time in seconds, which never goes back.
    has_sink
        Whether predictions are sent somewhere.
    """

    def __init__(
        self,
        store: Store,
        bounds: Bounds,
        model_of: Callable[[str], KeyedModel],
        clock: Callable[[], float],
        *,
        has_sink: bool = False,
    ) -> None:
        self._store, self._bounds, self._model_of, self._clock = store, bounds, model_of, clock
        self._has_sink = has_sink
        about = store.about()
        self.seq, self.learnt = int(about.get("seq", 0)), int(about.get("learnt", 0))
        self._watermark = float(about.get("watermark", "-inf"))
        self.waiting = Waiting(((key, name), seq, arrived) for seq, key, name, arrived in store.waiting())
        self.early: OrderedDict[Name, Label] = OrderedDict(
            ((label.key, label.id), label) for label in store.early()
        )
        self._held = [(label.arrived, label.seq, label) for label in store.held()]
        self._held_names = Counter((label.key, label.id) for _, _, label in self._held)
        for name in self._held_names:
            self.waiting.discard(name)
        self._clear()

    def _clear(self) -> None:
        """Forget what the last batch has changed."""
        self._rows: dict[Name, Row] = {}
        self._looked_up: set[Name] = set()
        self._written: dict[int, Row] = {}
        self._added: dict[int, Label] = {}
        self._removed: list[Label] = []
        self._expired: list[int] = []
        self._dead: list[tuple[float, str, str, str, str]] = []
        self._outbox: list[tuple[str, str]] = []
        self._counts: Counter[str] = Counter()
        self._runs: dict[str, list[Operation]] = {}

    def take(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Take events in order, and return the outcome of each. `write` keeps what follows from them."""
        self._clear()
        events = [arrival.read(self._bounds.limits) for arrival in arrivals]
        names = {(one.key, one.id) for one in events if isinstance(one, Event) and one.id is not None}
        self._look_up(names)
        outcomes = []
        for arrival, event in zip(arrivals, events, strict=True):
            outcome = Outcome.of(event)
            outcomes.append(outcome)
            self._counts["events"] += 1
            try:
                if isinstance(event, EventError):
                    raise event
                self._take_one(arrival, event, outcome)
            except EventError as error:
                self._note(arrival, event, outcome, "refused", str(error))
        for key in list(self._runs):
            self._flush(key)
        return outcomes

    def _take_one(self, arrival: Arrival, event: Event, outcome: Outcome) -> None:
        now = self._clock()
        if self._bounds.lateness is not None:
            for name in ("time", "id"):
                if getattr(event, name) is None:
                    raise EventError(name, "is needed when labels count in the order of time")
            now = float(event.time or 0.0)
            if now > self._clock() + AHEAD:
                raise EventError("time", f"{now:.0f} is more than a day ahead of the clock")
            self._watermark = max(self._watermark, now)
            self._release(arrival, self._watermark - self._bounds.lateness)
        self._give_up(arrival, now - self._bounds.max_age)
        if event.features is not None:
            self._take_features(arrival, event, outcome, now)
        else:
            self._take_label(arrival, event, outcome, now)

    def _take_features(self, arrival: Arrival, event: Event, outcome: Outcome, now: float) -> None:
        keyed = self._model_of(event.key)
        name = None if event.id is None else (event.key, event.id)
        known = None if name is None else self._known(name)
        if known is not None:
            self._take_again(arrival, event, outcome, known, now)
            return
        content = arrival.content
        text = content.decode() if isinstance(content, bytes) else as_json({"features": event.features})
        row = Row(self._next_seq(), event.key, event.id, WAITING, now, text)
        operation = Operation(arrival, row, event.features or {}, outcome)
        early = None
        if name is not None:
            self._rows[name] = row
            early = self.early.pop(name, None)
        if early is not None:
            self._remove(early)
            self._learn(arrival, row, json.loads(early.label), early.weight, outcome, event.features)
            if event.label is not None and label_json(event.label) != early.label:
                self._note(arrival, event, Outcome(), "conflict", f"the label {early.label} came before")
        elif event.label is not None and self._bounds.lateness is None:
            self._learn(arrival, row, event.label, event.weight, outcome, event.features)
        elif name is None:  # a prediction alone: nothing is kept
            row.state = LEARNT
            self._run(operation)
        else:
            row.after = self.learnt if keyed.keeps_arrivals else None
            if name not in self._held_names:  # else its label has come, and waits for its time
                self._make_room(arrival)
                self.waiting.add(name, row.seq, row.arrived)
            self._run(operation)
            if event.label is not None:
                self._take_label(arrival, event, outcome, now)

    def _take_again(self, arrival: Arrival, event: Event, outcome: Outcome, known: Row, now: float) -> None:
        """Take features whose id is known: the first ones count."""
        self._flush(event.key)  # so that there is an answer, if the first ones came in the same batch
        outcome.answer = None if known.answer is None else Answer.from_json(known.answer)
        if event.features != known.features:
            self._note(arrival, event, outcome, "conflict", "other features with this id came before")
        elif event.label is None:
            self._note(arrival, event, outcome, "duplicate", "the features came before")
        else:
            self._take_label(arrival, event, outcome, now)

    def _take_label(self, arrival: Arrival, event: Event, outcome: Outcome, now: float) -> None:
        label = label_json(event.label)
        name = (event.key, event.id or "")
        if self._bounds.lateness is None:
            self._join(arrival, name, label, event.weight, outcome, now)
            return
        held = Label(self._next_seq(), *name, now, now, label, event.weight)
        self._added[held.seq] = held
        heapq.heappush(self._held, (now, held.seq, held))
        self._held_names[name] += 1
        self.waiting.discard(name)  # its label is there
        outcome.what = "waiting for its time"  # unless its features turn out to be refused
        self._counts["labels held"] += 1
        while len(self._held) > self._bounds.max_waiting:
            self._release_first(arrival)

    def _join(
        self, arrival: Arrival, name: Name, label: str, weight: float, outcome: Outcome, now: float
    ) -> None:
        """Find the sample of a label, and learn it."""
        row = self._known(name)
        event = Event(name[1], None, json.loads(label), name[0], weight=weight)
        if row is not None and row.state == LEARNT and row.learnt is None:
            self._flush(name[0])  # whether the model could read it is seen then
        if row is None:
            early = self.early.get(name)
            if early is not None:
                outcome_of_early = "duplicate" if early.label == label else "conflict"
                self._note(arrival, event, outcome, outcome_of_early, f"the label {early.label} came before")
                return
            self._make_room_for_labels(arrival)
            early = Label(self._next_seq(), *name, now, None, label, weight)
            self.early[name] = self._added[early.seq] = early
            outcome.what = "waiting for features"
            self._counts["labels before their features"] += 1
        elif row.state == WAITING:
            if row.answer is None:  # the model is still to be asked: it may refuse the features
                self._flush(name[0])
            if row.state == WAITING:
                self._learn(arrival, row, event.label, weight, outcome)
            else:
                self._note_refused(arrival, event, outcome, row, label)
        elif row.state == LEARNT:
            what = "duplicate" if row.label == label else "conflict"
            self._note(arrival, event, outcome, what, f"the label {row.label} came before")
        elif row.state == EXPIRED:
            self._note(arrival, event, outcome, "expired", "the label came when its sample was given up")
        else:
            self._note_refused(arrival, event, outcome, row, label)

    def _note_refused(self, arrival: Arrival, event: Event, outcome: Outcome, row: Row, label: str) -> None:
        """Note a label whose features were refused; they wait no longer."""
        self.waiting.discard((row.key, row.id or ""))
        row.label = label
        self._written[row.seq] = row
        self._note(arrival, event, outcome, "refused", "its features were refused")

    def _learn(
        self,
        arrival: Arrival,
        row: Row,
        label: Any,
        weight: float,
        outcome: Outcome,
        features: dict[str, Any] | None = None,
    ) -> None:
        self.waiting.discard((row.key, row.id or ""))
        row.state = LEARNT
        row.label, row.weight = label_json(label), weight
        features = row.features if features is None else features
        self.learnt += 1  # here, so that it does not depend on how events are cut into batches
        self._run(Operation(arrival, row, features, outcome, label, weight, self.learnt, row.answer is None))

    def _run(self, operation: Operation) -> None:
        """Add an operation to those that go through its model together."""
        self._runs.setdefault(operation.row.key, []).append(operation)

    def _flush(self, key: str) -> None:
        """Let the operations that were added for a model go through it."""
        run = self._runs.pop(key, [])
        if not run:
            return
        keyed = self._model_of(key)
        answers = keyed.run(
            [one.features for one in run],
            [one.label for one in run],
            [one.weight for one in run],
            [one.is_asked for one in run],
            [one.row.after is not None and one.label is None for one in run],
        )
        for one, proba in zip(run, answers, strict=True):
            if isinstance(proba, str):
                self._refuse(one, proba)
                continue
            answer = None if proba is None else self._answered(one, proba, keyed)
            if one.label is not None:
                self._learnt(one, answer, keyed)

    def _learnt(self, operation: Operation, answer: Answer | None, keyed: KeyedModel) -> None:
        """Note that a model has learnt a sample, with what it said of it before if that was now."""
        row = operation.row
        row.learnt = keyed.learnt = operation.place
        keyed.n_learnt_since += 1
        if answer is None:
            assert row.answer is not None  # it was asked when it came
            answer = Answer.from_json(row.answer)
        keyed.scores.add(row.id, row.event, operation.label, answer, operation.weight)
        keyed.choices.add(answer, operation.label)
        operation.outcome.answer, operation.outcome.what = answer, "learnt"
        self._counts["learnt"] += 1
        self._written[row.seq] = row

    def _answered(self, operation: Operation, proba: Any, keyed: KeyedModel) -> Answer:
        """Note what the model says of a sample that has come."""
        row = operation.row
        answer = Answer.of(proba, keyed.scores, keyed.decide)
        row.answer = answer.to_json()
        operation.outcome.answer = answer
        operation.outcome.what = operation.outcome.what or "predicted"
        self._counts["predicted"] += 1
        if row.after is not None and operation.label is None:
            keyed.arrived = row.seq
            keyed.n_arrived_since += 1
        if row.state != LEARNT or row.label is not None:
            self._written[row.seq] = row
        if self._has_sink:
            name = row.seq if row.id is None else row.id  # a number or text: never equal
            message = {"kind": "prediction", "id": name, "key": row.key, **answer.public()}
            self._outbox.append((as_json([row.key, name]), as_json(message)))
        return answer

    def _refuse(self, operation: Operation, reason: str) -> None:
        """Note a sample that the model cannot read."""
        row = operation.row
        # It keeps its place among those that wait, so that it goes when it would have gone.
        if row.state != EXPIRED:
            row.state = REFUSED
        if row.id is not None:
            self._written[row.seq] = row
        event = Event(row.id, operation.features, operation.label, row.key, weight=operation.weight)
        self._note(operation.arrival, event, operation.outcome, "refused", reason)

    def _note(
        self, arrival: Arrival, event: Event | EventError, outcome: Outcome, what: str, reason: str
    ) -> None:
        """List and count an event that is not used."""
        outcome.what, outcome.message = what, reason
        self._counts[what] += 1
        if isinstance(event, Event):
            text = as_json(as_mapping(event))
        else:
            text = arrival.content.decode("utf-8", "replace") if isinstance(arrival.content, bytes) else ""
        self._dead.append((self._clock(), arrival.source, what, text[:MOST_SHOWN], reason))

    def _look_up(self, names: set[Name]) -> None:
        """Read the samples of some names from the store."""
        self._looked_up |= names
        found = self._store.rows(names)
        if self._expired:  # in this batch: the store does not know of it yet
            expired = set(self._expired)
            for row in found.values():
                if row.seq in expired:
                    row.state = EXPIRED
        self._rows |= found

    def _known(self, name: Name) -> Row | None:
        if name not in self._looked_up:
            self._look_up({name})
        return self._rows.get(name)

    def _next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def _remove(self, label: Label) -> None:
        if self._added.pop(label.seq, None) is None:
            self._removed.append(label)

    def _give_up(self, arrival: Arrival, oldest: float) -> None:
        """Give up samples and labels that came before a time."""
        while self.waiting.first_arrived() < oldest:
            self._give_up_first(arrival)
        while self.early and next(iter(self.early.values())).arrived < oldest:
            self._give_up_first_label(arrival)

    def _make_room(self, arrival: Arrival) -> None:
        while len(self.waiting) >= self._bounds.max_waiting:
            self._give_up_first(arrival)

    def _make_room_for_labels(self, arrival: Arrival) -> None:
        while len(self.early) >= self._bounds.max_waiting:
            self._give_up_first_label(arrival)

    def _give_up_first(self, arrival: Arrival) -> None:
        """Give up the sample that has waited longest for its label."""
        name, seq = self.waiting.take_first()
        row = self._rows.get(name)
        if row is not None:
            row.state = EXPIRED
        self._expired.append(seq)
        self._note(
            arrival, Event(name[1], None, None, name[0]), Outcome(), "expired", "no label came in time"
        )

    def _give_up_first_label(self, arrival: Arrival) -> None:
        """Give up the label that has waited longest for its features."""
        name, label = self.early.popitem(last=False)
        self._remove(label)
        event = Event(name[1], None, json.loads(label.label), name[0], weight=label.weight)
        self._note(arrival, event, Outcome(), "unknown", "no features with this id came in time")

    def _release(self, arrival: Arrival, due: float) -> None:
        """Let the labels count whose time has come."""
        while self._held and self._held[0][0] <= due:
            self._release_first(arrival)

    def _release_first(self, arrival: Arrival) -> None:
        """Let the held label of the least time count."""
        _, _, label = heapq.heappop(self._held)
        name = (label.key, label.id)
        self._held_names[name] -= 1
        if not self._held_names[name]:
            del self._held_names[name]
        self._remove(label)
        self._join(arrival, name, label.label, label.weight, Outcome(), label.arrived)

    def release_all(self, arrival: Arrival) -> None:
        """Let all labels count that wait for their time: the source has ended. `write` keeps what follows."""
        self._clear()
        self._release(arrival, float("inf"))
        for key in list(self._runs):
            self._flush(key)

    def note(self, arrival: Arrival, reason: str) -> None:
        """Note an event that made its model fail, in the place of taking it. `write` keeps it."""
        self._clear()
        self._counts["events"] += 1
        content = arrival.content
        event = content if isinstance(content, Event) else EventError("", reason)
        self._note(arrival, event, Outcome(), "refused", reason)

    def write(self, cursor: sqlite3.Cursor) -> dict[str, int]:
        """Write what follows from the last batch. Return what is added to the counters."""
        write_rows(cursor, self._written.values())
        write_expired(cursor, self._expired)
        write_labels(cursor, self._added.values(), self._removed)
        write_dead(cursor, self._dead)
        write_outbox(cursor, self._outbox)
        add_counts(cursor, self._counts)
        write_about(
            cursor,
            {"seq": self.seq, "learnt": self.learnt, "watermark": self._watermark, "clock": self._clock()},
        )
        return dict(self._counts)


as_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""Return a value as JSON."""
