"""The model of one key, which takes runs of samples and finds those that it cannot read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from driftmoe import saving
from driftmoe.evaluation import last_step
from driftmoe.memory import n_bytes
from driftmoe.runs import Proba, run, tried
from driftmoe.service.choices import Choices
from driftmoe.service.scores import Answer, Scores
from driftmoe.service.store import Row

N_REPLAYED = 1_000
"""Samples that are read from the store at a time when a model learns again."""

SECONDS_BETWEEN_MEASUREMENTS = 1.0
"""Time between two looks at the memory of one of the models and at its sets of labels."""


class KeyedModel:
    """A model with its scores and its place in the order of learning.

    Parameters
    ----------
    key
        Name of the model.
    model
        A classifier.
    scores
        How well it did.
    learnt
        Place in the order of learning of the last sample that it has learnt.
    arrived
        Number of the last sample without a label that it was told of.
    """

    def __init__(self, key: str, model: Any, scores: Scores, learnt: int = 0, arrived: int = 0) -> None:
        self.key, self.scores, self.learnt, self.arrived = key, scores, learnt, arrived
        self.replace(model)
        self.n_learnt_since = self.n_arrived_since = 0  # since the last snapshot
        self.n_bytes = n_bytes(model)
        self.measured = time.monotonic()
        self.next_point = 0
        self.explaining = threading.Lock()

    def replace(self, model: Any) -> None:
        """Put a model in the place of this one's."""
        self.model = model
        self.decide: Callable[[Any], Any] | None = None
        if getattr(last_step(model), "decision_costs", None) is not None:
            self.decide = last_step(model).decide_one
        self.choices = Choices(last_step(model))
        self.keeps_arrivals = bool(getattr(model, "keeps_arrivals", False))
        self.explained: dict[str, str] = {}

    def predict(self, samples: Sequence[dict[str, Any]]) -> list[Proba | str]:
        """Return the class probabilities of each sample, or why it cannot be read. For any thread."""
        rows = getattr(self.model, "predict_proba_rows", None)
        if rows is not None:
            try:
                return list(rows(samples))
            except (TypeError, ValueError):
                pass  # the code below finds the sample that cannot be read
        return [tried(self.model.predict_proba_one, x) for x in samples]

    def run(
        self,
        samples: Sequence[dict[str, Any]],
        labels: Sequence[Any],
        weights: Sequence[float],
        asked: Sequence[bool],
        awaits: Sequence[bool],
    ) -> list[Proba | str | None]:
        """Predict and learn samples in turn, each as it needs; see `driftmoe.runs.run`."""
        return run(self.model, samples, labels, weights, asked, awaits=awaits)

    @property
    def n_since_snapshot(self) -> int:
        """Number of samples that it learnt since the last snapshot, or that came without a label, if those are more."""
        return max(self.n_learnt_since, self.n_arrived_since)

    def take_again(self, taken: Sequence[tuple[Row, bool]]) -> None:
        """Take samples of the store that the loaded model has not taken, in their order; see `Store.taken_since`."""
        labels = [json.loads(row.label or "null") if is_learnt else None for row, is_learnt in taken]
        weights = [float(row.weight or 0.0) if is_learnt else 1.0 for row, is_learnt in taken]
        is_arrival = [not is_learnt for _, is_learnt in taken]
        self.run([row.features for row, _ in taken], labels, weights, is_arrival, is_arrival)
        for (row, is_learnt), label, weight in zip(taken, labels, weights, strict=True):
            if not is_learnt:
                self.arrived = row.seq
                self.n_arrived_since += 1
                continue
            answer = None if row.answer is None else Answer.from_json(row.answer)
            self.scores.add(row.id, row.event, label, answer, weight)
            self.learnt = row.learnt or self.learnt
            self.n_learnt_since += 1

    def measure(self, n_models: int) -> None:
        """Look at the model's memory and its sets now and then, one of `n_models` a second: it takes milliseconds."""
        now = time.monotonic()
        if now >= self.measured + n_models * SECONDS_BETWEEN_MEASUREMENTS:
            self.n_bytes, self.measured = n_bytes(self.model), now
            self.choices.look()

    def file(self) -> bytes:
        """Return the file of the model."""
        return saving.to_bytes(self.model)

    def gate_weights(self) -> dict[str, float]:
        """Return the mean weight of each kind of expert lately; empty if the model has no router."""
        report = getattr(last_step(self.model), "routing_report", None)
        if report is None:
            return {}
        figures = report().window
        weights: dict[str, float] = {}
        for name, weight in zip(figures.experts, figures.weight.tolist(), strict=True):
            kind = name.split(" ", 1)[0]
            if weight == weight:
                weights[kind] = weights.get(kind, 0.0) + weight
        return weights
