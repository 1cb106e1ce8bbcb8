"""Count the predictions of one run, and make checkpoints of the figures."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Hashable
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING, Any

from driftmoe.evaluation.checks import costs_of
from driftmoe.evaluation.loops import Answers
from driftmoe.evaluation.user_metrics import (
    Metrics,
    by_name,
    fresh,
    innermost,
    reader_of,
    update_metric,
    values_of,
)
from driftmoe.metrics import Fading, RamHours, Scores, pass_over
from driftmoe.state import State, check_names, count_of

if TYPE_CHECKING:
    from driftmoe.mixture.routing_figures import RoutingReport

MEASURING_SHARE = 0.02
"""Time for measuring memory, as a share of the time in the model."""

PLAIN = ("seconds", "seconds_before", "cpu_seconds", "measuring", "model_bytes")
COUNTS = ("n_samples", "n_warm_up", "n_counted")
OF_PARTS = (
    "counted_in_step", "total", "weighted_labels", "recent", "metrics", "recent_metrics", "read", "ram_hours",
    "routing_at_start", "routing_before",
)  # fmt: skip
"""Entries of a tally's state: times and memory, numbers of samples, and what its parts hold."""


@dataclass(frozen=True)
class Checkpoint:
    """The figures at the end of a step, or of the stream.

    Attributes
    ----------
    n_samples
        Number of samples of the stream so far.
    cumulative
        Figures over all samples that count so far, as shares: accuracy, kappa, kappa_m, kappa_t, kappa_o, f1_macro,
        g_mean, and the metrics asked for; of a model with `decision_costs` also mean_cost, by these costs. NaN if no
        sample counts yet.
    window
        The same figures over the last window, or over all samples with older ones counting less.
    seconds
        Time spent in the model so far, predicting and learning, without making samples or computing figures.
    window_seconds
        The same since the last checkpoint.
    cpu_seconds
        Time of all processor cores spent in the model so far.
    model_bytes
        Memory of the model at the last measurement; see `prequential`.
    ram_hours
        Memory times time so far, in GB·h.
    predictions
        (true label, prediction) of each sample since the last checkpoint, including the warm-up, if asked for.
    routing
        Routing of the samples that the model learned, over the same window and from the start of the run; `None` if the
        model has no `routing_report`.
    n_warm_up
        Number of samples that were predicted before any label had come, when no model could know a class.
    n_counted
        Number of samples that count in `cumulative`: those that were predicted, without the warm-up unless it counts.
    n_window_counted
        Number of samples that count in `window`.

    Examples
    --------
    >>> from river import dummy
    >>> from driftmoe.evaluation import prequential
    >>> labels = ["a", "a", "b", "a"]  # "no change" is right once in three, after the first
    >>> (checkpoint,) = prequential([({"x": 0.0}, y) for y in labels], dummy.NoChangeClassifier())
    >>> checkpoint.n_samples, checkpoint.n_warm_up, round(checkpoint.cumulative["accuracy"], 3)
    (4, 1, 0.333)
    """

    n_samples: int
    cumulative: dict[str, float]
    window: dict[str, float]
    seconds: float
    window_seconds: float
    cpu_seconds: float = 0.0
    model_bytes: int = 0
    ram_hours: float = 0.0
    predictions: tuple[tuple[Hashable, Hashable], ...] = ()
    routing: RoutingReport | None = None
    n_warm_up: int = 0
    n_counted: int = 0
    n_window_counted: int = 0


class Tally:
    """The measurements of one run."""

    def __init__(
        self,
        model: Any,
        stream: Any,
        metrics: Metrics | None,
        window: int,
        step: int,
        fading: float | None,
        keep_predictions: bool,
        counts_warm_up: bool = False,
    ) -> None:
        classes = getattr(stream, "classes", ())
        self.model = model
        self.n_samples = self.n_warm_up = self.n_counted = 0
        self._counts_warm_up = counts_warm_up
        self._counted_in_step: deque[int] = deque([0], maxlen=window // step)
        asked_for = by_name(metrics)
        self._readers = {name: reader_of(name, metric) for name, metric in asked_for.items()}
        self._metrics = {name: fresh(metric) for name, metric in asked_for.items()}
        self.reads_proba = not all(metric.requires_labels for metric in self._metrics.values())
        costs = costs_of(model)
        self._total = Scores(classes=classes, costs=costs)
        self._weighted_labels: Counter[Hashable] = Counter()  # `_total` has their weights, not their number
        self._is_faded = fading is not None
        self._recent: Any
        if fading is None:
            self._recent = self._total.over_last(window, step)
            self._recent_metrics = {}
        else:
            self._recent = Fading(Scores, factor=fading, classes=classes, costs=costs)
            self._recent_metrics = {
                name: Fading(metric.clone, factor=fading) for name, metric in self._metrics.items()
            }
        # What the metrics of a window have read, step by step.
        self._read: deque[list[tuple[dict[str, tuple[Any, Any]], float]]] = deque([[]], maxlen=window // step)
        self._keep_predictions = keep_predictions
        self._predictions: list[tuple[Hashable, Hashable]] = []
        self._seconds = self._seconds_before = self._cpu_seconds = self._measuring = 0.0
        self._model_bytes = 0
        self._ram_hours = RamHours()
        self._routing_before: deque[Any] = deque(maxlen=window // step)
        self._routing_at_start = None
        if hasattr(model, "routing_report"):
            self._routing_at_start = model.routing_report().cumulative
            self._routing_before.append(self._routing_at_start)

    def begin(self) -> None:
        """Begin the first window after a warm start, whose time and routing do not count in that window."""
        self._seconds_before = self._seconds
        if self._routing_at_start is not None:
            self._routing_before.clear()
            self._routing_before.append(self.model.routing_report().cumulative)

    def add(self, event: Answers, *, is_counted: bool = True) -> None:
        """Add samples. If `is_counted` is false, they were only learned, and do not count in the figures."""
        self.n_samples += len(event.y_true)
        self._seconds += event.seconds
        self._cpu_seconds += event.cpu_seconds
        if not is_counted:
            return
        if self._keep_predictions:
            self._predictions += zip(event.y_true, event.y_pred, strict=True)
        self.n_warm_up += event.n_warm_up
        if event.n_warm_up and not self._counts_warm_up:
            event = self._pass_over_warm_up(event)
        if not event.y_true:
            return
        self.n_counted += len(event.y_true)
        self._counted_in_step[-1] += len(event.y_true)
        self._total.update_many(event.y_true, event.y_pred, event.weights)
        if event.weights is not None:
            self._weighted_labels.update(event.y_true)
        if self._is_faded:  # otherwise `_total` tells it
            for y, p, w in zip(event.y_true, event.y_pred, event.weights or repeat(1.0)):  # noqa: B905 - endless
                self._recent.update(y, p, w)
        if self._metrics:
            self._add_to_metrics(event)

    def _pass_over_warm_up(self, event: Answers) -> Answers:
        """Return the samples that count, and give the labels of the others to the baselines."""
        n = event.n_warm_up
        faded = (self._recent,) if self._is_faded else ()
        of_labels = (self._total, *faded, *self._metrics.values(), *self._recent_metrics.values())
        for y, w in zip(event.y_true[:n], event.weights or repeat(1.0)):  # noqa: B905 - endless
            for metric in of_labels:
                pass_over(metric, y, w)
        return event._replace(
            y_true=event.y_true[n:],
            y_pred=event.y_pred[n:],
            weights=event.weights and event.weights[n:],
            proba=event.proba and event.proba[n:],
        )

    def _add_to_metrics(self, event: Answers) -> None:
        weights, proba = event.weights or repeat(1.0), event.proba or repeat(None)
        for y, p, w, of_all in zip(event.y_true, event.y_pred, weights, proba):  # noqa: B905 - endless
            reads = {name: reader(y, p, of_all) for name, reader in self._readers.items()}
            for metrics in (self._metrics, self._recent_metrics):
                for name, metric in metrics.items():
                    update_metric(metric, *reads[name], w)
            if not self._is_faded:
                self._read[-1].append((reads, w))

    def check_metrics_take_weights(self) -> None:
        """Raise ValueError if a metric would ignore the weights."""
        for name, metric in self._metrics.items():
            if not getattr(innermost(metric), "works_with_weights", True):
                raise ValueError(f"{name} takes no weights; choose another metric, or leave out weight")

    def checkpoint(self) -> Checkpoint:
        """Return the figures so far, and begin a new step."""
        if self._measuring <= MEASURING_SHARE * self._seconds:
            start = time.perf_counter()
            self._model_bytes = getattr(
                self.model, "_raw_memory_usage", 0
            )  # only models of river's classes have it
            self._measuring += time.perf_counter() - start
            self._ram_hours.update(self._model_bytes, self._seconds)
        n_window_counted = self.n_counted if self._is_faded else sum(self._counted_in_step)
        checkpoint = Checkpoint(
            n_samples=self.n_samples,
            cumulative=_known(self._total.get() | values_of(self._metrics), self.n_counted),
            window=_known(self._recent.get() | self._window_metrics(), n_window_counted),
            seconds=self._seconds,
            window_seconds=self._seconds - self._seconds_before,
            cpu_seconds=self._cpu_seconds,
            model_bytes=self._model_bytes,
            ram_hours=self._ram_hours.get(self._seconds),
            predictions=tuple(self._predictions),
            routing=self._routing(),
            n_warm_up=self.n_warm_up,
            n_counted=self.n_counted,
            n_window_counted=n_window_counted,
        )
        if not self._is_faded:
            self._recent.restart()
            self._read.append([])
            self._counted_in_step.append(0)
        self._predictions.clear()
        self._seconds_before = self._seconds
        return checkpoint

    def state(self) -> State:
        """Return all that has been counted, as plain values but for copies of the user's metrics and faded figures."""
        return {name: getattr(self, f"_{name}") for name in PLAIN} | {
            "n_samples": self.n_samples,
            "n_warm_up": self.n_warm_up,
            "n_counted": self.n_counted,
            "counted_in_step": list(self._counted_in_step),
            "total": self._total.state(),
            "weighted_labels": [[label, n] for label, n in self._weighted_labels.items()],
            "recent": deepcopy(self._recent) if self._is_faded else self._recent.state(),
            "metrics": deepcopy(self._metrics),
            "recent_metrics": deepcopy(self._recent_metrics),
            "read": [list(step) for step in self._read],
            "ram_hours": self._ram_hours.state(),
            "routing_at_start": self._routing_at_start and self._routing_at_start.state(),
            "routing_before": [figures.state() for figures in self._routing_before],
        }

    def restore(self, state: State) -> None:
        """Restore the state of a tally that was built with the same arguments."""
        check_names(state, (*PLAIN, *COUNTS, *OF_PARTS), self)
        if self._is_faded and _names_of(state["recent"]) != _names_of(self._recent):
            raise ValueError(
                "figures with fading were kept by another version of driftmoe, which laid them out otherwise; go on "
                "with that version, or begin anew"
            )
        for name in COUNTS:
            setattr(self, name, count_of(state, name, self))
        for name in PLAIN:
            setattr(self, f"_{name}", state[name])
        self._counted_in_step.clear()
        self._counted_in_step.extend(state["counted_in_step"])
        self._total.restore(state["total"])
        self._weighted_labels = Counter({label: n for label, n in state["weighted_labels"]})
        if self._is_faded:
            self._recent = deepcopy(state["recent"])
        else:
            self._recent.restore(state["recent"])
        self._metrics, self._recent_metrics = deepcopy(state["metrics"]), deepcopy(state["recent_metrics"])
        self._read.clear()
        self._read.extend(list(step) for step in state["read"])
        self._ram_hours.restore(state["ram_hours"])
        if self._routing_at_start is not None:
            self._routing_at_start = type(self._routing_at_start).of_state(state["routing_at_start"])
            self._routing_before.clear()
            self._routing_before.extend(map(type(self._routing_at_start).of_state, state["routing_before"]))

    def labels(self) -> dict[Hashable, float]:
        """Return the number of samples that count, by label."""
        return dict(self._weighted_labels) or self._total.labels()

    @property
    def metric_classes(self) -> dict[str, str]:
        """Class of each of the user's metrics, by name."""
        return {name: type(innermost(metric)).__name__ for name, metric in self._metrics.items()}

    @property
    def routing_now(self) -> Any:
        """Figures of the routing of all that the model has learnt; `None` if it has no `routing_report`."""
        if self._routing_at_start is None:
            return None
        return self.model.routing_report().cumulative

    def _routing(self) -> RoutingReport | None:
        if self._routing_at_start is None:
            return None
        report: RoutingReport = self.model.routing_report()
        so_far, before = report.cumulative, self._routing_before[0]
        self._routing_before.append(so_far)
        return replace(report, window=so_far - before, cumulative=so_far - self._routing_at_start)

    def _window_metrics(self) -> dict[str, float]:
        if self._is_faded:
            return values_of(self._recent_metrics)
        of_window = {name: metric.clone() for name, metric in self._metrics.items()}
        for step in self._read:
            for reads, w in step:
                for name, metric in of_window.items():
                    update_metric(metric, *reads[name], w)
        return values_of(of_window)


def _names_of(recent: Any) -> dict[str, set[str]]:
    """Return the names of what faded figures consist of, and of their parts."""
    scores = innermost(recent)
    parts = {"": scores} | vars(scores)
    return {
        name: set(vars(part)) for name, part in parts.items() if type(part).__module__.startswith("driftmoe")
    }


def _known(figures: dict[str, float], n_counted: int) -> dict[str, float]:
    """Return the figures, or NaN for each if no sample counts."""
    return figures if n_counted else dict.fromkeys(figures, math.nan)
