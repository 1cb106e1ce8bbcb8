"""Checkpoints of runs on disk, from which a run goes on after its process was killed."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from driftmoe.evaluation import Checkpoint, Evaluation
from driftmoe.experiment.environment import commit, versions
from driftmoe.experiment.lines import KEY
from driftmoe.experiment.spare_room import give_spare_room, spare_room_of
from driftmoe.mixture.routing_figures import RoutingFigures, RoutingReport
from driftmoe.saving import digest, from_bytes, to_bytes
from driftmoe.saving.codec import as_json, decoded, encoded
from driftmoe.staging import PREFIX, delete_unless_held, naming, sync_folder, write_files
from driftmoe.state import State, check_names, count_of
from driftmoe.strict_json import from_json

if TYPE_CHECKING:
    from driftmoe.experiment.run import Run

FORMAT = 2
"""Version of the format of a checkpoint. The model in it has its own."""

ENTRIES = ("format", "versions", "commit", "run", "last", "curve", "evaluation", "spare_room", "model_sha256")
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
    curve_file
        The file that holds these points.
    evaluation
        State of the evaluation; see `driftmoe.evaluation.Evaluation.state`.
    model
        The model, as it was.
    """

    last: Checkpoint
    curve: list[dict[str, Any]]
    curve_file: CurveFile
    evaluation: State
    model: Any


class CurveFile:
    """A file of points, one JSON line each, to which each checkpoint adds those since the one before.

    A checkpoint says how many bytes belong to it. What comes after them was written by a process that was killed before
    its checkpoint was complete, and is overwritten.

    Parameters
    ----------
    path
        Created with the first points.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.n_points, self._n_bytes, self._sha256 = path, 0, 0, hashlib.sha256()

    def add(self, points: Sequence[Mapping[str, Any]]) -> State:
        """Add points, wait until they are on the disk, and return what a checkpoint must know to find them.

        Raises
        ------
        OSError
            If they cannot be written. The points before them are as they were.
        """
        text = "".join(as_json(point) + "\n" for point in points).encode("ascii")
        is_new = not self.path.exists()
        with naming(self.path, KEPT), self.path.open("wb" if is_new else "rb+") as file:
            file.seek(self._n_bytes)
            file.write(text)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)
        self._sha256.update(text)
        self.n_points, self._n_bytes = self.n_points + len(points), self._n_bytes + len(text)
        return {"n_bytes": self._n_bytes, "sha256": self._sha256.hexdigest()}

    def read(self, place: State) -> list[dict[str, Any]]:
        """Return the points that belong to a checkpoint, by what `add` returned. The next ones come after them.

        Raises
        ------
        ValueError
            If they are not in the file.
        """
        check_names(place, ("n_bytes", "sha256"), "the curve of a checkpoint")
        with self.path.open("rb") if self.path.exists() else io.BytesIO() as file:
            text = file.read(count_of(place, "n_bytes", "the curve of a checkpoint"))
        self._sha256 = hashlib.sha256(text)
        if self._sha256.hexdigest() != place["sha256"]:
            raise ValueError(f"the points of its curve are not in {self.path.name}")
        points = [from_json(line) for line in text.decode("ascii").splitlines()]
        self.n_points, self._n_bytes = len(points), len(text)
        return points


class CheckpointFolder:
    """A folder with two files for each run that is not complete: a checkpoint, and the points of the curve.

    The first line of a checkpoint is JSON: the run, its figures, and the state of its evaluation. The file of the model
    follows, as `driftmoe.save` would write it. The whole file is replaced at once, so that the two always fit. The file
    of the points only grows, so that a checkpoint of a long run takes no longer than one of a short run.

    Parameters
    ----------
    path
        Created with the first checkpoint.
    every
        Number of samples between two checkpoints, rounded up to whole windows. With `None` runs are neither kept nor go
        on from a checkpoint, and the folder is only there to delete those of runs that have become complete.
    """

    def __init__(self, path: Path, every: int | None) -> None:
        self.path, self.every = path, every

    def file(self, run: Run) -> Path:
        """Return the file for the checkpoint of a run."""
        return self.path / f"{run.file_stem()}.checkpoint"

    def curve_file(self, run: Run) -> CurveFile:
        """Return the file for the curve of a run, from its beginning."""
        return CurveFile(self.path / f"{run.file_stem()}.curve")

    def is_due(self, n_before: int, n_samples: int) -> bool:
        """Return whether the next checkpoint is due at a sample, if the last one was at `n_before`."""
        return self.every is not None and n_samples // self.every > n_before // self.every

    def keep(
        self,
        run: Run,
        evaluation: Evaluation,
        model: Any,
        last: Checkpoint,
        curve: Sequence[Any],
        curve_file: CurveFile,
    ) -> None:
        """Write the checkpoint of a run, and add to `curve_file` the points of the curve that it lacks.

        The evaluation must be at the end of a step.

        Raises
        ------
        TypeError
            If the model cannot be described without code.
        OSError
            If a file cannot be written. An earlier checkpoint is then as it was.
        """
        content = to_bytes(model)
        self.path.mkdir(parents=True, exist_ok=True)
        document = {
            "format": FORMAT,
            "versions": versions(),
            "commit": commit(),
            "run": {name: getattr(run, name) for name in KEY},
            "last": encoded(_plain(last)).document,
            "curve": curve_file.add(curve[curve_file.n_points :]),
            "evaluation": encoded(evaluation.state()).document,
            "spare_room": spare_room_of(model),
            "model_sha256": hashlib.sha256(content).hexdigest(),
        }
        line = as_json(document | {"digest": _digest(document)}).encode("ascii")
        write_files(self.path, {self.file(run).name: line + b"\n" + content}, kept=KEPT)

    def find(self, run: Run) -> Kept | None:
        """Return the checkpoint of a run, or `None` if there is none or runs do not go on.

        Raises
        ------
        ValueError
            If a file is damaged, or was written by another version.
        """
        if self.every is None or not (file := self.file(run)).exists():
            return None
        line, _, content = file.read_bytes().partition(b"\n")
        try:
            return _read(line, content, self.curve_file(run))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"checkpoint {file}: {error}; remove the file, and its run will begin anew"
            ) from None

    def drop(self, run: Run) -> None:
        """Delete the files of a run that is complete, and the folder if it is then empty."""
        if not self.path.is_dir():
            return
        self.file(run).unlink(missing_ok=True)  # first, so that no checkpoint lacks its curve
        self.curve_file(run).path.unlink(missing_ok=True)
        for left in self.path.glob(f"{PREFIX}*"):
            delete_unless_held(left)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def n_left(self) -> int:
        """Return how many checkpoints there are."""
        return sum(1 for _ in self.path.glob("*.checkpoint"))


def why_not_kept(model: Any) -> str | None:
    """Return why a model can have no checkpoints, or `None` if it can."""
    try:
        to_bytes(model)
    except TypeError as error:
        return str(error)
    return None


def digest_of(model: Any) -> str | None:
    """Return the digest of a model, or `None` if it cannot be saved."""
    try:
        to_bytes(model)
    except (TypeError, ValueError):
        return None
    return digest(model)


def _read(line: bytes, content: bytes, curve_file: CurveFile) -> Kept:
    try:
        document = from_json(line.decode("ascii"))
    except ValueError:
        raise ValueError("the file is cut off or damaged") from None
    if isinstance(document, dict) and isinstance(found := document.get("format"), int) and found != FORMAT:
        other = "a newer" if found > FORMAT else "an older"
        raise ValueError(f"has format {found}, of {other} version of driftmoe; this one reads {FORMAT}")
    expected = document.pop("digest", None) if isinstance(document, dict) else None
    if _digest(document) != expected or hashlib.sha256(content).hexdigest() != document.get("model_sha256"):
        raise ValueError("the file is damaged: its content does not have the digest that it was written with")
    check_names(document, ENTRIES, "a checkpoint")
    _check_same(document)
    model = from_bytes(content)
    give_spare_room(model, document["spare_room"])
    return Kept(
        _checkpoint(decoded(document["last"], {})),
        curve_file.read(document["curve"]),
        curve_file,
        decoded(document["evaluation"], {}),
        model,
    )


def _check_same(document: State) -> None:
    """Raise ValueError if a checkpoint was written with other software, whose figures may be others."""
    for name, then, today in other_software(document):
        raise ValueError(
            f"it was written with {name} {then}, and this is {today}; the figures of one run must not come from "
            "two versions"
        )


def other_software(
    document: Mapping[str, Any], more: Mapping[str, str] = MappingProxyType({})
) -> list[tuple[str, str, str]]:
    """Return what a checkpoint or a result line was written with that is another today: name, version then and now.

    `more` are the versions of what this model alone needs.
    """
    before = {**document.get("versions", {}), "commit": document.get("commit")}
    now = {**versions(), **more, "commit": commit()}
    found = {
        name: tuple((one.get(name) or "unknown").removesuffix("-dirty") for one in (before, now))
        for name in [*before, *now]
    }
    return [(name, then, today) for name, (then, today) in found.items() if then != today]


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
        "n_shared_values": report.n_shared_values,
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
