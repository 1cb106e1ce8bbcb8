"""The runs of `driftmoe evaluate`, one by one in this process or several at a time in processes of their own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from driftmoe.evaluation import Checkpoint
from driftmoe.experiment.backlog import Backlog, Event
from driftmoe.experiment.checkpoints import CheckpointFolder
from driftmoe.experiment.executors import Processes
from driftmoe.experiment.folder import ResultFolder
from driftmoe.experiment.lines import run_key
from driftmoe.experiment.planning import OpenStream
from driftmoe.experiment.run import Attempt, Run, check_fingerprint

GRACE = 10.0
"""Seconds in which a process must end a run that was interrupted, with the figures so far."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    result, curve
        The result line, `None` if nothing was measured, and the points of the windows.
    failure, traceback
        A sentence about the error that ended the run, and its traceback; empty if there was none.
    is_complete
        Whether the run reached the end of the stream.
    """

    result: dict[str, Any] | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""
    traceback: str = ""
    is_complete: bool = False


class Evaluations:
    """Runs, one by one or several at a time. Each result is kept, even if the run is interrupted or fails.

    Parameters
    ----------
    runs
        The runs, in the order in which they are done.
    streams
        The stream of each seed.
    folder
        The folder of the results. A run that another command is doing in the same folder is left to that command,
        unless it gives up.
    checkpoints
        Where runs are kept while they go on. A run that was stopped before goes on from there. Checkpoints stay until
        all runs are complete, so that those which are need not be done again. If runs are not kept (`every` is `None`),
        the checkpoint that an earlier command has left is deleted once its run is complete.
    earlier
        Complete result lines of earlier commands. Their runs are not done again, and count as results.

    Attributes
    ----------
    streams
        The stream of each seed.
    results
        Result lines so far, including those of interrupted and failed runs, and the earlier ones.
    failures
        A sentence for each run that failed.

    Examples
    --------
    `for offer in evaluations.attempts()` yields each run as an `Attempt`, which is then done within
    `with evaluations.keeping(attempt)`. `evaluations.at_once(n_workers, open_stream)` does the runs by itself.
    """

    def __init__(
        self,
        runs: Iterable[Run],
        streams: Mapping[int, Any],
        folder: ResultFolder,
        checkpoints: CheckpointFolder | None = None,
        earlier: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.results: list[dict[str, Any]] = [dict(line) for line in earlier]
        self.failures: list[str] = []
        self._runs = list(runs)
        self.streams, self._folder, self._checkpoints = streams, folder, checkpoints
        done = set(map(run_key, self.results))
        self._backlog = Backlog((run for run in self._runs if run_key(vars(run)) not in done), folder)

    def attempts(self) -> Iterator[Event | Attempt]:
        """Yield the runs to be done here, and events of runs that other commands do. Their results are added, too."""
        for offer in self._backlog.offers():
            if isinstance(offer, Run):
                attempt = self._begun(offer)
                if attempt is not None:
                    yield attempt
                continue
            if offer.result is not None:
                self.results.append(dict(offer.result))
            yield offer
        self._drop_checkpoints()

    def at_once(
        self, n_workers: int, open_stream: OpenStream
    ) -> Generator[Event | tuple[Run, int | Checkpoint | Outcome], None, None]:
        """Do the runs in new processes of this machine, several at a time. The results are those of one by one.

        If it is closed before all runs are done, those that are going on are interrupted, and their figures kept.

        Parameters
        ----------
        n_workers
            Number of processes.
        open_stream
            Opens the stream of a run; called in the process that does the run.

        Yields
        ------
        news
            Events of runs that other commands do. Of a run done here the number of samples that were evaluated before
            it was stopped, as it begins; its checkpoints; and how it ended.
        """
        added: list[Run] = []
        work = partial(evaluated, open_stream, self._checkpoints, is_alone=n_workers == 1)
        with Processes(work, n_workers) as processes:
            try:
                for happening in processes.happenings(self._backlog):
                    if isinstance(happening, Event):
                        if happening.result is not None:
                            self.results.append(dict(happening.result))
                        yield happening
                        continue
                    run, news = happening
                    if isinstance(news, str):
                        news = Outcome(failure=f"{run.model}, seed {run.seed}: {news}")
                    if isinstance(news, Outcome):
                        self._take(run, news)
                        added.append(run)
                    if news is not None:
                        yield run, news
                self._drop_checkpoints()
            finally:
                for run, news in processes.stopped(GRACE):
                    if isinstance(news, Outcome):
                        self._take(run, news)
                        added.append(run)
                self._backlog.give_up()
                self._folder.arrange([run_key(vars(run)) for run in self._runs if run in added])

    def in_order(self) -> list[dict[str, Any]]:
        """Return the result lines so far, in the order of the runs."""
        places = {run_key(vars(run)): place for place, run in enumerate(self._runs)}
        return sorted(self.results, key=lambda line: places[run_key(line)])

    def _drop_checkpoints(self) -> None:
        """Delete the checkpoints of all runs, once all are complete."""
        if self._checkpoints and not self.failures and all(line["complete"] for line in self.results):
            for run in self._runs:
                self._checkpoints.drop(run)

    def _begun(self, run: Run) -> Attempt | None:
        """Return a run to be done here, or `None` if its checkpoint cannot be read, which is recorded as a failure."""
        try:
            return Attempt(run, self.streams[run.seed], self._checkpoints)
        except ValueError as error:
            self.failures.append(f"{run.model} was not run: {error}")
            self._backlog.done(run, is_kept=False)
            return None

    @contextmanager
    def keeping(self, attempt: Attempt) -> Iterator[None]:
        """Keep the attempt's figures when the block ends. An error of stream or model is recorded as a failure."""
        with concluding(attempt, partial(self._take, attempt.run)):
            yield

    def _take(self, run: Run, outcome: Outcome) -> None:
        """Keep how a run ended."""
        if outcome.failure:
            where = ""
            if outcome.traceback:
                where = f" (traceback: {self._folder.keep_traceback(outcome.traceback)})"
            self.failures.append(outcome.failure + where)
        if outcome.result is not None:
            self._folder.add(outcome.result, outcome.curve)
            self.results.append(outcome.result)
        if outcome.is_complete and self._checkpoints and self._checkpoints.every is None:
            self._checkpoints.drop(run)
        self._backlog.done(run, is_kept=outcome.is_complete)


@contextmanager
def concluding(attempt: Attempt, take: Callable[[Outcome], None]) -> Iterator[None]:
    """Hand over how an attempt ended, when the block ends. An error of stream or model becomes a part of it."""
    run, failure, trace, is_complete = attempt.run, "", "", False
    try:
        yield
        attempt.keep()
        is_complete = True
        attempt.weigh_features()
    except Exception as error:  # models and streams may raise errors of any class
        n_samples = attempt.last.n_samples if attempt.last else 0
        what = "has no importances of features" if is_complete else f"stopped after {n_samples:,} samples"
        failure = f"{run.model} {what}: {type(error).__name__}: {' '.join(str(error).split())}"
        trace = traceback.format_exc()
    finally:
        is_measured = attempt.last is not None and attempt.last.n_counted > 0
        result = attempt.result(is_complete=is_complete) if is_measured else None
        take(Outcome(result, attempt.curve, failure, trace, is_complete))


def evaluated(
    open_stream: OpenStream, checkpoints: CheckpointFolder | None, run: Run, *, is_alone: bool
) -> Iterator[int | Checkpoint | Outcome]:
    """Do a run in a process of its own; yield news as `Evaluations.at_once` does. KeyboardInterrupt ends the run."""
    try:
        stream = open_stream(name=run.stream, limit=run.limit, seed=run.seed)
        check_fingerprint(run, stream)
        attempt = Attempt(run, stream, checkpoints, is_alone=is_alone)
    except (OSError, ValueError) as error:
        yield Outcome(failure=f"{run.model} was not run: {error}")
        return
    outcomes: list[Outcome] = []
    with suppress(KeyboardInterrupt), concluding(attempt, outcomes.append):
        yield attempt.n_before
        attempt.compile()
        for checkpoint in attempt.checkpoints():
            yield replace(checkpoint, predictions=(), routing=None)  # the rest is for this process
    yield from outcomes
