"""A worker without a learner: what the HTTP tests ask, with answers that are known."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from concurrent.futures import Future

from driftmoe.service.events import EventError
from driftmoe.service.failures import Changed, QueueFull, Stopped


class FakeWorker:
    """Predicts `a`, takes events on a thread of its own, and has room for `most` of them."""

    def __init__(self, most=10_000, names=("default",), pause=0.0):
        self.names = list(names)
        self.taken = []
        self.n_alive = 0
        self.fails_with = None
        self.files = {name: b"model of " + name.encode() for name in names}
        self.raised = []
        self.wrong = []
        self.features = []
        self.asked = []
        self.points = []
        self.figures = {}
        self.begun = time.monotonic()
        self._most, self._pause = most, pause
        self._queue, self._ready = [], threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, events):
        with self._ready:
            if self._is_stopped:
                raise Stopped("the worker stops")
            if sum(len(waiting) for waiting, _ in self._queue) + len(events) > self._most:
                raise QueueFull("the queue is full", retry_after=2.5)
            future = Future()
            self._queue.append((list(events), future))
            self._ready.notify()
        return future

    def stop(self):
        with self._ready:
            self._is_stopped = True
            self._ready.notify()
        self._thread.join()

    def _run(self):
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._queue or self._is_stopped)
                if not self._queue:
                    return
                events, future = self._queue[0]
            time.sleep(self._pause)
            if self.fails_with is not None:
                future.set_exception(self.fails_with)
            else:
                self.taken.extend(events)
                future.set_result([self._outcome(event) for event in events])
            with self._ready:
                self._queue.pop(0)

    def _outcome(self, event):
        outcome = "predicted" if event.label is None else "learnt"
        return {"id": event.id, "key": event.key, "outcome": outcome, **self._said(), "committed": True}

    def _said(self):
        return {"label": "a", "probabilities": {"a": 0.75, "b": 0.25}}

    def predict(self, features, key):
        if any("poison" in sample for sample in features):
            raise EventError("features.poison", "the model cannot take it")
        return [self._said() for _ in features]

    def stats(self):
        if self._is_stopped:
            raise Stopped("the worker stops")
        return {
            "uptime_s": time.monotonic() - self.begun,
            "counts": {"events": len(self.taken), "predicted": 3, "learnt": 2, 'odd "name"\n': 1},
            "queue": {"n": sum(len(waiting) for waiting, _ in self._queue), "most": self._most},
            "waiting": {"n": 480, "oldest_s": 11_520.0},
            "store": {"bytes": 48_200_000},
            "memory_bytes": 312_000_000,
            "sources": [{"name": "http", "position": 17, "n": 17}],
            "version": "0.1.0",
        }

    def metrics(self, key):
        figures = {
            "model": key,
            "n_scored": 5,
            "n_learnt": 4,
            "window": 1000,
            "accuracy": 0.75,
            "kappa_m": None,
            "kappa_t": math.nan,
            "kappa_o": 0.1,
            "gate": {"tree": 0.75, 'odd "kind"\n': 0.25},
            "memory_bytes": 9_400_000,
            "waiting": {"n": 480, "oldest_s": 11_520.0},
        }
        return figures | self.figures.get(key, {})

    def history(self, key):
        return list(self.points)

    def alarms(self, key=None, since=0):
        return [
            alarm for alarm in self.raised if alarm["seq"] > since and (key is None or key == alarm["model"])
        ]

    def mistakes(self, key):
        return list(self.wrong)

    def importances(self, key):
        self.asked.append(key)
        told = [{"feature": name, "importance": value, "spread": 0.01} for name, value in self.features]
        return {"n_learnt": 4, "n_features": len(told), "n_untried": 0, "importances": told, "why": None}

    def models(self):
        return [{"name": name, "spec": "moe-adaptive", "n_learnt": 4} for name in self.names]

    def model_file(self, name):
        return self.files[name]

    def replace_model(self, name, content, expected=None):
        if not content.startswith(b"model"):
            raise ValueError("the file is no saved model")
        present = hashlib.sha256(self.files.get(name, b"")).hexdigest()
        if expected is not None and (name not in self.files or not {"*", present} & set(expected)):
            raise Changed("another model")
        self.files[name] = content
        return {"name": name, "bytes": len(content)}

    def alarm(self, kind="drift", text="", sample=100, model="default"):
        """Raise an alarm."""
        seq = self.raised[-1]["seq"] + 1 if self.raised else 1
        self.raised.append(
            {
                "seq": seq,
                "id": f"{model}-{seq}",
                "model": model,
                "sample": sample,
                "kind": kind,
                "text": text,
                "time": 1.8e9 + seq,
            }
        )
