"""Models and streams simple enough to work out by hand what an evaluation of them says."""

from __future__ import annotations

from river import base


class Recorder(base.Classifier):
    """Remembers the order of calls."""

    def __init__(self):
        self.calls = []

    def predict_one(self, x):
        self.calls.append(("predict", x["i"]))
        return 0

    def learn_one(self, x, y):
        self.calls.append(("learn", x["i"], y))


class Shown(base.Classifier):
    """Answers 0 from the start, whatever it learns."""

    def predict_one(self, x):
        return 0

    def predict_proba_one(self, x):
        return {0: 1.0}

    def learn_one(self, x, y):
        pass


class Memory(base.Classifier):
    """Knows the label of each sample that it has learnt, by its number, and of no other."""

    def __init__(self):
        self.labels = {}
        self.weights = {}

    def predict_one(self, x):
        return self.labels.get(x["i"])

    def predict_proba_one(self, x):
        return {self.labels[x["i"]]: 1.0} if x["i"] in self.labels else {}

    def learn_one(self, x, y, w=1.0):
        self.labels[x["i"]] = y
        self.weights[x["i"]] = w


def numbered(n, **columns):
    """Samples with their numbers; the label tells the number, so that a label with another sample shows."""
    return [
        ({"i": i, **{name: values[i] for name, values in columns.items()}}, f"label {i}") for i in range(n)
    ]
