"""A run: one model on one stream with one seed, from the first sample to the result line and the curve."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from river import base

from driftmoe import own
from driftmoe.classifier import DriftMoEClassifier
from driftmoe.evaluation import Checkpoint, Evaluation, prequential
from driftmoe.evaluation.delays import check_label_share
from driftmoe.evaluation.late_blocks import takes_late_blocks
from driftmoe.experiment.checkpoints import CheckpointFolder, digest_of, other_software, why_not_kept
from driftmoe.experiment.delays import normal_delay, parsed_delay
from driftmoe.experiment.energy import EnergyMeter
from driftmoe.experiment.environment import commit, versions
from driftmoe.experiment.importances import importances_of
from driftmoe.experiment.label_order import check_order, of_model, order_protocol
from driftmoe.experiment.lines import KEY, metrics_text, warm_up_protocol
from driftmoe.experiment.measuring import metrics_for, reads_proba, split
from driftmoe.experiment.spare_room import measured_bytes
from driftmoe.saving import load

ENOUGH_TO_COMPILE = 300
"""Number of samples after which every part of a model is compiled: more than the mini-batch of any router."""

News = float | str | tuple[dict[str, Any], list[dict[str, Any]]]
"""News of a run: the share that is done, the traceback of an error, or the result line and the curve."""


@dataclass(frozen=True)
class Run:
    """The identity of a run: model, stream, seed, and the settings of the evaluation.

    Attributes
    ----------
    stream, model
        Names of stream and model, as the user wrote them.
    seed
        Seed of the model and, if it is synthetic, of the stream.
    limit
        Maximum number of samples; `None` for the whole stream.
    window
        Number of samples between two checkpoints.
    stream_sha256
        Hash of the stream's samples: streams of the same name may differ in data, target or seed.
    delay
        Delay of labels, as text: `1000` samples, `100-2000` for a random delay, the name of a column, or a time such as
        `1 day by when`, where the column `when` holds the time of each sample. Of the texts for one time, such as `24 h
        by when`, it keeps one.
    count_warm_up
        Whether the figures include the samples that are predicted before the first label comes.
    trained
        File of a trained model, which `model` only names; `None` for a new model.
    metrics
        Names of the metrics beside the standard figures, as `computed` returns them.
    label_order
        `"use"`, or `"ignore"` for a model that makes no use of the order of labels; see `of_model`.
    shuffle_window
        Samples in each window within which the stream is shuffled; `None` if it is not.
    label_share
        Share of the samples whose labels come, above 0 and at most 1; the seed decides which.
    """

    stream: str
    stream_sha256: str
    model: str
    seed: int
    limit: int | None
    window: int
    delay: str = "0"
    count_warm_up: bool = False
    trained: Path | None = None
    metrics: tuple[str, ...] = ()
    label_order: str = "use"
    shuffle_window: int | None = None
    label_share: float = 1.0

    def __post_init__(self) -> None:
        check_order(self.label_order, self.shuffle_window, self.delay)
        check_label_share(self.label_share)
        object.__setattr__(self, "label_share", float(self.label_share))
        object.__setattr__(self, "delay", normal_delay(self.delay))

    def new_model(self) -> Any:
        """Return the model as it is before the run."""
        model = own.make(self.model, seed=self.seed) if self.trained is None else load(self.trained)
        return of_model(self.model, model, self.label_order, is_trained=self.trained is not None)

    def file_stem(self) -> str:
        """Return the name of the run's files: stream, model and seed, and a hash of all that identifies the run."""
        what = [*(getattr(self, name) for name in KEY), self.parameters()]
        if warm_up := warm_up_protocol(vars(self)):
            what.append(warm_up)
        if metrics := metrics_text(vars(self)):
            what.append({"metrics": metrics})
        if order := order_protocol(vars(self)):
            what.append({"order": order})
        identity = json.dumps(what, sort_keys=True)
        name = re.sub(r"[^\w.()=,-]+", "_", f"{Path(self.stream).name}-{self.model}-{self.seed}")
        name = name.encode()[:80].decode(errors="ignore")  # systems count bytes, not characters
        return f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    def _order(self) -> dict[str, Any]:
        """Return which labels come, and how the run uses their order and that of samples, where it is not as usual."""
        some = {"label_share": self.label_share} if self.label_share < 1.0 else {}
        ignored = {"label_order": self.label_order} if self.label_order != "use" else {}
        return some | ignored | ({"shuffle_window": self.shuffle_window} if self.shuffle_window else {})

    def protocol(self, stream: Any) -> dict[str, Any]:
        """Return the arguments with which `prequential` evaluates this run on its stream."""
        return {
            "metrics": metrics_for(self.metrics, stream, self.window),
            "window": self.window,
            "delay": parsed_delay(self.delay),
            "label_share": self.label_share,
            "seed": self.seed,
            "count_warm_up": self.count_warm_up,
        }

    def parameters(self) -> dict[str, Any]:
        """Return all arguments of the model, in a form that JSON can hold."""
        # Those of a new model, because some of river's models change their arguments while they learn.
        code = own.code_of(self.model) if self.trained is None else {}
        return plain(_parameters(self.new_model()) | code)

    def would_repeat(self, line: Mapping[str, Any]) -> bool:
        """Return whether the model of an earlier result of this run had the arguments and the software of now."""
        is_same = line.get("parameters") == json.loads(json.dumps(self.parameters()))
        return is_same and not other_software(line, getattr(self.new_model(), "versions", {}))

    def do(
        self, stream: Any, checkpoints: CheckpointFolder | None = None, *, is_alone: bool = True
    ) -> Iterator[News]:
        """Evaluate the model on the whole stream.

        Parameters
        ----------
        stream
            The stream that the run names.
        checkpoints
            Where the run is kept while it goes on, and from where it goes on if it was stopped.
        is_alone
            As in `Attempt`.

        Yields
        ------
        news
            The share of the samples that is done, if the length of the stream is known. At the end, the result line and
            the curve.

        Raises
        ------
        ValueError
            If the stream is not the one that the run names, or has no samples.
        """
        check_fingerprint(self, stream)
        attempt = Attempt(self, stream, checkpoints, is_alone=is_alone)
        attempt.compile()
        for checkpoint in attempt.checkpoints():
            if stream.n_samples:
                yield checkpoint.n_samples / stream.n_samples
        if attempt.last is None:
            raise ValueError(f"{self.stream} holds no samples")
        attempt.weigh_features()
        yield attempt.result(is_complete=True), attempt.curve

    def result(
        self,
        checkpoint: Checkpoint,
        model: base.Classifier,
        *,
        stream_length: int | None,
        drifts: Sequence[tuple[int, int]],
        is_complete: bool,
        reading: Mapping[str, Any] | None = None,
        importances: Mapping[str, float] | None = None,
    ) -> dict[str, Any]:
        """Return the result line of this run: its figures, then all that is needed to repeat the run.

        Parameters
        ----------
        checkpoint
            The last checkpoint of the run.
        model
            The trained model; its memory is measured here, and its digest is taken if it can be saved.
        stream_length
            Number of samples of the whole stream, if known.
        drifts
            Known drifts as (position, width), in samples.
        is_complete
            `False` if the run was interrupted.
        reading
            How the file of the stream was read; omitted for other streams.
        importances
            {feature: importance} of the trained model; omitted for models without.
        """
        routing, model_digest = {}, digest_of(model)
        if checkpoint.routing is not None:
            figures = checkpoint.routing.cumulative
            ignored = checkpoint.routing.ignored()
            routing = {"routing": figures.of_all() | ignored | {"experts": figures.of_each()}}
        standard, of_metrics = split(checkpoint.cumulative, self.metrics)
        return {
            "stream": self.stream,
            "model": self.model,
            "seed": self.seed,
            "n_samples": checkpoint.n_samples,
            **standard,
            **({"metrics": of_metrics} if of_metrics else {}),
            "samples_per_second": checkpoint.n_samples / checkpoint.seconds,
            "seconds": checkpoint.seconds,
            "cpu_seconds": checkpoint.cpu_seconds,
            "ram_hours": checkpoint.ram_hours,
            "model_bytes": measured_bytes(model),
            **routing,
            "kind": "evaluation",
            "complete": is_complete,
            "limit": self.limit,
            "window": self.window,
            "delay": self.delay,
            "n_warm_up": checkpoint.n_warm_up,
            "count_warm_up": self.count_warm_up,
            **self._order(),
            "parameters": self.parameters(),
            "stream_length": stream_length,
            "stream_sha256": self.stream_sha256,
            **({"reading": dict(reading)} if reading else {}),
            "drifts": [list(drift) for drift in drifts],
            "versions": versions() | getattr(model, "versions", {}),
            "commit": commit(),
            **({"model_digest": model_digest} if model_digest else {}),
            **({"importances": dict(importances)} if importances else {}),
        }

    def curve_point(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return the point of one window: figures of its samples, and of the routing if the model reports it."""
        routing: dict[str, float | None] = {}
        if checkpoint.routing is not None:
            figures = checkpoint.routing.window
            routing = {f"routing_{name}": value for name, value in figures.of_all().items()}
            for expert, of_expert in figures.of_each().items():
                routing |= {f"routing_{name}_{expert}": value for name, value in of_expert.items()}
        n_before = (checkpoint.n_samples - 1) // self.window * self.window
        standard, of_metrics = split(checkpoint.window, self.metrics)
        return {
            **{name: getattr(self, name) for name in KEY},
            "count_warm_up": self.count_warm_up,
            **self._order(),
            **({"metrics": metrics_text(vars(self))} if of_metrics else {}),
            "n_samples": checkpoint.n_samples,
            **standard,
            **of_metrics,
            "samples_per_second": (checkpoint.n_samples - n_before) / checkpoint.window_seconds,
            **routing,
        }


class Attempt:
    """A run in progress, and its figures so far.

    Parameters
    ----------
    run
        The run.
    stream
        The stream that the run names.
    checkpoints
        Where the run is kept while it goes on. If it was stopped before, it goes on from its checkpoint there. A model
        that cannot be described without code has no checkpoints.
    is_alone
        Whether no other run goes on at the same time in this command. Only then is the energy measured, because the
        counters are those of whole processors.

    Attributes
    ----------
    model
        The model. It learns while the run goes on.
    last
        The newest figures; `None` before the first.
    curve
        Points of the windows so far that contain counted samples.
    n_before
        Number of samples of the stream that were evaluated before the run was stopped; 0 if it is new.
    """

    def __init__(
        self, run: Run, stream: Any, checkpoints: CheckpointFolder | None = None, *, is_alone: bool = True
    ) -> None:
        torch.set_num_threads(1)  # a router is small: threads would only wait for each other
        self.run, self.stream = run, stream
        kept = checkpoints and checkpoints.find(run)
        self.model = kept.model if kept else run.new_model()
        self.last: Checkpoint | None = kept.last if kept else None
        self.curve: list[dict[str, Any]] = kept.curve if kept else []
        self.n_before = kept.last.n_samples if kept else 0
        self._importances: dict[str, float] = {}
        self._joules: float | None = None
        self._is_alone = is_alone
        self._resume_from = kept.evaluation if kept else None
        self._evaluation: Evaluation | None = None
        is_kept = checkpoints and checkpoints.every is not None and why_not_kept(self.model) is None
        self._checkpoints = checkpoints if is_kept else None
        self._curve_file = kept.curve_file if kept else None
        if self._checkpoints and self._curve_file is None:
            self._curve_file = self._checkpoints.curve_file(run)

    def compile(self) -> None:
        """Compile the kernels that the model needs, so that the measured time does not include it."""
        compile_first(self.run, self.stream)

    def checkpoints(self, samples: Any = None) -> Iterator[Checkpoint]:
        """Evaluate the model on the stream, and yield the checkpoints.

        If `samples` is given, it is read instead of the stream. It must give the same samples, for example through a
        wrapper that updates a progress bar.
        """
        samples = self.stream if samples is None else samples
        self._evaluation = prequential(
            samples, self.model, **self.run.protocol(self.stream), resume_from=self._resume_from
        )
        n_before = self.n_before
        meter = EnergyMeter()
        for checkpoint in self._evaluation:
            self.last = checkpoint
            if self._is_alone and not self.n_before:  # no meter ran before a run was stopped
                self._joules = meter.joules()
            if checkpoint.n_window_counted:
                self.curve.append(self.run.curve_point(checkpoint))
            if self._checkpoints and self._checkpoints.is_due(n_before, checkpoint.n_samples):
                self.keep()
            n_before = checkpoint.n_samples
            yield checkpoint

    def keep(self) -> None:
        """Keep a checkpoint of the run as it is now, if it can have one."""
        evaluation = self._evaluation
        if self._checkpoints and self.last and evaluation and evaluation.has_state:
            assert self._curve_file is not None
            self._checkpoints.keep(self.run, evaluation, self.model, self.last, self.curve, self._curve_file)

    def weigh_features(self) -> None:
        """Compute the importances of features for the result line, after the last sample. No figure counts its time."""
        self._importances = importances_of(self.model)

    def result(self, *, is_complete: bool) -> dict[str, Any]:
        """Return the result line of the figures so far. There must be a checkpoint."""
        assert self.last is not None
        energy = {} if self._joules is None else {"package_joules": self._joules}
        return energy | self.run.result(
            self.last,
            self.model,
            # A stream may end before the length that its class or the user gave it.
            stream_length=self.last.n_samples if is_complete else self.stream.n_samples,
            drifts=[(drift.position, drift.width) for drift in self.stream.drifts],
            is_complete=is_complete,
            reading=reading(self.stream),
            importances=self._importances,
        )


def run_job(run: Run, stream: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Do one run with `Run.do`, and return its result line and its curve."""
    *_, last = run.do(stream)
    assert isinstance(last, tuple)
    return last


def reading(stream: Any) -> dict[str, Any]:
    """Return how the file of a stream was read, and how many rows were skipped; empty for other streams."""
    told = dict(getattr(stream, "reading", {}))
    bad_rows = getattr(stream, "bad_rows", None)
    return told | ({"rows_left_out": bad_rows.count} if bad_rows is not None and bad_rows.count else {})


def check_fingerprint(run: Run, stream: Any) -> None:
    """Raise ValueError unless a stream has the samples for which a run was planned."""
    if (fingerprint := stream.fingerprint()) != run.stream_sha256:
        raise ValueError(
            f"{run.stream} has hash {fingerprint} here, but {run.stream_sha256} where it was planned"
        )


def compile_first(run: Run, stream: Any) -> None:
    """Train another model on the first samples, so that the measured time does not include compilation.

    Only models that accept blocks are compiled, once per machine. Errors in samples are left to the run itself.
    """
    model = run.new_model()
    if not hasattr(model, "step_many"):
        return
    with_proba = reads_proba(run.metrics)
    is_late = run.delay != "0" or run.label_share < 1.0  # then some rows are only predicted
    in_parts = is_late or with_proba
    with contextlib.suppress(TypeError, ValueError):
        if not hasattr(stream, "blocks") or (
            in_parts and not takes_late_blocks(stream, model, reads_proba=with_proba)
        ):
            for x, label in itertools.islice(stream, ENOUGH_TO_COMPILE):
                model.predict_one(x)
                if with_proba:
                    model.predict_proba_one(x)
                model.learn_one(x, label)
        else:
            for X, y in itertools.islice(stream.blocks(ENOUGH_TO_COMPILE), 1):
                w = {"w": [float(i % 2 or not is_late) for i in range(len(y))]} if in_parts else {}
                (model.step_proba_many if with_proba else model.step_many)(
                    X,
                    y,
                    names=[feature.name for feature in stream.features],
                    values=[feature.values for feature in stream.features],
                    classes=stream.classes,
                    **w,
                )


def plain(value: Any) -> Any:
    """Return a parameter in a form that JSON can hold: a model becomes its class and its own parameters."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)  # JSON cannot express it
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, base.Base):
        return {"class": type(value).__name__, **plain(_parameters(value))}
    return repr(value)


def _parameters(model: Any) -> dict[str, Any]:
    """Return the arguments of a model; for our models, all that have an effect, including defaults."""
    parameters: dict[str, Any] = (
        model.settings if issubclass(type(model), DriftMoEClassifier) else model._get_params()
    )
    return parameters
