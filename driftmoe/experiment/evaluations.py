"""Runs that are done one by one in this process, for `driftmoe evaluate`."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from driftmoe.experiment.backlog import Backlog, Event
from driftmoe.experiment.checkpoints import CheckpointFolder
from driftmoe.experiment.folder import ResultFolder
from driftmoe.experiment.run import Attempt, Run


class Evaluations:
    """Runs that are done one by one. Each result is kept in the folder, even if the run is interrupted or fails.

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

    Attributes
    ----------
    results
        Result lines so far, including those of interrupted and failed runs.
    failures
        A sentence for each run that failed.

    Examples
    --------
    `for offer in evaluations.attempts()` yields each run as an `Attempt`, which is then done within
    `with evaluations.keeping(attempt)`.
    """

    def __init__(
        self,
        runs: Iterable[Run],
        streams: Mapping[int, Any],
        folder: ResultFolder,
        checkpoints: CheckpointFolder | None = None,
    ) -> None:
        self.results: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._runs = list(runs)
        self._streams, self._folder, self._checkpoints = streams, folder, checkpoints
        self._backlog = Backlog(self._runs, folder)

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
        if self._checkpoints and not self.failures and all(line["complete"] for line in self.results):
            for run in self._runs:
                self._checkpoints.drop(run)

    def _begun(self, run: Run) -> Attempt | None:
        """Return a run to be done here, or `None` if its checkpoint cannot be read, which is recorded as a failure."""
        try:
            return Attempt(run, self._streams[run.seed], self._checkpoints)
        except ValueError as error:
            self.failures.append(f"{run.model} was not run: {error}")
            self._backlog.done(run, is_kept=False)
            return None

    @contextmanager
    def keeping(self, attempt: Attempt) -> Iterator[None]:
        """Keep the attempt's figures when the block ends. An error of stream or model is recorded as a failure."""
        run, is_complete = attempt.run, False
        try:
            yield
            attempt.keep()
            is_complete = True
            attempt.weigh_features()
        except Exception as error:  # models and streams may raise errors of any class
            n_samples = attempt.last.n_samples if attempt.last else 0
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            file = self._folder.keep_traceback(traceback.format_exc())
            what = "has no importances of features" if is_complete else f"stopped after {n_samples:,} samples"
            self.failures.append(f"{run.model} {what}: {reason} (traceback: {file})")
        finally:
            if attempt.last is not None and attempt.last.n_counted:
                result = attempt.result(is_complete=is_complete)
                self._folder.add(result, attempt.curve)
                self.results.append(result)
            if is_complete and self._checkpoints and self._checkpoints.every is None:
                self._checkpoints.drop(run)
            self._backlog.done(run, is_kept=is_complete)
