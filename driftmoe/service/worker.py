"""The worker: one thread that takes events in order, keeps what follows from them, and answers after the commit."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from river import base

from driftmoe import saving
from driftmoe.evaluation import last_step
from driftmoe.service.arrivals import Arrival, Outcome
from driftmoe.service.events import Event
from driftmoe.service.failures import Changed, QueueFull, Stopped, StoreError
from driftmoe.service.joining import Joiner
from driftmoe.service.registry import Clock, Registry, Settings
from driftmoe.service.store import Store, add_counts, bound_outbox, write_position
from driftmoe.service.views import Views

log = logging.getLogger(__name__)

LONGEST_PAUSE = 30.0
"""Seconds between two attempts to write to a store that fails, at most."""

LONGEST_ACTION = 60.0
"""Seconds that a caller waits for something to be done between two transactions, at most."""

RATE_SECONDS = 10.0
"""Time over which events a second are counted."""

WARN_EVERY = 3_600.0
"""Seconds between two warnings that messages are dropped."""

Told = list[dict[str, Any]]
"""What a client is told of its events."""


@dataclass
class _Chunk:
    """Events that came together, or something to do between two transactions."""

    arrivals: Sequence[Arrival]
    future: Future[Any] | None = None
    action: Callable[[], Any] | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    def fail(self, error: Exception) -> None:
        """Tell who waits that the events, or the last ones of them, were not taken."""
        if self.future is None or self.future.done():
            return
        if not self.outcomes:
            with suppress(InvalidStateError):  # who waited has left
                self.future.set_exception(error)
            return
        self.outcomes += [
            Outcome.of(arrival.content, "not taken", str(error), is_committed=False)
            for arrival in self.arrivals
            if isinstance(arrival.content, Event)
        ]
        self.tell_outcomes()

    def tell_outcomes(self) -> None:
        """Tell who waits what became of the events. Nobody waits for those of a source."""
        if self.future is not None:
            self.tell([outcome.public() for outcome in self.outcomes])

    def tell(self, result: Any) -> None:
        """Tell who waits."""
        if self.future is not None:
            with suppress(InvalidStateError):  # who waited has left
                self.future.set_result(result)


class Worker(Views):
    """Takes events, predicts, learns when labels come, and keeps everything in a store.

    Parameters
    ----------
    store
        Its store. The worker closes it.
    settings
        How it works.

    Raises
    ------
    StoreError
        If the store was begun with another model, or cannot be read.
    ValueError
        If there is no such model, or it cannot be kept in a store.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from driftmoe.service import Event, Settings, Store, Worker
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     worker = Worker(Store(Path(folder)), Settings(model="moe-data"))
    ...     worker.start()
    ...     events = [Event("a", {"x": 1.0}), Event("a", None, "yes"), Event("b", {"x": 2.0})]
    ...     outcomes = worker.submit(events).result()
    ...     worker.stop()
    >>> [(one["outcome"], one["label"]) for one in outcomes if "label" in one]
    [('predicted', None), ('learnt', None), ('predicted', 'yes')]
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self._queue: queue.Queue[_Chunk] = queue.Queue()
        self._put_back: _Chunk | None = None
        self.n_queued = 0
        self._room = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: Exception | None = None
        self._reason, self._warn_from = "", 0.0
        self.on_failure: Callable[[Exception], None] = _nothing
        self.started = time.monotonic()
        self._recent: deque[tuple[float, dict[str, int]]] = deque()
        with ExitStack() as undone:
            undone.callback(store.close)
            self._recover()
            undone.pop_all()

    def _recover(self) -> None:
        """Bring models and ids to the state of the last commit."""
        self.clock = Clock(float(self.store.about().get("clock", 0.0)))
        self.registry = Registry(self.store, self.settings, self.clock)
        self.joiner = Joiner(
            self.store,
            self.settings.bounds,
            self.registry.of,
            self.clock,
            has_sink=self.settings.has_sink,
        )
        self.counts = self.store.counts()

    def start(self) -> None:
        """Begin to take events, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="driftmoe-worker", daemon=True)
        self._thread.start()

    def submit(self, events: Sequence[Event]) -> Future[Told]:
        """Hand over events. The result has the outcome of each, after the commit.

        Raises
        ------
        QueueFull
            If too many events wait.
        Stopped
            If the worker stops.
        """
        future: Future[Told] = Future()
        self._put(_Chunk([Arrival("http", event) for event in events], future), waits=False)
        return future

    def feed(self, arrivals: Sequence[Arrival]) -> None:
        """Hand over events of a source, and wait until there is room for them. Raises Stopped if the worker stops."""
        for arrival in arrivals:  # here, in the thread of the source, while the models learn what came before
            arrival.read(self.settings.bounds.limits)
        self._put(_Chunk(arrivals), waits=True)

    def do(self, action: Callable[[], Any]) -> Any:
        """Do something between two transactions, and return its result."""
        if self._thread is None:
            return action()
        future: Future[Any] = Future()
        self._put(_Chunk([], future, action), waits=False)
        try:
            return future.result(timeout=LONGEST_ACTION)
        except TimeoutError:
            raise StoreError(
                "the worker has been busy for too long: its store may be full; see its log"
            ) from None

    def settle(self) -> None:
        """Wait until all events handed over are committed, or the worker cannot commit them."""
        with suppress(Stopped, StoreError):
            self.do(bool)

    def drain(self) -> None:
        """Wait until all events handed over are committed, and let the labels count that wait for their time."""
        self.do(self._release_all)

    def _release_all(self) -> None:
        self.joiner.release_all(Arrival("end", b""))
        self._commit([])

    def replace_model(
        self, name: str, content: bytes, expected: Collection[str] | None = None
    ) -> dict[str, Any]:
        """Put the model of a file in the place of one. Its scores go on.

        Parameters
        ----------
        name
            Name of the model; a new one is added.
        content
            Bytes of the file.
        expected
            SHA-256 of files, as hexadecimal text: the model to replace must have one of them now. `"*"` stands for any.

        Raises
        ------
        Changed
            If the model to replace is not one of those expected.
        ValueError
            If the bytes are not those of a model, or there are as many models as allowed.
        """
        model = saving.from_bytes(content)
        if not isinstance(last_step(model), base.Classifier):
            raise ValueError(f"the file holds a {type(last_step(model)).__name__}, which is no classifier")

        def replaced() -> dict[str, Any]:
            if expected is not None:
                self._check_expected(name, expected)
            with self.store.transaction() as cursor:
                self.registry.replace(cursor, name, model, self.joiner.learnt, self.joiner.seq)
            self.registry.written()
            return self._described(name)

        told: dict[str, Any] = self.do(replaced)
        return told

    def _check_expected(self, name: str, expected: Collection[str]) -> None:
        keyed = self.registry.models.get(name)
        if keyed is None:
            raise Changed(f"there is no model {name!r} that could be replaced")
        if "*" not in expected and hashlib.sha256(keyed.file()).hexdigest() not in expected:
            raise Changed(
                f"the model {name!r} is not the one that was fetched: it has learnt or was replaced since"
            )

    def stop(self) -> None:
        """Take what is queued, write all models, and close the store.

        Raises
        ------
        Exception
            What made the worker fail.
        """
        with self._room:
            self._stopping.set()
            self._room.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._fail_rest(Stopped("the worker has stopped"))
        self.store.close()
        if self.failure is not None:
            raise self.failure

    def rate(self, name: str) -> float:
        """Return how many events a second had an outcome lately."""
        now = time.monotonic()
        recent = [added.get(name, 0) for when, added in list(self._recent) if when >= now - RATE_SECONDS]
        return sum(recent) / min(RATE_SECONDS, max(1.0, now - self.started))

    def _put(self, chunk: _Chunk, *, waits: bool) -> None:
        n = len(chunk.arrivals)
        with self._room:
            while True:
                if self._stopping.is_set():
                    raise Stopped("the worker stops")
                # Sources leave half of the room to clients.
                most = self.settings.max_queue // 2 if waits else self.settings.max_queue
                if self.n_queued == 0 or self.n_queued + n <= most:
                    break
                if not waits:
                    raise QueueFull(f"{self.n_queued:,} events wait already; send these again later")
                self._room.wait(0.2)
            self.n_queued += n
            self._queue.put(chunk)  # within the lock: `stop` may not come between

    def _run(self) -> None:
        chunks: list[_Chunk] = []
        try:
            while chunks := self._next_chunks():
                if chunks[0].action is not None:
                    self._act(chunks[0])
                else:
                    self._take_chunks(chunks)
            with self.store.transaction() as cursor:
                self.registry.snapshot(cursor)
        except Exception as error:  # this is a thread: `stop` raises it again
            self.failure = error
            log.exception("the worker has failed")
            self.on_failure(error)
            with self._room:
                self._stopping.set()
                self._room.notify_all()
            self._fail_rest(error, chunks)

    def _next_chunks(self) -> list[_Chunk]:
        """Return the chunks of the next transaction, or one action; none if the worker stops and nothing is left."""
        chunks: list[_Chunk] = []
        n = 0
        while n < self.settings.max_batch:
            chunk = self._next_chunk(waits=not chunks)
            if chunk is None:
                break
            if chunk.action is not None and chunks:
                self._put_back = chunk
                break
            chunks.append(chunk)
            n += len(chunk.arrivals)
            if chunk.action is not None:
                break
        with self._room:
            self.n_queued -= n
            self._room.notify_all()
        return chunks

    def _next_chunk(self, *, waits: bool) -> _Chunk | None:
        if self._put_back is not None:
            chunk, self._put_back = self._put_back, None
            return chunk
        while True:
            try:
                return self._queue.get(timeout=0.1) if waits else self._queue.get_nowait()
            except queue.Empty:
                if not waits or self._stopping.is_set():
                    return None

    def _take_chunks(self, chunks: list[_Chunk]) -> None:
        """Take events, those of sources again and again until the store can be written."""
        pause = 0.1
        while chunks:
            try:
                self._take(chunks)
                return
            except StoreError as error:
                for chunk in chunks:
                    chunk.fail(error)
                chunks = [chunk for chunk in chunks if chunk.future is None]
                log.error("%s; trying again in %.1f s", error, pause)
                if self._stopping.wait(pause):
                    raise
                pause = min(2.0 * pause, LONGEST_PAUSE)
                self._recover_at_last(error)

    def _recover_at_last(self, error: StoreError) -> None:
        """Bring models and ids to the state of the last commit, however long that cannot be read."""
        pause = 0.1
        while True:
            try:
                self._recover()
                return
            except StoreError:
                if self._stopping.wait(pause):
                    raise error from None
                pause = min(2.0 * pause, LONGEST_PAUSE)

    def _take(self, chunks: list[_Chunk]) -> None:
        """Take events in one transaction, and tell those who wait for their outcome.

        If a model raises what no model should raise, the events are taken one by one, and those put aside with which it
        does.
        """
        arrivals = [arrival for chunk in chunks for arrival in chunk.arrivals]
        outcomes = self._joined(arrivals)
        if outcomes is None:
            self._recover()
            for chunk in chunks:
                while chunk.arrivals:
                    self._take_one(chunk)
        else:
            self._commit(arrivals)
            for chunk in chunks:
                n = len(chunk.arrivals)
                chunk.outcomes, outcomes, chunk.arrivals = outcomes[:n], outcomes[n:], ()
        for chunk in chunks:
            chunk.tell_outcomes()

    def _take_one(self, chunk: _Chunk) -> None:
        """Take the first event of a chunk, or put it aside."""
        arrival = chunk.arrivals[0]
        found = self._joined([arrival])
        if found is None:
            self._recover()
            self.joiner.note(arrival, self._reason)
            found = [Outcome.of(arrival.read(self.settings.bounds.limits), "refused", self._reason)]
        self._commit([arrival])
        chunk.outcomes += found
        chunk.arrivals = chunk.arrivals[1:]

    def _joined(self, arrivals: Sequence[Arrival]) -> list[Outcome] | None:
        """Let the models take events; `None` if one of them raised what no model should raise."""
        try:
            return self.joiner.take(arrivals)
        except StoreError:
            raise
        except Exception as error:  # whatever a model raises: which event it was is found one by one
            if len(arrivals) > 1:
                log.exception("a batch of events failed; they are taken one by one")
            self._reason = f"the model failed: {type(error).__name__}: {error}"
            return None

    def _commit(self, arrivals: Sequence[Arrival]) -> None:
        """Write what follows from the last batch, all at once."""
        positions: dict[str, tuple[Any, int]] = {}
        for arrival in arrivals:
            if arrival.position is not None:
                n = positions.get(arrival.source, (None, 0))[1]
                positions[arrival.source] = (arrival.position, n + 1)
        with self.store.transaction() as cursor:
            added = self.joiner.write(cursor)
            for source, (position, n) in positions.items():
                write_position(cursor, source, position, n)
            self.registry.write(cursor)
            n_dropped = bound_outbox(cursor, self.settings.bounds.max_unsent)
            if n_dropped:
                added["messages dropped"] = n_dropped
                add_counts(cursor, {"messages dropped": n_dropped})
        self.registry.written()
        self._tell_dropped(n_dropped)
        for name, n in added.items():
            self.counts[name] = self.counts.get(name, 0) + n
        now = time.monotonic()
        self._recent.append((now, added))
        while self._recent[0][0] < now - RATE_SECONDS:
            self._recent.popleft()

    def _tell_dropped(self, n: int) -> None:
        """Warn of messages that were dropped, once an hour: their receiver has been away for too long."""
        if n and time.monotonic() > self._warn_from:
            self._warn_from = time.monotonic() + WARN_EVERY
            log.warning(
                "%s messages wait for their receiver, as many as allowed; the oldest are dropped, and counted",
                f"{self.settings.bounds.max_unsent:,}",
            )

    def _act(self, chunk: _Chunk) -> None:
        assert chunk.action is not None
        try:
            result = chunk.action()
        except (StoreError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, StoreError):
                self._recover_at_last(error)
            chunk.fail(error)
        else:
            chunk.tell(result)

    def _fail_rest(self, error: Exception, taken: Sequence[_Chunk] = ()) -> None:
        """Tell those who wait that their events were not taken."""
        rest = [*taken] if self._put_back is None else [*taken, self._put_back]
        self._put_back = None
        while True:
            try:
                rest.append(self._queue.get_nowait())
            except queue.Empty:
                break
        for chunk in rest:
            chunk.fail(error)


def _nothing(error: Exception) -> None:
    """Nobody asked to be told of a failure."""
