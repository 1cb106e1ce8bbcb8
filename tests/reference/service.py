"""What a worker must say and learn, event by event: a plain twin without store, batches or blocks."""

from __future__ import annotations

from collections import OrderedDict

from driftmoe import models

WAITS_FOR_FEATURES = "waiting for features"


class PlainWorker:
    """Takes events as dictionaries, one at a time. Labels are learnt in the order in which they come."""

    def __init__(self, spec, *, max_waiting, max_models=100):
        self.spec, self.max_waiting, self.max_models = spec, max_waiting, max_models
        self.models = {}
        self.seen = {}  # (key, id) -> what is known of it
        self.waiting, self.early = OrderedDict(), OrderedDict()
        self.counts = {}

    def take(self, event):
        key, name = event.get("key", "default"), event.get("id")
        full = (key, name)
        features, label, weight = event.get("features"), event.get("label"), event.get("weight", 1.0)
        if features is None:
            return self._label(full, label, weight)
        if key not in self.models:
            if len(self.models) >= self.max_models:
                return self._count("refused")
            self.models[key] = models.make(self.spec, seed=1)
        if name is not None and full in self.seen:
            known = self.seen[full]
            if features != known["features"]:
                return self._count("conflict")
            return self._count("duplicate") if label is None else self._label(full, label, weight)
        early = self.early.pop(full, None) if name is not None else None
        known = {"features": features, "state": "waiting", "label": None}
        if name is not None:
            self.seen[full] = known
        if early is not None:
            outcome = self._learn(key, known, *early)
            if label is not None and not same(label, early[0]):
                self._count("conflict")
            return outcome
        if label is not None:
            return self._learn(key, known, label, weight)
        if name is not None:
            while len(self.waiting) >= self.max_waiting:
                oldest, _ = self.waiting.popitem(last=False)
                self.seen[oldest]["state"] = "expired"
                self._count("expired")
            self.waiting[full] = True
        try:
            model = self.models[key]
            is_late = name is not None and hasattr(model, "arrive_one")
            known["proba"] = (model.arrive_one if is_late else model.predict_proba_one)(features)
        except (TypeError, ValueError):
            known["state"] = "refused"
            return self._count("refused")
        self._count("predicted")
        return "predicted", known["proba"]

    def _label(self, full, label, weight):
        known = self.seen.get(full)
        if known is None:
            if full in self.early:
                return self._count("duplicate" if same(self.early[full][0], label) else "conflict")
            while len(self.early) >= self.max_waiting:
                self.early.popitem(last=False)
                self._count("unknown")
            self.early[full] = (label, weight)
            return WAITS_FOR_FEATURES, None
        if known["state"] == "waiting":
            self.waiting.pop(full, None)
            return self._learn(full[0], known, label, weight)
        if known["state"] == "learnt":
            return self._count("duplicate" if same(known["label"], label) else "conflict")
        if known["state"] == "refused":
            self.waiting.pop(full, None)
        return self._count(known["state"])

    def _learn(self, key, known, label, weight):
        model = self.models[key]
        known["label"] = label
        try:
            proba = model.predict_proba_one(known["features"])
            if weight > 0:
                model.learn_one(known["features"], label, w=weight)
        except (TypeError, ValueError):
            known["state"] = "refused"
            return self._count("refused")
        if "proba" not in known:
            known["proba"] = proba
            self._count("predicted")
        known["state"] = "learnt"
        self._count("learnt")
        return "learnt", known["proba"]

    def _count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1
        return what, None


def same(one, other):
    """Whether two labels of JSON are equal and of one type."""
    return type(one) is type(other) and one == other
