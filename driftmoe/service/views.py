"""What a worker tells of itself: figures, history, alarms, mistakes. Nothing here changes it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from driftmoe import __version__, saving
from driftmoe.evaluation import last_step
from driftmoe.service.events import DEFAULT_KEY
from driftmoe.service.joining import Joiner
from driftmoe.service.keyed import KeyedModel
from driftmoe.service.registry import Clock, Registry, Settings
from driftmoe.service.scores import Answer, Scores
from driftmoe.service.store import Store

LONGEST_EXPLAINING = 2.0
"""Seconds after which no further prediction is explained for one caller."""

MOST_FEATURES = 100
"""Features whose importances are told, the most important ones."""


class Views:
    """Methods of a worker that any thread may call."""

    store: Store
    settings: Settings
    registry: Registry
    joiner: Joiner
    clock: Clock
    counts: dict[str, int]
    n_queued: int
    started: float
    failure: Exception | None

    def rate(self, name: str) -> float:
        """Return how many events a second had an outcome lately."""
        raise NotImplementedError

    def do(self, action: Any) -> Any:
        """Do something between two transactions."""
        raise NotImplementedError

    @property
    def names(self) -> list[str]:
        """Names of the models."""
        return sorted(self.registry.models)

    def predict(self, features: Sequence[dict[str, Any]], key: str = DEFAULT_KEY) -> list[dict[str, Any]]:
        """Return the predictions for samples that are not kept.

        Raises
        ------
        KeyError
            If there is no such model.
        ValueError
            If a sample cannot be read.
        """
        if key not in self.registry.models and key == DEFAULT_KEY:
            return [Answer(None, {}).public() for _ in features]
        answers, keyed = [], self._model(key)
        for i, proba in enumerate(keyed.predict(features)):
            if isinstance(proba, str):
                raise ValueError(f"sample {i}: {proba}")
            answers.append(Answer.of(proba, _NONE, keyed.decide).public())
        return answers

    def stats(self) -> dict[str, Any]:
        """Return what the worker does."""
        positions = self.store.positions()
        return {
            "version": __version__,
            "uptime_s": time.monotonic() - self.started,
            "model": self.registry.spec,
            "counts": dict(self.counts),
            "queue": {"n": self.n_queued, "most": self.settings.max_queue},
            "waiting": self._waiting(None),
            "early_labels": len(self.joiner.early),
            "store": {"bytes": self.store.size()},
            "memory_bytes": resident_bytes() or sum(one.n_bytes for one in self.registry.models.values()),
            "sources": [{"name": name, "position": at, "n": n} for name, (at, n) in positions.items()],
            "failure": None if self.failure is None else str(self.failure),
        }

    def metrics(self, key: str = DEFAULT_KEY) -> dict[str, Any]:
        """Return how well a model does, over a sliding window; raises KeyError if there is none."""
        keyed = self._model(key)
        return self.registry.point(keyed) | {
            "model": key,
            "predictions_per_s": self.rate("predicted"),
            "labels_per_s": self.rate("learnt"),
            "memory_bytes": keyed.n_bytes,
            "waiting": self._waiting(key),
        }

    def history(self, key: str = DEFAULT_KEY) -> list[dict[str, Any]]:
        """Return the figures of a model over time, the oldest first."""
        points = self.store.read("SELECT point FROM history WHERE key = ? ORDER BY n", (key,))
        return [json.loads(point) for (point,) in points]

    def alarms(self, key: str | None = None, since: int = 0, n: int = 200) -> list[dict[str, Any]]:
        """Return the last alarms, at most `n`, after a number in their order; the oldest first."""
        rows = self.store.read(
            "SELECT seq, id, key, content FROM alarms WHERE seq > ? AND (? IS NULL OR key = ?) "
            "ORDER BY seq DESC LIMIT ?",
            (since, key, key, n),
        )
        return [
            json.loads(content) | {"seq": seq, "id": name, "model": of}
            for seq, name, of, content in rows[::-1]
        ]

    def mistakes(self, key: str = DEFAULT_KEY) -> list[dict[str, Any]]:
        """Return the last wrong predictions, the last one first, each explained by the model as it was when asked.

        A copy of the model explains, in the caller's thread, so that the worker goes on. An explanation is `None` if
        the model gives none, or if those before it took too long; it comes when it is asked for again.
        """
        keyed = self._model(key)
        mistakes = keyed.scores.mistakes[::-1]
        if hasattr(keyed.model, "explain_one"):
            with keyed.explaining:  # several callers cost one copy
                self._explain(keyed, [mistake["event"] for mistake in mistakes])
        told = []
        for mistake in mistakes:
            said = {name: value for name, value in mistake.items() if name != "event"}
            said["features"] = json.loads(mistake["event"])["features"]
            told.append(said | {"explanation": keyed.explained.get(mistake["event"])})
        return told

    def _explain(self, keyed: KeyedModel, events: Sequence[str]) -> None:
        """Explain what the model says of some events, those that are not explained yet and only for some time."""
        explained = {event: keyed.explained[event] for event in events if event in keyed.explained}
        if len(explained) < len(set(events)):
            until, model = time.monotonic() + LONGEST_EXPLAINING, saving.from_bytes(self.do(keyed.file))
            for event in events:
                if time.monotonic() > until:
                    break
                if event in explained:
                    continue
                try:
                    explained[event] = str(model.explain_one(json.loads(event)["features"]))
                # Another model may have taken the place of that which erred.
                except (TypeError, ValueError) as error:
                    explained[event] = f"The model cannot read this sample now: {error}"
        keyed.explained = explained

    def importances(self, key: str = DEFAULT_KEY) -> dict[str, Any]:
        """Return how much a model relies on each feature, the most important first.

        A copy of the model is asked, in the caller's thread. So the worker waits only while the copy is taken, and the
        model does not change. In a pipeline the features are those of its last step, as the steps before it make them.

        Raises
        ------
        KeyError
            If there is no such model.
        """
        ours = last_step(self._model(key).model)
        if not hasattr(ours, "feature_importances"):
            lacks = f"A {type(ours).__name__} does not tell how much it relies on each feature; mixtures of experts do."
            return told_importances(self._model(key).scores.n_learnt, {}, _n_features(ours), lacks)
        if not ours._recent.is_kept:
            lacks = "A model with records=False does not keep the samples by which importances are measured."
            return told_importances(self._model(key).scores.n_learnt, {}, _n_features(ours), lacks)

        def taken() -> tuple[bytes, int, bool]:
            keyed = self._model(key)  # another one may have taken its place
            return keyed.file(), keyed.scores.n_learnt, last_step(keyed.model) is not keyed.model

        content, n_learnt, is_pipeline = self.do(taken)
        begun, ours = time.monotonic(), last_step(saving.from_bytes(content))
        found = ours.feature_importances()
        return told_importances(
            n_learnt,
            found,
            _n_features(ours),
            None if found else "The model has learnt too few samples to say which features matter.",
            is_of_last_step=is_pipeline,
            seconds=time.monotonic() - begun,
        )

    def models(self) -> list[dict[str, Any]]:
        """Return what there is of each model. The worker takes events between one and the next."""
        return [self.do(partial(self._described, name)) for name in self.names]

    def _described(self, name: str) -> dict[str, Any]:
        keyed = self.registry.models[name]
        return {
            "name": name,
            "spec": self.registry.spec,
            "n_learnt": keyed.scores.n_learnt,
            "n_features": _n_features(keyed.model),
            "n_classes": len(keyed.scores.counts),
            "bytes": keyed.n_bytes,
            "digest": saving.digest(keyed.model),
        }

    def model_file(self, name: str) -> bytes:
        """Return the file of a model, with all that is committed; raises KeyError if there is none."""
        self._model(name)
        content: bytes = self.do(lambda: self._model(name).file())
        return content

    def _model(self, key: str) -> KeyedModel:
        try:
            return self.registry.models[key]
        except KeyError:
            known = ", ".join(self.names[:10]) or "none yet"
            raise KeyError(f"there is no model {key!r}; there are: {known}") from None

    def _waiting(self, key: str | None) -> dict[str, Any]:
        """Return how many samples wait for a label, and for how many seconds the oldest does."""
        n, arrived = self.joiner.waiting.of(key)
        return {"n": n, "oldest_s": None if arrived is None else max(0.0, self.clock() - arrived)}


_NONE = Scores()


def resident_bytes() -> int:
    """Return the bytes of the process in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _n_features(model: Any) -> int | None:
    encoder = getattr(last_step(model), "_encoder", None)
    return None if encoder is None else len(encoder.features)


def told_importances(
    n_learnt: int,
    found: Mapping[Hashable, tuple[float, float]],
    n_features: int | None,
    why: str | None,
    *,
    is_of_last_step: bool = False,
    seconds: float = 0.0,
) -> dict[str, Any]:
    """Return what is told of the importances of a model's features, or `why` there are none."""
    told, n_features = list(found.items())[:MOST_FEATURES], n_features or 0
    return {
        "n_learnt": n_learnt,
        "is_of_last_step": is_of_last_step,
        "seconds": seconds,
        "n_features": n_features,
        "n_untried": n_features - len(found) if found else 0,
        "importances": [
            {"feature": str(name), "importance": mean, "spread": spread} for name, (mean, spread) in told
        ],
        "why": why,
    }
