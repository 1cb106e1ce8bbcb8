"""The worker's store: one SQLite file that holds models, waiting samples, positions in sources, and results.

Each batch of events is one transaction. It holds everything that follows from the batch: predictions, samples that wait
for a label, what was learnt and in which order, and the position in the source. A model itself is written now and then
(a *snapshot*). After a crash it is loaded, and takes again, in the same order, what came and was learnt since. The same
samples give the same model: nothing is lost and nothing is learnt twice.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from driftmoe.service.failures import StoreError

FORMAT = 4
"""Version of the store's contents; older ones are read. In format 1 the probabilities of answers are decimal numbers;
up to format 2 answers and scores lack the baseline `markov`; up to format 3 models are not told of late labels."""

FILE = "store.sqlite"
"""Name of the database in the folder of a store."""

APPLICATION = 0x44724D6F
"""SQLite's application id of a store ("DrMo")."""

WAITING, LEARNT, EXPIRED, REFUSED = 0, 1, 2, 3
"""States of a sample: without a label yet; learnt; given up before its label came; not readable by the model."""

MOST_DEAD = 10_000
"""Number of events that were not used that are kept; all are counted."""

MOST_ALARMS = 10_000
"""Number of alarms that are kept."""

MOST_POINTS = 1_000
"""Number of points that the history of a model has at most; every second one goes when it is full."""

_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (source TEXT PRIMARY KEY, position TEXT NOT NULL, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE models (
    key TEXT PRIMARY KEY,
    content BLOB NOT NULL,       -- file of the model
    learnt INTEGER NOT NULL,     -- last place in the order of learning that the file has
    scores TEXT NOT NULL,        -- JSON, as of the same place
    arrived INTEGER NOT NULL DEFAULT 0  -- seq of the last sample without a label of which the file knows
);
CREATE TABLE samples (
    seq INTEGER PRIMARY KEY,     -- order of arrival
    key TEXT NOT NULL,
    id TEXT,
    state INTEGER NOT NULL,
    arrived REAL NOT NULL,       -- seconds
    event TEXT NOT NULL,         -- JSON object with its features
    answer TEXT,                 -- JSON: what was predicted on arrival
    label TEXT,                  -- JSON
    weight REAL,
    learnt INTEGER,              -- place in the order of learning
    after INTEGER                -- last place in it before a sample that came without a label
);
CREATE UNIQUE INDEX samples_by_id ON samples (key, id) WHERE id IS NOT NULL;
CREATE INDEX samples_by_learning ON samples (learnt) WHERE learnt IS NOT NULL;
CREATE INDEX samples_by_arrival ON samples (key, seq) WHERE after IS NOT NULL;
CREATE INDEX samples_waiting ON samples (seq) WHERE label IS NULL AND state IN (0, 3);
CREATE TABLE labels (            -- of samples that have not come yet, or, in the order of time, not due yet
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    arrived REAL NOT NULL,
    due REAL,                    -- time at which it counts; NULL if it waits for its features
    label TEXT NOT NULL,
    weight REAL NOT NULL
);
CREATE INDEX labels_by_id ON labels (key, id);
CREATE TABLE history (key TEXT NOT NULL, n INTEGER NOT NULL, point TEXT NOT NULL, PRIMARY KEY (key, n)) WITHOUT ROWID;
CREATE TABLE alarms (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL
);
CREATE TABLE dead (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, source TEXT NOT NULL, outcome TEXT NOT NULL,
    event TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, content TEXT NOT NULL);
"""  # fmt: skip

_ADDED = (
    "ALTER TABLE models ADD COLUMN arrived INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE samples ADD COLUMN after INTEGER",
    "CREATE INDEX samples_by_arrival ON samples (key, seq) WHERE after IS NOT NULL",
)
"""What earlier stores lack."""


@dataclass(slots=True)
class Row:
    """A sample in the store; see the table `samples`. `is_new` says whether its row has to be inserted."""

    seq: int
    key: str
    id: str | None
    state: int
    arrived: float
    event: str
    answer: str | None = None
    label: str | None = None
    weight: float | None = None
    learnt: int | None = None
    after: int | None = None
    is_new: bool = True

    @property
    def features(self) -> dict[str, Any]:
        """Features of the sample."""
        features: dict[str, Any] = json.loads(self.event)["features"]
        return features


@dataclass(slots=True)
class Label:
    """A label that waits in the store; see the table `labels`."""

    seq: int
    key: str
    id: str
    arrived: float
    due: float | None
    label: str
    weight: float


_COLUMNS = "seq, key, id, state, arrived, event, answer, label, weight, learnt, after"
_values_of = attrgetter(*_COLUMNS.split(", "))
_LABEL_COLUMNS = "seq, key, id, arrived, due, label, weight"


class Store:
    """A folder with the database of one worker.

    Parameters
    ----------
    folder
        Folder of the store. It is created if need be.
    read_only
        Whether to look into the store only, which can be done while a worker runs.

    Raises
    ------
    StoreError
        If another worker uses the store, it is damaged, or was written by a newer version.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from driftmoe.service import Settings, Store, Worker
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     worker = Worker(Store(Path(folder)), Settings())
    ...     worker.start()
    ...     worker.stop()  # closes the store
    ...     Path(folder, "store.sqlite").exists()
    True
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder, self.file = folder, folder / FILE
        self._lock: FileLock | None = None
        self._reading = threading.Lock()
        if read_only:
            if not self.file.is_file():
                raise StoreError(f"{folder} holds no store; give the folder of `driftmoe serve --store`")
        else:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = FileLock(folder / "lock", thread_local=False)
                self._lock.acquire(blocking=False)
            except Timeout:
                raise StoreError(
                    f"another worker uses the store {folder}; stop it first, or choose another folder"
                ) from None
            except OSError as error:
                raise StoreError(f"the store {folder} cannot be written: {error.strerror or error}") from None
        with ExitStack() as undone:
            undone.callback(self.close)
            self._open(read_only)
            undone.pop_all()

    def _open(self, read_only: bool) -> None:
        with self._told():
            uri = f"{self.file.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            self._writer = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30
            )
            self._reader = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30
            )
            self._writer.execute("PRAGMA synchronous = FULL")
            if not read_only:
                self._writer.execute("PRAGMA journal_mode = WAL")
            is_empty = not self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if is_empty and not read_only:  # new, or its worker died before it had begun
                self._create()
            if (version := self._check()) < FORMAT and not read_only:
                with self.transaction() as cursor:  # what is written from now on is of this format
                    for statement in _ADDED if version < 4 else ():
                        cursor.execute(statement)
                    cursor.execute(f"PRAGMA user_version = {FORMAT}")

    def _create(self) -> None:
        with self.transaction() as cursor:
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    cursor.execute(statement)
            cursor.execute(f"PRAGMA application_id = {APPLICATION}")
            cursor.execute(f"PRAGMA user_version = {FORMAT}")

    def _check(self) -> int:
        """Return the format of the store, or raise StoreError if it cannot be used."""
        application = self._writer.execute("PRAGMA application_id").fetchone()[0]
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION:
            raise StoreError(f"{self.file} is not the store of a worker; choose another folder")
        if version > FORMAT:
            raise StoreError(
                f"{self.file} has format {version} and this version of driftmoe reads up to {FORMAT}; upgrade driftmoe"
            )
        found = self._writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(
                f"{self.file} is damaged: {found}; take a copy made by `driftmoe store export`, since copying the "
                "files of a running worker may tear them"
            )
        return int(version)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn SQLite's errors into StoreError."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"the store {self.folder}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Write to the store: all or nothing.

        Raises
        ------
        StoreError
            If the transaction cannot be committed. Then nothing is written.
        """
        cursor = self._writer.cursor()
        with self._told(), closing(cursor):
            try:
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                cursor.execute("COMMIT")
            finally:
                if self._writer.in_transaction:  # something was raised
                    self._writer.rollback()

    def close(self) -> None:
        """Close the store, and let other workers use it."""
        with self._reading:
            for name in ("_reader", "_writer"):
                connection = vars(self).pop(name, None)
                if connection is not None:
                    connection.close()
        if self._lock is not None:
            self._lock.release()

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, from any thread, as of the last commit."""
        with self._reading, self._told():
            if "_reader" not in vars(self):
                raise StoreError(f"the store {self.folder} is closed")
            return self._reader.execute(statement, values).fetchall()

    def about(self) -> dict[str, str]:
        """Return what the store says of itself."""
        return dict(self.read("SELECT name, value FROM about"))

    def counts(self) -> dict[str, int]:
        """Return the counters."""
        return dict(self.read("SELECT name, n FROM counts"))

    def positions(self) -> dict[str, tuple[Any, int]]:
        """Return position in each source, and the number of its events."""
        rows = self.read("SELECT source, position, n FROM positions")
        return {source: (json.loads(position), n) for source, position, n in rows}

    def rows(self, ids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        """Return the samples of some keys and ids that are in the store."""
        found, by_key = {}, _by_key(ids)
        for key, some in by_key.items():
            for row in self._many(f"SELECT {_COLUMNS} FROM samples WHERE key = ? AND id IN ", key, some):
                found[key, row[2]] = _row(row)
        return found

    def _many(self, query: str, key: str, ids: list[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            yield from self.read(f"{query}({', '.join('?' * len(some))})", [key, *some])

    def waiting(self) -> list[tuple[int, str, str, float]]:
        """Return sequence number, key, id and arrival of the samples without label, in the order of arrival."""
        query = (
            "SELECT seq, key, id, arrived FROM samples WHERE label IS NULL AND state IN (0, 3) ORDER BY seq"
        )
        return self.read(query)

    def early(self) -> list[Label]:
        """Return the labels whose features have not come, in the order of arrival."""
        query = f"SELECT {_LABEL_COLUMNS} FROM labels WHERE due IS NULL ORDER BY seq"
        return [Label(*row) for row in self.read(query)]

    def held(self) -> list[Label]:
        """Return the labels that are not due yet."""
        query = f"SELECT {_LABEL_COLUMNS} FROM labels WHERE due IS NOT NULL ORDER BY due, seq"
        return [Label(*row) for row in self.read(query)]

    def taken_since(
        self, key: str, learnt: int, arrived: int, n: int, n_before: int
    ) -> list[tuple[Row, bool]]:
        """Return what a model has taken since its snapshot, in order: samples, and whether it has learnt them.

        A sample whose label came late is there twice. `learnt` and `arrived` are those of the snapshot; at most `n` are
        returned, after `n_before`.
        """
        query = (
            f"SELECT {_COLUMNS}, learnt AS place, 0 AS is_arrival FROM samples WHERE learnt > ? AND key = ? UNION ALL "
            f"SELECT {_COLUMNS}, after AS place, 1 AS is_arrival FROM samples WHERE seq > ? AND key = ? "
            "AND after IS NOT NULL AND answer IS NOT NULL ORDER BY place, is_arrival, seq LIMIT ? OFFSET ?"
        )
        found = self.read(query, (learnt, key, arrived, key, n, n_before))
        return [(_row(values), not is_arrival) for *values, _, is_arrival in found]

    def size(self) -> int:
        """Return the bytes of the store on disk."""
        return sum(path.stat().st_size for path in self.folder.glob(f"{FILE}*"))

    def copy_to(self, folder: Path) -> Path:
        """Write a consistent copy of the store into another folder, while a worker may run."""
        file = folder / FILE
        if file.exists():
            raise StoreError(f"{file} exists; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        with self._reading, self._told():
            self._reader.execute("VACUUM INTO ?", [str(file)])
        return file

    def compact(self) -> None:
        """Give the room of deleted rows back to the disk."""
        with self._told():
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer.execute("VACUUM")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _row(values: Sequence[Any]) -> Row:
    row = Row(*values)
    row.is_new = False
    return row


def _by_key(ids: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    by_key: dict[str, list[str]] = {}
    for key, id in ids:
        by_key.setdefault(key, []).append(id)
    return by_key


def write_rows(cursor: sqlite3.Cursor, rows: Iterable[Row]) -> None:
    """Insert or update samples."""
    rows = list(rows)
    cursor.executemany(
        f"INSERT INTO samples ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_values_of(row) for row in rows if row.is_new],
    )
    cursor.executemany(
        "UPDATE samples SET state = ?, label = ?, weight = ?, learnt = ? WHERE seq = ?",
        [(row.state, row.label, row.weight, row.learnt, row.seq) for row in rows if not row.is_new],
    )


def write_labels(cursor: sqlite3.Cursor, added: Iterable[Label], removed: Iterable[Label]) -> None:
    """Insert labels that wait, and delete those that wait no more."""
    cursor.executemany(
        f"INSERT INTO labels ({_LABEL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(one.seq, one.key, one.id, one.arrived, one.due, one.label, one.weight) for one in added],
    )
    cursor.executemany("DELETE FROM labels WHERE seq = ?", [(one.seq,) for one in removed])


def write_about(cursor: sqlite3.Cursor, values: Mapping[str, Any]) -> None:
    """Set what the store says of itself."""
    cursor.executemany(
        "INSERT INTO about VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [(name, str(value)) for name, value in values.items()],
    )


def add_counts(cursor: sqlite3.Cursor, counts: Mapping[str, int]) -> None:
    """Add to counters."""
    cursor.executemany(
        "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n",
        list(counts.items()),
    )


def write_position(cursor: sqlite3.Cursor, source: str, position: Any, n: int) -> None:
    """Set the position in a source, and add to the number of its events."""
    cursor.execute(
        "INSERT INTO positions VALUES (?, ?, ?) "
        "ON CONFLICT (source) DO UPDATE SET position = excluded.position, n = n + excluded.n",
        (source, json.dumps(position), n),
    )


def write_snapshot(
    cursor: sqlite3.Cursor, key: str, content: bytes, learnt: int, scores: str, arrived: int
) -> None:
    """Set the file of a model with the last place in the order of learning, its scores, and the last arrival."""
    cursor.execute(
        "INSERT OR REPLACE INTO models (key, content, learnt, scores, arrived) VALUES (?, ?, ?, ?, ?)",
        (key, content, learnt, scores, arrived),
    )


def forget(cursor: sqlite3.Cursor, n_remembered: int) -> None:
    """Delete the samples that are done, have no part in recovering a model, and are not among the last ones.

    Parameters
    ----------
    n_remembered
        Number of samples that are done whose ids are remembered, so that a second label for them is recognised.
    """
    cursor.execute(
        "DELETE FROM samples WHERE learnt IS NOT NULL AND learnt <= (SELECT max(learnt) - ? FROM samples) "
        "AND learnt <= (SELECT models.learnt FROM models WHERE models.key = samples.key)",
        (n_remembered,),
    )
    cursor.execute(
        "DELETE FROM samples WHERE (state = ? OR (state = ? AND label IS NOT NULL)) "
        "AND seq <= (SELECT max(seq) - ? FROM samples) "
        "AND (after IS NULL OR answer IS NULL "
        "OR seq <= (SELECT models.arrived FROM models WHERE models.key = samples.key))",
        (EXPIRED, REFUSED, 2 * n_remembered),
    )


def write_dead(cursor: sqlite3.Cursor, dead: Sequence[tuple[float, str, str, str, str]]) -> None:
    """Add events that were not used: time, source, outcome, event and reason."""
    if dead:
        cursor.executemany(
            "INSERT INTO dead (time, source, outcome, event, reason) VALUES (?, ?, ?, ?, ?)", dead
        )
        cursor.execute("DELETE FROM dead WHERE seq <= (SELECT max(seq) FROM dead) - ?", (MOST_DEAD,))


def write_expired(cursor: sqlite3.Cursor, seqs: Iterable[int]) -> None:
    """Mark samples whose label did not come in time."""
    cursor.executemany("UPDATE samples SET state = ? WHERE seq = ?", [(EXPIRED, seq) for seq in seqs])


def write_outbox(cursor: sqlite3.Cursor, messages: Iterable[tuple[str, str]]) -> None:
    """Add messages to send: id and content."""
    cursor.executemany("INSERT INTO outbox (id, content) VALUES (?, ?)", messages)


def bound_outbox(cursor: sqlite3.Cursor, most: int) -> int:
    """Delete the oldest messages if there are more than a number. Return how many."""
    cursor.execute("DELETE FROM outbox WHERE seq <= (SELECT max(seq) FROM outbox) - ?", (most,))
    return cursor.rowcount


def write_history(cursor: sqlite3.Cursor, key: str, n: int, point: str) -> None:
    """Add a point to the history of a model; every second one goes when there are too many."""
    cursor.execute("INSERT OR IGNORE INTO history VALUES (?, ?, ?)", (key, n, point))
    if cursor.execute("SELECT count(*) FROM history WHERE key = ?", (key,)).fetchone()[0] > MOST_POINTS:
        cursor.execute(
            "DELETE FROM history WHERE key = ? AND n IN (SELECT n FROM (SELECT n, row_number() OVER (ORDER BY n) AS i "
            "FROM history WHERE key = ?) WHERE i % 2 = 0)",
            (key, key),
        )


def write_alarms(cursor: sqlite3.Cursor, alarms: Iterable[tuple[str, str, str]]) -> None:
    """Add alarms: id, key and content. One that is there already is not added again."""
    cursor.executemany("INSERT OR IGNORE INTO alarms (id, key, content) VALUES (?, ?, ?)", alarms)
    cursor.execute("DELETE FROM alarms WHERE seq <= (SELECT max(seq) FROM alarms) - ?", (MOST_ALARMS,))
