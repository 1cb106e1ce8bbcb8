"""The model of one key, which takes runs of samples and finds those that it cannot read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from driftmoe import saving
from driftmoe.evaluation import has_learnt, last_step
from driftmoe.memory import n_bytes
from driftmoe.service.choices import Choices
from driftmoe.service.scores import Answer, Scores
from driftmoe.service.store import Row

N_REPLAYED = 1_000
"""Samples that are read from the store at a time when a model learns again."""

SECONDS_BETWEEN_MEASUREMENTS = 1.0
"""Time between two looks at the memory of one of the models and at its sets of labels."""

Proba = dict[Any, float]

Answered = TypeVar("Answered")


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
    """

    def __init__(self, key: str, model: Any, scores: Scores, learnt: int = 0) -> None:
        self.key, self.scores, self.learnt = key, scores, learnt
        self.replace(model)
        self.n_since_snapshot = 0
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
        self.explained: dict[str, str] = {}

    def predict(self, samples: Sequence[dict[str, Any]]) -> list[Proba | str]:
        """Return the class probabilities of each sample, or why it cannot be read. For any thread."""
        rows = getattr(self.model, "predict_proba_rows", None)
        if rows is not None:
            try:
                return list(rows(samples))
            except (TypeError, ValueError):
                pass  # the code below finds the sample that cannot be read
        return [_tried(self.model.predict_proba_one, x) for x in samples]

    def run(
        self,
        samples: Sequence[dict[str, Any]],
        labels: Sequence[Any],
        weights: Sequence[float],
        asked: Sequence[bool],
    ) -> list[Proba | str | None]:
        """Predict and learn samples in turn, each as it needs.

        Parameters
        ----------
        samples
            Features.
        labels
            Label of each sample; `None` for one that is only predicted.
        weights
            Weight of each sample.
        asked
            Whether each sample is predicted, before it is learnt.

        Returns
        -------
        answers
            For each sample, its class probabilities, `None` if it is only learnt, or why it cannot be read.
        """
        rows, n = getattr(self.model, "run_rows", None), len(samples)
        if rows is not None:
            try:
                return list(rows(samples, labels, weights, asked=asked))
            except (TypeError, ValueError) as error:
                if has_learnt(error):
                    raise RuntimeError(f"{type(error).__name__}: {error}") from error
        if rows is None or n == 1:
            one_by_one = zip(samples, labels, weights, asked, strict=True)
            return [_tried(self._run_one, *one) for one in one_by_one]
        halves = slice(n // 2), slice(n // 2, n)  # to find the samples that cannot be read
        return [
            answer
            for half in halves
            for answer in self.run(samples[half], labels[half], weights[half], asked[half])
        ]

    def _run_one(self, x: dict[str, Any], y: Any, w: float, is_asked: bool) -> Proba | None:
        # One that is only learnt is predicted, too: that tells whether it can be read.
        proba: Proba = self.model.predict_proba_one(x)
        try:
            if y is not None and w == 1.0:
                self.model.learn_one(x, y)
            elif y is not None and w > 0.0:
                self.model.learn_one(x, y, w=w)
        # A step of a pipeline may have learnt the sample, and another not.
        except (TypeError, ValueError) as error:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        return proba if is_asked else None

    def learn_again(self, rows: Sequence[Row]) -> None:
        """Learn samples of the store that the loaded model has not learnt, in their order."""
        labels = [json.loads(row.label or "null") for row in rows]
        weights = [float(row.weight or 0.0) for row in rows]
        self.run([row.features for row in rows], labels, weights, [False] * len(rows))
        for row, label, weight in zip(rows, labels, weights, strict=True):
            answer = None if row.answer is None else Answer.from_json(row.answer)
            self.scores.add(row.id, row.event, label, answer, weight)
            self.learnt = row.learnt or self.learnt
        self.n_since_snapshot += len(rows)

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


def _tried(call: Callable[..., Answered], *arguments: Any) -> Answered | str:
    try:
        return call(*arguments)
    except (TypeError, ValueError) as error:
        return str(error)
