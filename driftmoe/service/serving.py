"""A worker with all that belongs to it: sources that feed it, a receiver of its messages, and clients over HTTP."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from driftmoe.service.outbox import Sender, open_sink
from driftmoe.service.registry import Settings
from driftmoe.service.sources import Pump, open_source
from driftmoe.service.store import Store
from driftmoe.service.worker import Worker

log = logging.getLogger(__name__)

N_OBJECTS = 10_000
"""Objects that are made between two looks for garbage. An event makes ten, which are kept until its commit."""


class Service:
    """A worker, its sources and its receiver. A context manager: it starts them, and stops them in order.

    Parameters
    ----------
    folder
        Folder of the store.
    settings
        How the worker works.
    sources
        Addresses of sources; see `driftmoe.service.sources.open_source`.
    sink
        Address of the receiver of predictions and alarms; see `driftmoe.service.outbox.open_sink`.
    follows
        Whether sources wait for more at their end.
    ended
        Called when a source fails, or when the last one has ended.

    Raises
    ------
    StoreError
        If the store cannot be used.
    SourceError
        If a source cannot be read on without losing events.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        sources: Sequence[str] = (),
        sink: str | None = None,
        follows: bool = True,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        opened = [open_source(url, follows=follows) for url in sources]
        names = [source.name for source in opened]
        if len(set(names)) < len(names):
            raise ValueError(
                f"{max(names, key=names.count)} is given twice; its events would be learnt twice"
            )
        receiver = None if sink is None else open_sink(sink)
        self.worker = Worker(Store(folder), settings)
        self.worker.on_failure = self._source_ended
        n_at_once = min(500, settings.max_batch)
        self._pumps = [Pump(source, self.worker, self._source_ended, n_at_once) for source in opened]
        self._started: list[Pump] = []
        self._sender = None if receiver is None else Sender(receiver, self.worker)
        self._ended, self._n_left = ended, len(opened)
        self._counting = threading.Lock()
        self.done = threading.Event()
        self.failure: BaseException | None = None

    def prepare(self) -> None:
        """Make the process ready for events, before anybody waits for it.

        What the model needs is compiled, which takes up to a minute once on a machine. What is loaded stays to the end
        of the process: the garbage collector no longer goes through it, which took it a fifth of a second every 15,000
        events, and looks for garbage about once in a large batch of events.
        """
        model = self.worker.registry.new_model()
        samples: list[dict[str, Any]] = [{"number": 1.0, "text": "a"}, {"number": 2.0, "text": "b"}]
        for x, y in zip(samples, ("a", "b"), strict=True):
            model.predict_proba_one(x)
            model.learn_one(x, y)
        calls: dict[str, tuple[Any, ...]] = {
            "run_rows": (samples, ["a", "b"]),
            "predict_proba_rows": (samples,),
            "explain_one": (samples[0],),
            "set_threshold": (),
        }
        for name, arguments in calls.items():
            if hasattr(model, name):
                getattr(model, name)(*arguments)
        gc.freeze()
        gc.set_threshold(N_OBJECTS)

    def __enter__(self) -> Self:
        """Start the worker, then what feeds it."""
        with ExitStack() as undone:
            undone.callback(self.stop)
            self.worker.start()
            if self._sender is not None:
                self._sender.start()
            for pump in self._pumps:
                pump.start()
                self._started.append(pump)
            undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what feeds the worker, then the worker."""
        self.stop()

    def stop(self) -> None:
        """Stop: what was handed over is committed, and all models are written."""
        for pump in self._started:
            pump.stop()
        if self._sender is not None:
            self.worker.settle()  # so that the sender finds all messages
            self._sender.stop()
        self.worker.stop()

    def _source_ended(self, failure: BaseException | None) -> None:
        with self._counting:
            self._n_left -= 1
            if failure is not None and self.failure is None:
                self.failure = failure
            is_over = failure is not None or self._n_left == 0
        if failure is not None:
            log.error("%s", failure)
        if is_over:
            self.done.set()
            self._ended()
