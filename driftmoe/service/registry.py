"""The models of a worker: how they are recovered after a crash, and what is written of them."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from driftmoe import __version__, models, saving
from driftmoe.evaluation import last_step
from driftmoe.service.arrivals import Bounds
from driftmoe.service.events import EventError
from driftmoe.service.failures import StoreError
from driftmoe.service.keyed import N_REPLAYED, KeyedModel
from driftmoe.service.scores import Scores
from driftmoe.service.store import (
    Store,
    forget,
    write_about,
    write_alarms,
    write_history,
    write_outbox,
    write_snapshot,
)

log = logging.getLogger(__name__)

LONG = 86_400.0
"""Seconds without an event after which a start is worth a warning: the machine's clock may be wrong."""

POINT_EVERY = 500
"""Number of learnt samples between two points of a model's history."""


COMMITS_BETWEEN_FORGETTING = 200
"""Transactions after which samples that are done are forgotten, beside each snapshot."""


@dataclass(frozen=True)
class Settings:
    """How a worker works.

    Attributes
    ----------
    model
        Model of each key, as on the command line. `None`: the one that the store was begun with, or `"driftmoe"`.
    seed
        Its seed. `None`: the one that the store was begun with, or 1.
    bounds
        What is kept.
    max_batch
        Number of events in one transaction.
    max_queue
        Number of events that wait for the worker.
    snapshot_every
        Number of samples that a model learns between two snapshots, and so at most learns again after a crash.
    has_sink
        Whether predictions and alarms are sent somewhere.

    Examples
    --------
    >>> from driftmoe.service import Bounds, Settings
    >>> Settings(model="driftmoe(max_bytes=20000000)", bounds=Bounds(max_models=10)).bounds.max_models
    10
    """

    model: str | None = None
    seed: int | None = None
    bounds: Bounds = field(default_factory=Bounds)
    max_batch: int = 1_000
    max_queue: int = 10_000
    snapshot_every: int = 10_000
    has_sink: bool = False


class Clock:
    """Seconds since 1970 that never go back, and do not jump with the machine's clock while the worker runs.

    Parameters
    ----------
    least
        Time at which the clock stood when the worker ended.
    """

    def __init__(self, least: float = 0.0) -> None:
        self._start, self._from = max(least, time.time()), time.monotonic()
        if least and self._start - least > LONG:
            log.warning(
                "the clock stands %.0f days after the last event that was kept; what waited for too long is given up",
                (self._start - least) / LONG,
            )

    def __call__(self) -> float:
        """Return the time."""
        return self._start + (time.monotonic() - self._from)


class Registry:
    """One model per key.

    Parameters
    ----------
    store
        The store, from which they are recovered.
    settings
        How the worker works.
    clock
        Time of alarms and points.

    Raises
    ------
    StoreError
        If the store was begun with another model, or cannot be read.
    """

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        about = store.about()
        self.spec, self._seed = _settled(store, settings, about)
        self._generations = {
            name.removeprefix("generation "): int(value)
            for name, value in about.items()
            if name.startswith("generation ")
        }
        self.models: dict[str, KeyedModel] = {}
        self._alarms_seen: dict[str, int] = {}
        self._new: set[str] = set()
        self._n_commits = 0
        query = "SELECT key, content, scores, learnt, arrived FROM models"
        for key, content, scores, learnt, arrived in store.read(query):
            model, n_before = saving.from_bytes(content), 0
            keyed = KeyedModel(key, model, Scores.from_json(scores), learnt, arrived)
            while taken := store.taken_since(key, learnt, arrived, N_REPLAYED, n_before):
                keyed.take_again(taken)
                n_before += len(taken)
            keyed.next_point = _next_point(keyed.scores.n_learnt)
            self.models[key] = keyed
            self._alarms_seen[key] = _last_alarm(keyed.model)

    def new_model(self) -> Any:
        """Return a model that has learnt nothing."""
        return models.make(self.spec, seed=self._seed)

    def of(self, key: str) -> KeyedModel:
        """Return the model of a key, a new one if need be.

        Raises
        ------
        EventError
            If there are as many as allowed.
        """
        keyed = self.models.get(key)
        if keyed is None:
            most = self._settings.bounds.max_models
            if len(self.models) >= most:
                raise EventError(
                    "key", f"there are {most} models, as many as allowed; use a known key, or a larger bound"
                )
            keyed = KeyedModel(key, self.new_model(), Scores())
            keyed.next_point = POINT_EVERY
            self.models = self.models | {key: keyed}  # other threads may be reading
            self._alarms_seen[key] = 0
            self._new.add(key)
        return keyed

    def write(self, cursor: sqlite3.Cursor) -> None:
        """Write what is new of the models: alarms, points of their history, and a snapshot where it is due."""
        self._n_commits += 1
        is_due = (
            self._n_commits % COMMITS_BETWEEN_FORGETTING == 0
        )  # a model that does not learn has no snapshots
        for key, keyed in self.models.items():
            if keyed.scores.n_learnt >= keyed.next_point:
                keyed.next_point = _next_point(keyed.scores.n_learnt)
                write_history(cursor, key, keyed.scores.n_learnt, json.dumps(self.point(keyed)))
            self._write_alarms(cursor, key, keyed)
            keyed.measure(len(self.models))
            if key in self._new or keyed.n_since_snapshot >= self._settings.snapshot_every:
                self._write_snapshot(cursor, keyed)
                is_due = True
        if is_due:
            forget(cursor, self._settings.bounds.n_remembered)

    def written(self) -> None:
        """Note that what `write` wrote has been committed."""
        self._new.clear()

    def snapshot(self, cursor: sqlite3.Cursor) -> None:
        """Write all models that have learnt since their last snapshot."""
        for keyed in self.models.values():
            if keyed.n_since_snapshot:
                self._write_snapshot(cursor, keyed)

    def replace(self, cursor: sqlite3.Cursor, name: str, model: Any, learnt: int, arrived: int) -> None:
        """Put another model in the place of one; its scores go on, and what it took before is not taken again."""
        keyed = self.of(name)
        keyed.replace(model)
        keyed.learnt, keyed.arrived = learnt, arrived
        self._generations[name] = self._generations.get(name, 0) + 1
        self._alarms_seen[name] = _last_alarm(model)
        write_about(cursor, {f"generation {name}": self._generations[name]})
        self._write_snapshot(cursor, keyed)

    def point(self, keyed: KeyedModel) -> dict[str, Any]:
        """Return the figures of a model now."""
        of_now = {"time": self._clock(), "gate": keyed.gate_weights()}
        return keyed.scores.figures() | keyed.choices.figures() | of_now

    def _write_snapshot(self, cursor: sqlite3.Cursor, keyed: KeyedModel) -> None:
        write_snapshot(cursor, keyed.key, keyed.file(), keyed.learnt, keyed.scores.to_json(), keyed.arrived)
        keyed.n_learnt_since = keyed.n_arrived_since = 0

    def _write_alarms(self, cursor: sqlite3.Cursor, key: str, keyed: KeyedModel) -> None:
        events = getattr(last_step(keyed.model), "events", None)
        found = [] if events is None else events(self._alarms_seen[key])
        if not found:
            return
        alarms, generation = [], self._generations.get(key, 0)
        places: Counter[str] = Counter()  # several events of one kind may come with one sample
        for event in found:
            content = event.to_dict() | {"time": self._clock(), "text": str(event)}
            name = f"{key}:{generation}:{event.sample}:{event.kind}"
            places[name] += 1
            name = f"{name}:{places[name]}"
            alarms.append((name, key, json.dumps(content, default=str)))
        write_alarms(cursor, alarms)
        if self._settings.has_sink:
            write_outbox(cursor, [(name, _message(name, key, content)) for name, key, content in alarms])
        self._alarms_seen[key] = found[-1].sample


def _settled(store: Store, settings: Settings, about: dict[str, str]) -> tuple[str, int]:
    """Return the model and the seed of a store, which is begun if need be."""
    order = "arrival" if settings.bounds.lateness is None else "time"
    if "model" not in about:
        spec, seed = settings.model or "driftmoe", 1 if settings.seed is None else settings.seed
        try:  # what is wrong is told before anything is written
            saving.to_bytes(models.make(spec, seed=seed))
        except TypeError as error:
            raise ValueError(f"model '{spec}' cannot be kept in a store: {error}") from None
        with store.transaction() as cursor:
            write_about(cursor, {"model": spec, "seed": seed, "version": __version__, "order": order})
        return spec, seed
    spec, seed = about["model"], int(about["seed"])
    if settings.model not in (None, spec) or settings.seed not in (None, seed):
        raise StoreError(
            f"the store {store.folder} was begun with the model '{spec}' and seed {seed}, not with "
            f"'{settings.model or spec}' and {seed if settings.seed is None else settings.seed}; leave both out, or "
            "choose another folder"
        )
    if about["order"] != order:
        raise StoreError(
            f"the store {store.folder} learns in the order of {about['order']}, not of {order}; give --order "
            f"{about['order']}, or choose another folder"
        )
    if about["version"] != __version__:
        with store.transaction() as cursor:
            write_about(cursor, {"version": __version__})
    return spec, seed


def _message(name: str, key: str, content: str) -> str:
    """Return an alarm as it is sent."""
    return json.dumps({"kind": "alarm", "id": name, "key": key, "alarm": json.loads(content)})


def _next_point(n_learnt: int) -> int:
    return (n_learnt // POINT_EVERY + 1) * POINT_EVERY


def _last_alarm(model: Any) -> int:
    """Return the number of the sample up to which the alarms of a model are known."""
    events = getattr(last_step(model), "events", None)
    found = [] if events is None else events()
    return found[-1].sample if found else 0
