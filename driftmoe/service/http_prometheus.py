"""The figures of a worker for Prometheus, in a registry of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from driftmoe.service.http_context import Worker, ask, parameters

MOST_MODELS = 1_000
"""Number of models that are listed, so that keys cannot flood a time-series database."""

OF_WORKER = (
    ("uptime_seconds", ("uptime_s",), "Seconds since the worker started"),
    ("queue_events", ("queue", "n"), "Events that wait to be taken"),
    ("queue_room_events", ("queue", "most"), "Greatest number of events that may wait to be taken"),
    ("waiting_samples", ("waiting", "n"), "Samples that wait for their labels"),
    ("waiting_oldest_seconds", ("waiting", "oldest_s"), "Age of the oldest sample that waits for its label"),
    ("store_bytes", ("store", "bytes"), "Size of the store on disk"),
    ("memory_bytes", ("memory_bytes",), "Memory of the process"),
)
"""Name of a gauge, where `stats` has it, and its help."""

OF_MODEL = (
    ("accuracy", "Share of right predictions in the window"),
    ("kappa_m", "Kappa against the majority class in the window"),
    ("kappa_t", "Kappa against the last label in the window"),
    ("kappa_o", "Kappa against the label that most often followed the last one in the window"),
    ("ece", "Expected calibration error in the window"),
    ("log_loss", "Log-loss in the window, in nats"),
    ("no_change", "Accuracy of predicting the last label, in the window"),
    ("majority", "Accuracy of predicting the majority class, in the window"),
    ("markov", "Accuracy of predicting the label that most often followed the last one, in the window"),
    ("mean_cost", "Mean cost of a decision in the window"),
    ("coverage", "Share of prediction sets that hold the true label, in the window"),
    ("set_size", "Mean number of labels in a prediction set, in the window"),
    ("memory_bytes", "Memory of the model"),
)
"""Name of a gauge of a model, as in `metrics`, and its help."""


class Collector:
    """Asks the worker for its figures whenever Prometheus does.

    Parameters
    ----------
    worker
        The worker.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def describe(self) -> list[Metric]:
        """Return no names, so that registering asks for no figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families of figures."""
        stats = self._worker.stats()
        yield from _of_worker(stats)
        names = list(self._worker.names)[:MOST_MODELS]
        yield from _of_models({name: self._worker.metrics(name) for name in names})


def registry_of(worker: Worker) -> CollectorRegistry:
    """Return a registry that holds the figures of a worker and nothing else."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(worker))
    return registry


async def exposition(request: Request) -> Response:
    """Return all figures in Prometheus's text format."""
    parameters(request)
    registry = request.app.state.registry
    text = await ask(generate_latest, registry)
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


def _of_worker(stats: dict[str, Any]) -> Iterator[Metric]:
    yield GaugeMetricFamily("driftmoe_up", "1 while the worker runs", float(not stats.get("failure")))
    total = CounterMetricFamily("driftmoe_events", "Events by outcome", labels=["outcome"])
    for outcome, n in sorted((stats.get("counts") or {}).items()):
        total.add_metric([str(outcome)], float(n))
    yield total
    for name, path, text in OF_WORKER:
        value: Any = stats
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if (number := _number(value)) is not None:
            yield GaugeMetricFamily(f"driftmoe_{name}", text, number)


def _of_models(metrics: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    for name, text, field in (
        ("scored", "Predictions of a model whose label has come", "n_scored"),
        ("labels", "Labels that a model has learnt", "n_learnt"),
    ):
        counter = CounterMetricFamily(f"driftmoe_model_{name}", text, labels=["model"])
        for model, figures in metrics.items():
            counter.add_metric([model], float(figures.get(field) or 0))
        yield counter
    for name, text in OF_MODEL:
        gauge = GaugeMetricFamily(f"driftmoe_model_{name}", text, labels=["model"])
        for model, figures in metrics.items():
            if (number := _number(figures.get(name))) is not None:
                gauge.add_metric([model], number)
        if gauge.samples:
            yield gauge
    weights = GaugeMetricFamily(
        "driftmoe_model_gate_weight", "Gate weight by kind of expert", labels=["model", "kind"]
    )
    for model, figures in metrics.items():
        for kind, weight in (figures.get("gate") or {}).items():
            if (number := _number(weight)) is not None:
                weights.add_metric([model, str(kind)], number)
    yield weights


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, str | bool):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
