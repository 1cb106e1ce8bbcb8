"""Models of keys in processes of this machine, with their states in SQLite files.

Keys are shared among a fixed number of files by a hash. Each file of events is one transaction of each of these: new
states, waiting samples, results and the position. A kill at any moment loses and repeats nothing.
"""

from __future__ import annotations

import functools
import heapq
import json
import os
import sqlite3
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from driftmoe.engines import event_files
from driftmoe.engines.keyed import Cache, step
from driftmoe.engines.making import Make
from driftmoe.engines.results import Result, results_of
from driftmoe.processes import begin_child, context_of

N_PARTS = 16
"""Files that the keys are shared among, and so the greatest number of processes. It is fixed when a run begins."""

N_LIVE = 10_000
"""Models that a process keeps live, at most."""

_TABLES = """
CREATE TABLE position (n_files INTEGER NOT NULL);
CREATE TABLE models (key TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE waiting (
    key TEXT NOT NULL, id TEXT NOT NULL, features TEXT NOT NULL, arrived REAL NOT NULL, PRIMARY KEY (key, id)
) WITHOUT ROWID;
CREATE INDEX waiting_by_age ON waiting (arrived);
CREATE TABLE results (
    place INTEGER PRIMARY KEY, key TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT, what TEXT NOT NULL,
    content TEXT NOT NULL
);
CREATE INDEX results_in_order ON results (seq);
INSERT INTO position VALUES (0);
PRAGMA user_version = 1;
"""


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
    """Take all events of a folder. Called again after it was stopped, it goes on from the last commit.

    Parameters
    ----------
    events
        Folder of complete event files; see `driftmoe.engines.event_files`.
    out
        Folder of the SQLite files, which hold results and states.
    checkpoint
        Not used: one commit holds states and results.
    make
        Makes the model of a new key.
    ttl
        Seconds for which a sample waits for its label.
    parallelism
        Number of processes; another one may be given each time.
    progress
        Called with the number of events taken so far.

    Raises
    ------
    RuntimeError
        If a process ends, or the model of a key fails. What was committed holds.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = event_files.files_of(events)
    here = functools.partial(_Share, out, make, ttl)
    with _Workers(here, min(parallelism, N_PARTS)) if parallelism > 1 else here(range(N_PARTS)) as workers:
        first = workers.n_files()
        n_taken = 0
        for i, file in enumerate(files):
            lines = file.read_text(encoding="utf-8").splitlines()
            if i >= first:
                workers.take(i, _shared(lines))
            n_taken += len(lines)
            progress(n_taken)


def check_installed() -> None:
    """Do nothing: no other package is needed."""


def results(out: Path) -> Iterator[Result]:
    """Yield the results of a folder that `run` has written, in the order of their events."""
    files = [sqlite3.connect(f"file:{file}?mode=ro", uri=True) for file in sorted(out.glob("part-*.sqlite"))]
    try:
        asked = "SELECT key, seq, id, what, content FROM results ORDER BY seq, place"
        rows = [map(Result._make, file.execute(asked)) for file in files]
        yield from heapq.merge(*rows, key=lambda one: one.seq)
    finally:
        for file in files:
            file.close()


def n_state_bytes(out: Path) -> tuple[int, int]:
    """Return how many keys have a state, and the bytes of all states."""
    n_keys = n_bytes = 0
    for file in sorted(out.glob("part-*.sqlite")):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            n, size = database.execute(
                "SELECT count(*), coalesce(sum(length(state)), 0) FROM models"
            ).fetchone()
            n_keys, n_bytes = n_keys + n, n_bytes + size
    return n_keys, n_bytes


def _shared(lines: Sequence[str]) -> dict[int, list[str]]:
    """Return the lines of each part."""
    shares: dict[int, list[str]] = defaultdict(list)
    for line in lines:
        shares[part_of(json.loads(line)["key"])].append(line)
    return shares


def part_of(key: str) -> int:
    """Return the number of the file of a key; the same in every process and version."""
    return zlib.crc32(key.encode()) % N_PARTS


class _Share:
    """Some parts, in this process.

    Parameters
    ----------
    out, make, ttl
        As in `run`.
    parts
        Their numbers.
    """

    def __init__(self, out: Path, make: Make, ttl: float, parts: Sequence[int]) -> None:
        n_live = max(1, N_LIVE // len(parts))
        self._parts = {
            part: _Part(out / f"part-{part:02}.sqlite", make, Cache(n_live), ttl) for part in parts
        }

    def __enter__(self) -> _Share:
        return self

    def __exit__(self, *exception: object) -> None:
        for part in self._parts.values():
            part.close()

    def n_files(self) -> int:
        """Return how many files all parts have taken."""
        return min(part.n_files for part in self._parts.values())

    def take(self, i: int, events: Mapping[int, Sequence[str]]) -> None:
        """Take the events of a file: part -> lines."""
        for number, part in self._parts.items():
            try:
                part.take(i, events.get(number, ()))
            except sqlite3.Error as error:  # such as a full disk
                raise RuntimeError(f"part {number}: {error}; what was committed holds") from error


class _Workers:
    """Processes that each have a share of the parts.

    Parameters
    ----------
    make
        Makes a share of some parts.
    n_workers
        Number of processes.
    """

    def __init__(self, make: Callable[[Sequence[int]], _Share], n_workers: int) -> None:
        self._pipes, self._processes = list[Any](), list[Any]()
        self._parts = [range(w, N_PARTS, n_workers) for w in range(n_workers)]
        context = context_of("driftmoe.engines.local")
        for parts in self._parts:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, make, parts, dict(os.environ)))
            process.start()
            theirs.close()  # only the child keeps its end open, so that we notice its death
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            if kind is None:
                pipe.send(None)
            else:
                process.terminate()
        for process in self._processes:
            process.join()

    def n_files(self) -> int:
        """Return how many files all parts have taken."""
        return min(self._answers())

    def take(self, i: int, events: Mapping[int, Sequence[str]]) -> None:
        """Take the events of a file: part -> lines."""
        for pipe, parts in zip(self._pipes, self._parts, strict=True):
            pipe.send((i, {part: events[part] for part in parts if part in events}))
        self._answers()

    def _answers(self) -> list[Any]:
        """Return the answer of each process, when all have answered."""
        answers: dict[Any, Any] = {}
        while len(answers) < len(self._pipes):
            ready: list[Any] = wait([pipe for pipe in self._pipes if pipe not in answers])
            for pipe in ready:
                try:
                    answers[pipe] = pipe.recv()
                except EOFError:
                    process = self._processes[self._pipes.index(pipe)]
                    process.join()
                    raise RuntimeError(
                        f"a worker ended with exit code {process.exitcode}; what was committed holds, and the same "
                        "command goes on from there"
                    ) from None
                if isinstance(answers[pipe], str):
                    raise RuntimeError(answers[pipe])
        return list(answers.values())


def _work(
    pipe: Connection,
    make: Callable[[Sequence[int]], _Share],
    parts: Sequence[int],
    environment: dict[str, str],
) -> None:
    """Take events as they are sent, until `None` comes."""
    begin_child(environment)
    import torch

    torch.set_num_threads(1)
    with make(parts) as share:
        pipe.send(share.n_files())
        while (work := pipe.recv()) is not None:
            try:
                share.take(*work)
            except (ValueError, TypeError, RuntimeError, OSError, sqlite3.Error) as error:
                pipe.send(
                    f"{type(error).__name__}: {error}" if type(error) is not RuntimeError else str(error)
                )
                return
            pipe.send(work[0])


class _Part:
    """The keys of one file.

    Parameters
    ----------
    file
        SQLite file; it is made if need be.
    make
        Makes the model of a new key.
    cache
        Live models.
    ttl
        Seconds for which a sample waits for its label.
    """

    def __init__(self, file: Path, make: Make, cache: Cache, ttl: float) -> None:
        self._make, self._cache, self._ttl = make, cache, ttl
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        # After a power cut the last commits may be missing, but no half of one: the events are taken again then.
        self._database.execute("PRAGMA synchronous = NORMAL")
        if not self._database.execute("PRAGMA user_version").fetchone()[0]:
            self._database.executescript(f"BEGIN;{_TABLES}COMMIT;")
        self.n_files: int = self._database.execute("SELECT n_files FROM position").fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def take(self, i: int, lines: Sequence[str]) -> None:
        """Take the events of a file, unless that was done."""
        if i < self.n_files:
            return
        of_keys: dict[str, list[Any]] = defaultdict(list)
        for line in lines:
            key, event = event_files.read_line(line)
            of_keys[key].append(event)
        with self._database:  # commits, or rolls back
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM waiting WHERE arrived < ?", [time.time() - self._ttl])
            for key, some in of_keys.items():
                self._take_key(key, some)
            self._database.execute("UPDATE position SET n_files = ?", [i + 1])
        self.n_files = i + 1

    def _take_key(self, key: str, events: list[Any]) -> None:
        found = self._database.execute("SELECT state FROM models WHERE key = ?", [key]).fetchone()
        try:
            done = step(
                found and found[0],
                events,
                self._make,
                waiting=_Waiting(self._database, key),
                cache=self._cache,
            )
        except (ValueError, TypeError, RuntimeError) as error:
            raise RuntimeError(f"key {key!r}: {error}") from error
        self._database.execute("REPLACE INTO models VALUES (?, ?)", [key, done.state])
        self._database.executemany("INSERT INTO results VALUES (NULL, ?, ?, ?, ?, ?)", results_of(key, done))


class _Waiting(MutableMapping[str, str]):
    """The samples of a key that wait for their labels, in its file."""

    def __init__(self, database: sqlite3.Connection, key: str) -> None:
        self._database, self._key = database, key

    def __getitem__(self, name: str) -> str:
        asked = "SELECT features FROM waiting WHERE key = ? AND id = ?"
        found = self._database.execute(asked, [self._key, name]).fetchone()
        if found is None:
            raise KeyError(name)
        text: str = found[0]
        return text

    def __setitem__(self, name: str, features: str) -> None:
        row = [self._key, name, features, time.time()]
        self._database.execute("REPLACE INTO waiting VALUES (?, ?, ?, ?)", row)

    def __delitem__(self, name: str) -> None:
        self._database.execute("DELETE FROM waiting WHERE key = ? AND id = ?", [self._key, name])

    def __iter__(self) -> Iterator[str]:
        rows = self._database.execute("SELECT id FROM waiting WHERE key = ?", [self._key])
        return (name for (name,) in rows.fetchall())

    def __len__(self) -> int:
        n: int = self._database.execute("SELECT count(*) FROM waiting WHERE key = ?", [self._key]).fetchone()[
            0
        ]
        return n
