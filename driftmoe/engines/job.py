"""A keyed stream from its samples to the figures of its predictions, in one folder, on any engine.

The folder has `events` (what comes in), `out` (what the engine has written), `engine` (its checkpoints), and in the end
`predictions.jsonl`, `alarms.jsonl` and `done.json`. `job.json` says what it is. Given again after it was stopped, a job
goes on; one that is done only tells its figures.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from driftmoe.engines import event_files
from driftmoe.engines.event_files import Keyed
from driftmoe.engines.making import Make
from driftmoe.engines.results import ALARM, Figures, Result, figures_of, said
from driftmoe.staging import publish

ENGINES = {name: f"driftmoe.engines.{name}" for name in ("local", "spark", "flink")}
"""Engine -> its module, which has `check_installed`, `run` and `results`."""

OPTION = {
    "stream_seed": "seed",
    "seed": "model-seed",
    "n_in_batch": "batch",
    "options": "options of the file",
}
"""Setting -> what the command calls it, where that is another name."""

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how many events are done, and how many there are, if that is known."""


@dataclass(frozen=True)
class Settings:
    """What decides the predictions of a job.

    Attributes
    ----------
    source, key, delay, limit, stream_seed
        Where the samples come from, the feature that is the key, and how many samples late labels come.
    model, seed
        Model of each key, and its seed.
    prior
        SHA-256 of the file of the prior, if there is one.
    n_in_batch
        Number of events in a file.
    engine
        Name of the engine.
    options
        How a file of samples is read, as far as that differs from the defaults.
    """

    source: str
    key: str
    delay: int
    limit: int | None
    stream_seed: int
    model: str
    seed: int
    prior: str | None
    n_in_batch: int
    engine: str
    options: dict[str, Any] = field(default_factory=dict)


class JobError(ValueError):
    """A folder that cannot be used as asked."""


def sha256_of(path: str | None) -> str | None:
    """Return the SHA-256 of a file, or `None` for no file."""
    return None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()


def run(
    folder: Path,
    settings: Settings,
    make: Make,
    events: Callable[[], Iterable[Keyed]],
    *,
    ttl: float,
    parallelism: int,
    progress: Progress,
) -> Figures:
    """Do a job, or go on with it, and return its figures.

    Parameters
    ----------
    folder
        Folder of the job.
    settings
        What it is.
    make
        Makes the model of a new key, as the settings say.
    events
        Returns all events; called unless the folder has them.
    ttl
        Seconds for which a sample waits for its label.
    parallelism
        Number of processes, or of tasks at the same time.
    progress
        Called now and then.

    Raises
    ------
    JobError
        If the folder is used by another job, or belongs to one with other settings.
    RuntimeError
        If the engine fails. What it has committed holds, and the job can be run again.
    ImportError
        If the engine's packages are not installed. The message says how to install them.
    """
    engine = importlib.import_module(ENGINES[settings.engine])
    engine.check_installed()
    if folder.exists() and not folder.is_dir():
        raise JobError(f"{folder} is a file; give a folder, which need not exist yet")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(folder / ".lock").acquire(blocking=False))
        except Timeout:
            raise JobError(
                f"{folder}: another command works in this folder; choose another, or wait"
            ) from None
        _check(folder, settings)
        done = folder / "done.json"
        if done.exists():
            return _read_figures(json.loads(done.read_text(encoding="utf-8")))
        into = folder / "events"
        if event_files.about(into) is None:
            event_files.write(_counted(events(), progress), into, settings.n_in_batch, {"key": settings.key})
        n_events = (event_files.about(into) or {})["n_events"]
        engine.run(
            into, folder / "out", folder / "engine", make, ttl=ttl, parallelism=parallelism,
            progress=lambda n: progress(f"{settings.engine}: taking events", n, n_events),
        )  # fmt: skip
        figures = figures_of(event_files.read(into), _kept(engine.results(folder / "out"), folder))
        _put(done, json.dumps(asdict(figures)))
        return figures


def _check(folder: Path, settings: Settings) -> None:
    """Raise JobError if the folder belongs to a job with other settings; otherwise write them.

    A job that lacks some of its events, as after a wrong name of a column, has computed nothing yet. It takes new
    settings.
    """
    file, now = folder / "job.json", json.loads(json.dumps(asdict(settings)))
    if not file.exists():
        own = (".lock", file.with_suffix(".part").name)  # a command that was killed here leaves both
        others = [path.name for path in folder.iterdir() if path.name not in own]
        if others:
            raise JobError(f"{folder} holds other files, such as {min(others)}; give a new folder")
    elif event_files.about(folder / "events") is not None:
        kept = {"options": {}, **json.loads(file.read_text(encoding="utf-8"))}
        for one in fields(settings):
            name = OPTION.get(one.name, one.name)
            if kept.get(one.name) != now[one.name]:
                raise JobError(
                    f"{folder} holds a job with {name} {kept.get(one.name)!r}, and now it is {now[one.name]!r}; give "
                    "the same, or a new folder"
                )
    _put(file, json.dumps(now, indent=1))


def _counted(events: Iterable[Keyed], progress: Progress) -> Iterator[Keyed]:
    for n, one in enumerate(events):
        if n % 1000 == 0:
            progress("writing events", n, None)
        yield one


def _kept(results: Iterable[Result], folder: Path) -> Iterator[Result]:
    """Yield results, and write them to files on the way."""
    parts = {name: folder / f"{name}.part" for name in ("predictions", "alarms")}
    with ExitStack() as stack:
        files = {name: stack.enter_context(part.open("w", encoding="utf-8")) for name, part in parts.items()}
        for one in results:
            kind = "alarms" if one.what == ALARM else "predictions"
            line = {"key": one.key, **said(one)._asdict()}
            if kind == "predictions":
                line["proba"] = list(line["proba"].items())
            files[kind].write(json.dumps(line, separators=(",", ":")) + "\n")
            yield one
    for name, part in parts.items():
        publish(part, folder / f"{name}.jsonl")


def _read_figures(kept: dict[str, Any]) -> Figures:
    first = {int(n): (scored, right) for n, (scored, right) in kept["first"].items()}
    return replace(Figures(**kept), first=first)


def _put(file: Path, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    publish(part, file)
