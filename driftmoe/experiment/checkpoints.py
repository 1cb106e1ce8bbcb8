"""Checkpoints of runs on disk, from which a run goes on after its process was killed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftmoe import __version__
from driftmoe.evaluation import Checkpoint, Evaluation
from driftmoe.experiment.lines import KEY
from driftmoe.mixture.routing_figures import RoutingFigures, RoutingReport
from driftmoe.saving import from_bytes, to_bytes
from driftmoe.saving.codec import as_json, decoded, encoded
from driftmoe.staging import write_files
from driftmoe.state import State, check_names
from driftmoe.strict_json import from_json

if TYPE_CHECKING:
    from driftmoe.experiment.run import Run

FORMAT = 1
"""Version of the format of a checkpoint. The model in it has its own."""

ENTRIES = ("format", "version", "run", "last", "curve", "evaluation", "model_sha256")
"""Entries of a checkpoint's first line, without its own digest."""

KEPT = "the run goes on from an older checkpoint, or from its first sample, when the command is given again"


@dataclass(frozen=True)
class Kept:
    """What a checkpoint holds.

    Attributes
    ----------
    last
        The newest figures.
    curve
        The points of the windows so far.
    evaluation
        State of the evaluation; see `driftmoe.evaluation.Evaluation.state`.
    model
        The model, as it was.
    """

    last: Checkpoint
    curve: list[dict[str, Any]]
    evaluation: State
    model: Any


class CheckpointFolder:
    """A folder with one file for each run that is not complete.

    The first line of a file is JSON: the run, its figures, and the state of its evaluation. The file of the model
    follows, as `driftmoe.save` would write it. The whole file is replaced at once, so that the two always fit.

    Parameters
    ----------
    path
        Created with the first checkpoint.
    every
        Number of samples between two checkpoints, rounded up to whole windows.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def file(self, run: Run) -> Path:
        """Return the file for the checkpoint of a run."""
        return self.path / f"{run.file_stem()}.checkpoint"

    def is_due(self, n_before: int, n_samples: int) -> bool:
        """Return whether the next checkpoint is due at a sample, if the last one was at `n_before`."""
        return n_samples // self.every > n_before // self.every

    def keep(
        self, run: Run, evaluation: Evaluation, model: Any, last: Checkpoint, curve: Sequence[Any]
    ) -> bytes:
        """Write the checkpoint of a run, and return the bytes of the model.

        The evaluation must be at the end of a step.

        Raises
        ------
        TypeError
            If the model cannot be described without code.
        OSError
            If the file cannot be written. An earlier checkpoint is then as it was.
        """
        content = to_bytes(model)
        document = {
            "format": FORMAT,
            "version": __version__,
            "run": {name: getattr(run, name) for name in KEY},
            "last": encoded(_plain(last)).document,
            "curve": list(curve),
            "evaluation": encoded(evaluation.state()).document,
            "model_sha256": hashlib.sha256(content).hexdigest(),
        }
        line = as_json(document | {"digest": _digest(document)}).encode("ascii")
        self.path.mkdir(parents=True, exist_ok=True)
        write_files(self.path, {self.file(run).name: line + b"\n" + content}, kept=KEPT)
        return content

    def find(self, run: Run) -> Kept | None:
        """Return the checkpoint of a run, or `None` if there is none.

        Raises
        ------
        ValueError
            If the file is damaged, or was written by a newer version.
        """
        file = self.file(run)
        if not file.exists():
            return None
        line, _, content = file.read_bytes().partition(b"\n")
        try:
            return _read(line, content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"checkpoint {file}: {error}; remove the file, and its run will begin anew"
            ) from None

    def drop(self, run: Run) -> None:
        """Delete the checkpoint of a run that is complete, and the folder if it is then empty."""
        self.file(run).unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()


def why_not_kept(model: Any) -> str | None:
    """Return why a model can have no checkpoints, or `None` if it can."""
    try:
        to_bytes(model)
    except TypeError as error:
        return str(error)
    return None


def _read(line: bytes, content: bytes) -> Kept:
    try:
        document = from_json(line.decode("ascii"))
    except ValueError:
        raise ValueError("the file is cut off or damaged") from None
    if isinstance(document, dict) and isinstance(version := document.get("format"), int) and version > FORMAT:
        raise ValueError(f"has format {version}, of a newer version of driftmoe; this one reads {FORMAT}")
    check_names(document, (*ENTRIES, "digest"), "a checkpoint")
    digest = document.pop("digest")
    if _digest(document) != digest or hashlib.sha256(content).hexdigest() != document["model_sha256"]:
        raise ValueError("the file is damaged: its content does not have the digest that it was written with")
    if document["version"] != __version__:
        raise ValueError(
            f"driftmoe {document['version']} wrote it, and this is {__version__}; the figures of one run must not come "
            "from two versions"
        )
    return Kept(
        _checkpoint(decoded(document["last"], {})),
        document["curve"],
        decoded(document["evaluation"], {}),
        from_bytes(content),
    )


def _digest(document: State) -> str:
    return hashlib.sha256(as_json(document).encode("ascii")).hexdigest()


def _plain(checkpoint: Checkpoint) -> State:
    """Return the figures of a checkpoint as plain values."""
    report = checkpoint.routing
    routing = report and {
        "window": report.window.state(),
        "cumulative": report.cumulative.state(),
        "n_ignored_values": report.n_ignored_values,
        "n_ignored_samples": report.n_ignored_samples,
    }
    plain = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    return plain | {"predictions": [], "routing": routing}


def _checkpoint(plain: State) -> Checkpoint:
    """Return the checkpoint whose plain values these are."""
    routing = plain["routing"]
    if routing is not None:
        check_names(routing, [field.name for field in fields(RoutingReport)], "a routing report")
        figures = {name: RoutingFigures.of_state(routing[name]) for name in ("window", "cumulative")}
        routing = RoutingReport(**routing | figures)
    return Checkpoint(**plain | {"predictions": (), "routing": routing})
