"""One model a key on Spark: `transformWithState` keeps the states in RocksDB. Needs `driftmoe[spark]` and Java 17.

Spark works in small batches. All events of a key in a batch go to one call of the step. States, waiting samples and
positions belong to the checkpoint of a batch, so that a batch that failed is taken again as a whole; the file sink
then keeps one of its results.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow.compute
import pyarrow.parquet

from driftmoe.engines import event_files
from driftmoe.engines.event_files import read_line
from driftmoe.engines.keyed import Event
from driftmoe.engines.making import Make
from driftmoe.engines.results import Result
from driftmoe.engines.rows import (
    N_LIVE,
    TTL,
    Waiting,
    cause_of,
    event_of,
    grow_in_time,
    in_order,
    take,
    told_to,
)
from driftmoe.extras import install

ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
"""Where Spark keeps states; it has no other place for these."""

SETTINGS = {
    "spark.sql.streaming.stateStore.providerClass": ROCKSDB,
    # A batch writes what has changed, and not every file of RocksDB anew.
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
}
"""Settings of Spark that a query with models has."""

RESULT = "key string, seq long, id string, what string, content string"
"""Columns of results."""

QUERY, LOG = "query", "spark.log"
"""Folder of Spark's own checkpoint, and its log."""


def predictions(events: Any, make: Make, *, key: str = "key", ttl: float = TTL, n_live: int = N_LIVE) -> Any:
    """Return what the models of keys say of events, as a streaming DataFrame.

    Parameters
    ----------
    events
        Streaming DataFrame with the columns `key`, `seq` (long), `id`, `kind` and `payload` (JSON text); see
        `driftmoe.engines.Event`. The events of a key must come in the order of `seq`, from one batch to the next;
        within a batch they may be mixed.
    make
        Makes the model of a new key.
    key
        Name of the column with the key, a text.
    ttl
        Seconds for which a sample waits for its label.
    n_live
        Models that a Python process keeps live, at most, so that it need not read them anew.

    Returns
    -------
    DataFrame
        Columns `key`, `seq`, `id`, `what` (`"prediction"` or `"alarm"`) and `content` (JSON text): `label` and `proba`,
        pairs of label and probability; or `kind`, `text` and `sample`. Write it in the mode `append`. The session gets
        the settings `SETTINGS`.

    Raises
    ------
    ImportError
        If Spark is missing.
    """
    check_installed()
    return _taken(events.withColumnRenamed(key, "key"), _Processor(make, ttl, n_live, event_of))


def run(
    events: Path,
    out: Path,
    checkpoint: Path,
    make: Make,
    *,
    ttl: float,
    parallelism: int,
    progress: Callable[[int], None],
) -> None:
    """Take all events of a folder, on this machine. Called again after it was killed, it goes on from the last batch.

    Parameters
    ----------
    events
        Folder of complete event files; see `driftmoe.engines.event_files`. Each file is a batch.
    out
        Folder for the results, as Parquet.
    checkpoint
        Folder for states and positions.
    make
        Makes the model of a new key.
    ttl
        Seconds for which a sample waits for its label.
    parallelism
        Number of threads. The first call also divides the states into so many partitions, and later calls keep that
        number.
    progress
        Called with the number of events taken so far.

    Raises
    ------
    ImportError
        If Spark is missing.
    RuntimeError
        If Spark or a model failed. What was committed holds.
    """
    check_installed()
    files = event_files.files_of(events)
    if not files:
        progress(0)
        return
    n_until = _n_events_until(files)
    grow_in_time(files)
    session = _session(checkpoint, parallelism)
    try:
        query = _started(session, events, out, checkpoint, _Processor(make, ttl, N_LIVE, _event_of_line))
        told = -1
        while True:
            is_running = query.isActive
            if (n_files := _n_taken(checkpoint)) != told:
                told = n_files
                progress(n_until[n_files])
            if not is_running:
                break
            time.sleep(0.2)
        error = query.exception()
    finally:
        session.stop()
        shutil.rmtree(checkpoint / "local", ignore_errors=True)
    if error is not None:
        raise RuntimeError(
            f"Spark's query failed, and what was committed holds: {cause_of(str(error))}; more is in {checkpoint / LOG}"
        )


def results(out: Path) -> Iterator[Result]:
    """Yield the results of a folder that `run` has written, in the order of their events."""
    return in_order(_piece(file) for file in _committed(out))


class _Processor:
    """What Spark calls with the events of each key, in a Python process beside its own.

    Parameters
    ----------
    make
        Makes the model of a new key.
    ttl
        Seconds for which a sample waits for its label.
    n_live
        Models that a process keeps live, at most.
    read
        Returns the event of a row.
    """

    def __init__(self, make: Make, ttl: float, n_live: int, read: Callable[[Any], Event]) -> None:
        self._make, self._ttl, self._n_live, self._read = make, ttl, n_live, read

    def init(self, handle: Any) -> None:
        """Declare what is kept of each key."""
        self._state = handle.getValueState("state", "value binary")
        milliseconds = max(1, round(1000 * self._ttl))
        self._waiting = handle.getMapState("waiting", "id string", "features string", milliseconds)

    def handleInputRows(self, key: Any, rows: Iterable[Any], timer_values: Any) -> Iterator[Any]:  # noqa: N802
        """Take the events of a key in a batch."""
        from pyspark.sql import Row

        found = self._state.get()
        state = None if found is None else bytes(found[0])
        waiting = _waiting_in(self._waiting)
        state, results = take(key[0], state, map(self._read, rows), self._make, waiting, self._n_live)
        self._state.update((state,))
        for result in results:
            yield Row(**result._asdict())

    def handleExpiredTimer(self, key: Any, timer_values: Any, expired: Any) -> Iterator[Any]:  # noqa: N802
        """Nothing to do: there are no timers."""
        return iter(())

    def close(self) -> None:
        """Nothing to do."""


def _waiting_in(state: Any) -> Waiting:
    """Return Spark's map of the present key as one of Python's."""

    def get(name: str) -> str | None:
        found = state.getValue((name,))
        return None if found is None else found[0]

    return Waiting(
        get,
        put=lambda name, features: state.updateValue((name,), (features,)),
        remove=lambda name: state.removeKey((name,)),
        names=lambda: [name for (name,) in state.keys()],  # noqa: SIM118 - this is no dict
    )


def _taken(events: Any, processor: _Processor) -> Any:
    """Return the results of a streaming DataFrame that has a column `key`."""
    for name, value in SETTINGS.items():
        events.sparkSession.conf.set(name, value)
    # The form with frames of pandas was as fast, but took 0.5 ms and not 0.2 to read a key's events.
    return events.groupBy("key").transformWithState(processor, RESULT, "Append", "ProcessingTime")


def _started(session: Any, events: Path, out: Path, checkpoint: Path, processor: _Processor) -> Any:
    """Return the query that takes a folder of events, running."""
    from pyspark.sql import functions

    lines = session.readStream.option("maxFilesPerTrigger", 1).text(
        str(events), pathGlobFilter="part-*.jsonl"
    )
    key = functions.get_json_object("value", "$.key").alias("key")
    found = _taken(lines.select(key, "value"), processor).writeStream.format("parquet").outputMode("append")
    return (
        found.option("checkpointLocation", str(checkpoint / QUERY)).trigger(availableNow=True).start(str(out))
    )


def _event_of_line(row: Any) -> Event:
    return read_line(row.value)[1]


def check_installed() -> None:
    """Raise ImportError if a package is missing. The message says how to install it."""
    try:
        import google.protobuf  # noqa: F401
        import pyspark.sql  # noqa: F401
    except ImportError as error:
        missing = "pyspark" if "pyspark" in str(error.name) else "protobuf"
        raise ImportError(f"the engine 'spark' needs {missing}; {install('spark')}, and Java 17") from None


def _session(checkpoint: Path, parallelism: int) -> Any:
    """Return a session of Spark on this machine."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    local = checkpoint / "local"
    shutil.rmtree(local, ignore_errors=True)  # a process that was killed leaves it
    local.mkdir(parents=True)
    settings = {
        **SETTINGS,
        "spark.sql.shuffle.partitions": str(_n_partitions(checkpoint, parallelism)),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": str(local),
        # Without this, a query whose states expire does empty batches for ever, and never ends.
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.warehouse.dir": str(local / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master(f"local[{parallelism}]").appName("driftmoe")
    with told_to(checkpoint / LOG):
        session = builder.config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")  # each new key would be a warning
    return session


def _n_partitions(checkpoint: Path, parallelism: int) -> int:
    """Return the number of partitions of the states, which the first call has fixed."""
    file = checkpoint / "partitions.json"
    if not file.exists():
        checkpoint.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(parallelism))
    n: int = json.loads(file.read_text())
    if n < parallelism:
        warnings.warn(
            f"the states in {checkpoint} have {n} partitions since the first start, so that {parallelism} threads do "
            f"no more than {n}; for more, begin anew with an empty checkpoint and output",
            stacklevel=4,
        )
    return n


def _n_events_until(files: Iterable[Path]) -> list[int]:
    """Return the number of events in the first files, for each number of files."""
    numbers = [0]
    for file in files:
        with file.open("rb") as lines:
            numbers.append(numbers[-1] + sum(1 for _ in lines))
    return numbers


def _n_taken(checkpoint: Path) -> int:
    """Return the number of files that committed batches have taken, one file a batch."""
    batches = [
        int(file.name) for file in (checkpoint / QUERY / "commits").glob("[0-9]*") if file.name.isdigit()
    ]
    if not batches:
        return 0
    offsets = (checkpoint / QUERY / "offsets" / str(max(batches))).read_text().splitlines()
    n: int = json.loads(offsets[2])["logOffset"] + 1
    return n


def _committed(out: Path) -> list[Path]:
    """Return the files of committed batches; others may be left by a batch that was killed."""
    log = out / "_spark_metadata"
    batches = {int(file.name.split(".")[0]): file for file in log.glob("[0-9]*") if file.suffix != ".crc"}
    names = {batch: file for batch, file in batches.items() if file.suffix == ".compact"}
    start = max(names, default=-1)  # a compact file has all that came before it
    lines = [
        line
        for batch, file in sorted(batches.items())
        if batch >= start
        for line in file.read_text().splitlines()
    ]
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [out / unquote(urlsplit(entry["path"]).path).rpartition("/")[2] for entry in entries]


def _piece(file: Path) -> tuple[int, Callable[[], list[Result]]]:
    """Return the least number of an event in a file of results, and how to read it."""
    numbers = pyarrow.parquet.read_table(file, columns=["seq"])["seq"]
    first = pyarrow.compute.min(numbers.filter(pyarrow.compute.greater_equal(numbers, 0))).as_py()
    return -1 if first is None else first, lambda: _read(file)


def _read(file: Path) -> list[Result]:
    table = pyarrow.parquet.read_table(file, columns=list(Result._fields))
    return [Result(**row) for row in table.to_pylist()]
