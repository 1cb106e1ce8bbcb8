"""One model a key on Flink: a `KeyedProcessFunction` with checkpointed state. Needs `driftmoe[flink]` and Java 17.

Flink's checkpoints hold states, waiting samples and positions. After a failure all of them go back to the same
checkpoint, and its file sink shows what was written since then only once. A job can go on with another parallelism.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from driftmoe.engines import event_files
from driftmoe.engines.event_files import read_line
from driftmoe.engines.keyed import Event
from driftmoe.engines.making import Make
from driftmoe.engines.results import Result
from driftmoe.engines.rows import N_LIVE, TTL, Waiting, cause_of, event_of, in_order, take, told_to
from driftmoe.staging import publish

MAX_PARALLELISM = 128
"""Parts that the keys are divided into for ever, and so the greatest parallelism of a job of `run`."""

SECONDS = 1.0
"""Time between two checkpoints of a job of `run`."""

END = 2**63 - 2
"""Time of a timer that fires when the source has ended, when timers of the clock no longer do."""

LOG, INPUT = "flink.log", "input"
"""File in the folder of checkpoints with what Java says, and folder with the events that a job reads."""

MODE = "_python_worker_execution_mode"
"""Variable of the environment by which PyFlink chooses threads or processes."""


def predictions(events: Any, make: Make, *, ttl: float = TTL, n_live: int = N_LIVE, hold: float = 0.0) -> Any:
    """Return what the models of keys say of events, as a DataStream.

    Parameters
    ----------
    events
        DataStream of rows with the fields `key`, `seq` (long), `id`, `kind` and `payload` (JSON text), in this order;
        see `driftmoe.engines.Event`. The events of a key must come in the order of `seq`: give the source and all
        operators before this one the same parallelism, or Flink deals events out to several tasks.
    make
        Makes the model of a new key.
    ttl
        Seconds for which a sample waits for its label.
    n_live
        Models that a Python process keeps live, at most, so that it need not read them anew.
    hold
        Seconds for which events are held at most, so that those of a key which come meanwhile are taken together.
        Most of the time goes into writing the model after each call. Predictions come so much later, and are the
        same.

    Returns
    -------
    DataStream
        Rows with `key`, `seq`, `id`, `what` (`"prediction"` or `"alarm"`) and `content` (JSON text): `label` and
        `proba`, pairs of label and probability; or `kind`, `text` and `sample`. The operator has the name and uid
        `models`.

    Raises
    ------
    ImportError
        If Flink is missing.
    """
    check_installed()
    from pyflink.common import Row, Types

    text = Types.STRING()
    kind = Types.ROW_NAMED(list(Result._fields), [text, Types.LONG(), text, text, text])
    models = _Models(make, ttl, n_live, lambda row: [event_of(row)], lambda result: Row(*result))
    return _taken(events, models, kind, hold)


def run(
    events: Path,
    out: Path,
    checkpoint: Path,
    make: Make,
    *,
    ttl: float,
    parallelism: int,
    progress: Callable[[int], None],
    backend: str = "rocksdb",
) -> None:
    """Take all events of a folder, on this machine. Called again after it was killed, it goes on from a checkpoint.

    Parameters
    ----------
    events
        Folder of complete event files; see `driftmoe.engines.event_files`. All events of a key in a file are taken
        together.
    out
        Folder for the results, as JSON lines.
    checkpoint
        Folder for Flink's checkpoints.
    make
        Makes the model of a new key.
    ttl
        Seconds for which a sample waits for its label.
    parallelism
        Number of tasks that models are divided among, at most 128; another one may be given each time.
    progress
        Called with the number of events whose results are written, by whole files.
    backend
        Where states are kept between checkpoints: `"rocksdb"` or `"hashmap"`, in the memory of Java.

    Raises
    ------
    ImportError
        If Flink is missing.
    RuntimeError
        If Flink or a model failed. What was committed holds.
    """
    check_installed()
    if not 1 <= parallelism <= MAX_PARALLELISM:
        raise RuntimeError(f"parallelism={parallelism} on Flink; choose 1 to {MAX_PARALLELISM}")
    files = event_files.files_of(events)
    until = _n_events_until(files)
    kept = _last_checkpoint(checkpoint)
    # Flink deletes its last checkpoint when all is committed, and not before.
    if not files or (kept is None and _committed(out)):
        _clear(out, checkpoint)
        progress(until[-1][1])
        return
    _forget_others(checkpoint, kept)
    models = _Models(make, ttl, N_LIVE, _events_of_text, _line_of)
    client = _started(_input(files, checkpoint), out, checkpoint, kept, models, parallelism, backend)
    done, written, told = client.get_job_execution_result(), _Written(out, until), -1
    try:
        while not done.done():
            if (n := written.n_events()) != told:
                told = n
                progress(n)
            time.sleep(0.2)
    finally:
        _stop(client, done)
        shutil.rmtree(checkpoint / "local", ignore_errors=True)
    error = done.exception()
    if error is not None:
        raise RuntimeError(
            f"Flink's job failed, and what was committed holds: {cause_of(str(error))}; more is in {checkpoint / LOG}"
        )
    _clear(out, checkpoint)
    progress(until[-1][1])


def results(out: Path) -> Iterator[Result]:
    """Yield the results of a folder that `run` has written, in the order of their events."""
    return in_order(_piece(file) for file in _committed(out))


class _Models:
    """What an operator does with the elements of each key, in a Python process beside Java.

    Parameters
    ----------
    make
        Makes the model of a new key.
    ttl
        Seconds for which a sample waits for its label.
    n_live
        Models that a process keeps live, at most.
    read
        Returns the events of an element.
    write
        Returns the element of a result.
    """

    def __init__(
        self,
        make: Make,
        ttl: float,
        n_live: int,
        read: Callable[[Any], list[Event]],
        write: Callable[[Result], Any],
    ) -> None:
        self.make, self.ttl, self.n_live, self.read, self._write = make, ttl, n_live, read, write

    def take(self, key: str, events: list[Event], state: Any, waiting: Any) -> Iterator[Any]:
        """Take events of a key, with Flink's states of it."""
        new, results = take(key, state.value(), events, self.make, _waiting_in(waiting), self.n_live)
        state.update(new)
        return map(self._write, results)


def _waiting_in(state: Any) -> Waiting:
    """Return Flink's map of the present key as one of Python's."""
    return Waiting(state.get, state.put, state.remove, state.keys)


def _events_of_text(element: Any) -> list[Event]:
    return [read_line(line)[1] for line in element[1].split("\t")]


def _line_of(result: Result) -> str:
    return json.dumps(result, separators=(",", ":"))


def _taken(elements: Any, models: _Models, kind: Any, hold: float = 0.0) -> Any:
    """Return the results of a stream whose elements begin with their key."""
    from pyflink.common import Time, Types
    from pyflink.datastream import KeyedProcessFunction
    from pyflink.datastream.state import (
        ListStateDescriptor,
        MapStateDescriptor,
        StateTtlConfig,
        ValueStateDescriptor,
    )

    class Process(KeyedProcessFunction):
        def open(self, context: Any) -> None:
            self.state = context.get_state(ValueStateDescriptor("state", Types.PRIMITIVE_ARRAY(Types.BYTE())))
            waiting = MapStateDescriptor("waiting", Types.STRING(), Types.STRING())
            lasts = StateTtlConfig.new_builder(Time.milliseconds(_milliseconds(models.ttl)))
            waiting.enable_time_to_live(lasts.build())
            self.waiting = context.get_map_state(waiting)
            self.held = context.get_list_state(ListStateDescriptor("held", Types.STRING()))

        def process_element(self, element: Any, context: Any) -> Iterator[Any]:
            events = models.read(element)
            if not hold:
                yield from models.take(context.get_current_key(), events, self.state, self.waiting)
                return
            self.held.add_all([json.dumps(event) for event in events])
            timers, every = context.timer_service(), _milliseconds(hold)
            timers.register_processing_time_timer((timers.current_processing_time() // every + 1) * every)
            timers.register_event_time_timer(END)

        def on_timer(self, timestamp: int, context: Any) -> Iterator[Any]:
            events = [Event(*json.loads(text)) for text in self.held.get()]
            self.held.clear()
            if events:
                yield from models.take(context.get_current_key(), events, self.state, self.waiting)

    keyed = elements.key_by(lambda element: element[0], key_type=Types.STRING())
    return keyed.process(Process(), output_type=kind).name("models").uid("models")


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))


def _input(files: list[Path], checkpoint: Path) -> Path:
    """Return a file with the events of all files. A line has a key and its events of one file, between tabs.

    Flink promises no order of files, but one of lines. JSON has no tabs.
    """
    file = checkpoint / INPUT / "events.txt"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        with part.open("w", encoding="utf-8") as into:
            for one in files:
                of_key: dict[str, list[str]] = {}
                for line in one.read_text(encoding="utf-8").split("\n"):
                    if line:
                        of_key.setdefault(json.loads(line)["key"], []).append(line)
                into.writelines("\t".join([json.dumps(key), *lines]) + "\n" for key, lines in of_key.items())
        publish(part, file)
    return file


def _element_of(line: str) -> tuple[str, str]:
    """Return the key of a line, and its events."""
    key, _, text = line.partition("\t")
    return json.loads(key), text


def _started(
    events: Path,
    out: Path,
    checkpoint: Path,
    kept: Path | None,
    models: _Models,
    parallelism: int,
    backend: str,
) -> Any:
    """Return the client of a job that takes a file of events."""
    from pyflink.common import Encoder, Types, WatermarkStrategy
    from pyflink.datastream.connectors.file_system import (
        BucketAssigner,
        FileSink,
        FileSource,
        RollingPolicy,
        StreamFormat,
    )

    with told_to(checkpoint / LOG):
        environment = _environment(checkpoint, kept, parallelism, backend)
        source = FileSource.for_record_stream_format(
            StreamFormat.text_line_format(), events.absolute().as_uri()
        )
        lines = environment.from_source(source.build(), WatermarkStrategy.no_watermarks(), "events")
        pair = Types.TUPLE([Types.STRING(), Types.STRING()])
        # One task reads, so that the events of a key stay in order.
        elements = lines.set_parallelism(1).uid("events").map(_element_of, output_type=pair)
        told = _taken(elements.set_parallelism(1).uid("keys"), models, Types.STRING())
        sink = FileSink.for_row_format(out.absolute().as_uri(), Encoder.simple_string_encoder())
        sink = sink.with_bucket_assigner(BucketAssigner.base_path_bucket_assigner())
        sink = sink.with_rolling_policy(RollingPolicy.on_checkpoint_rolling_policy())
        told.sink_to(sink.build()).uid("results")
        with _apart():
            return environment.execute_async("driftmoe")


def _stop(client: Any, done: Any) -> None:
    """End a job that the caller wants no more, and wait for its end."""
    from py4j.protocol import Py4JJavaError

    with suppress(Py4JJavaError):  # it has just ended
        if not done.done():
            client.cancel().result()
    while not done.done():
        time.sleep(0.1)


@contextmanager
def _apart() -> Iterator[None]:
    """Let Python's part of a job run in processes of its own, as on a cluster; on one machine Flink takes threads."""
    kept = os.environ.get(MODE)
    os.environ[MODE] = "process"
    try:
        yield
    finally:
        if kept is None:
            del os.environ[MODE]
        else:
            os.environ[MODE] = kept


def _environment(checkpoint: Path, kept: Path | None, parallelism: int, backend: str) -> Any:
    """Return Flink on this machine."""
    log = checkpoint / "log"
    for name, value in (("FLINK_LOG_DIR", str(log.absolute())), ("ROOT_LOG_LEVEL", "WARN")):
        os.environ.setdefault(name, value)
    from pyflink.common import Configuration
    from pyflink.datastream import StreamExecutionEnvironment
    from pyflink.java_gateway import get_gateway

    # RocksDB's own log would lie beside Java's, under a name made of its whole path, which may be too long for a file.
    get_gateway().jvm.System.clearProperty("log.file")
    local = checkpoint / "local"
    shutil.rmtree(local, ignore_errors=True)  # a process that was killed leaves it
    local.mkdir(parents=True)
    settings = {
        "execution.checkpointing.dir": (checkpoint / "checkpoints").absolute().as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.interval": f"{round(1000 * SECONDS)} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.storage": "filesystem",
        "io.tmp.dirs": str(local.absolute()),
        "parallelism.default": str(parallelism),
        "pipeline.max-parallelism": str(MAX_PARALLELISM),
        "python.client.executable": sys.executable,
        "python.executable": sys.executable,
        # What is in a bundle comes before the next checkpoint. An element has many events here.
        "python.fn-execution.bundle.size": "100",
        "rest.bind-port": "0",
        "restart-strategy.type": "none",
        "state.backend.type": backend,
    }
    if kept is not None:
        # The job owns the checkpoint that it begins with, and deletes it when it has a newer one.
        settings["execution.state-recovery.claim-mode"] = "CLAIM"
        settings["execution.state-recovery.path"] = kept.absolute().as_uri()
    configuration = Configuration()
    for name, value in settings.items():
        configuration.set_string(name, value)
    return StreamExecutionEnvironment.get_execution_environment(configuration)


def _last_checkpoint(checkpoint: Path) -> Path | None:
    """Return the folder of the last complete checkpoint, or `None`.

    Flink writes `_metadata` last, and deletes it first.
    """
    found = (checkpoint / "checkpoints").glob("*/chk-*/_metadata")
    return max((file.parent for file in found), key=_number_of, default=None)


def _forget_others(checkpoint: Path, kept: Path | None) -> None:
    """Remove checkpoints that a killed job has not come to remove: nobody else would.

    The checkpoint that is kept may need files of the folders `shared` beside.
    """
    for folder in (checkpoint / "checkpoints").glob("*/chk-*"):
        if folder != kept:
            (folder / "_metadata").unlink(missing_ok=True)
            shutil.rmtree(folder)


def _clear(out: Path, checkpoint: Path) -> None:
    """Remove what a job that is done leaves: its input, and what jobs that were killed had begun."""
    for rest in (checkpoint / INPUT, checkpoint / "checkpoints"):
        shutil.rmtree(rest, ignore_errors=True)
    for begun in out.glob(".part-*.inprogress.*"):
        begun.unlink()


def _number_of(folder: Path) -> tuple[int, float]:
    return int(folder.name.removeprefix("chk-")), folder.stat().st_mtime


def _committed(out: Path) -> list[Path]:
    """Return the files that a checkpoint has committed; names of others begin with a dot."""
    return sorted(out.glob("part-*"))


class _Written:
    """How far results are committed.

    Parameters
    ----------
    out
        Folder of results.
    until
        `seq` of the last event of each file of events, and the number of events up to it.
    """

    def __init__(self, out: Path, until: list[tuple[int, int]]) -> None:
        self._out, self._until = out, until
        self._seen: set[Path] = set()
        self._last = -1

    def n_events(self) -> int:
        """Return the number of events of files from which all results should be there."""
        for file in set(_committed(self._out)) - self._seen:
            self._seen.add(file)
            self._last = max([self._last, *(result.seq for result in _read(file))])
        return max((n for seq, n in self._until if seq <= self._last), default=0)


def _n_events_until(files: list[Path]) -> list[tuple[int, int]]:
    """Return the `seq` of the last event of each file, and the number of events up to it."""
    found, n = [(-1, 0)], 0
    for file in files:
        with file.open("rb") as lines:
            last = b""
            for last in lines:  # noqa: B007
                n += 1
        found.append((read_line(last.decode())[1].seq, n))
    return found


def _piece(file: Path) -> tuple[int, Callable[[], list[Result]]]:
    """Return the least number of an event in a file of results, and how to read it."""
    first = min((result.seq for result in _read(file) if result.seq >= 0), default=-1)
    return first, lambda: list(_read(file))


def _read(file: Path) -> Iterator[Result]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield Result(*json.loads(line))


def check_installed() -> None:
    """Raise ImportError if a package is missing. The message says how to install it."""
    try:
        import pyflink.datastream  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{error.name} is missing; the engine 'flink' needs Flink in an environment of its own, and Java 17: "
            "docs/guides/keyed-flink.md says how to install it"
        ) from None
