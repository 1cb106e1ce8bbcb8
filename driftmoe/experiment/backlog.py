"""The runs of a grid that are still to be done, shared with other commands that work in the same folder."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from driftmoe.experiment.folder import Claim
from driftmoe.experiment.run import Run


@dataclass(frozen=True)
class Event:
    """What happened to one run of a grid.

    Attributes
    ----------
    run
        The run.
    state
        `"kept"` (it has an earlier result, or one from another command), `"waiting"` (another command is doing it),
        `"started"`, `"moved"` (it has made progress), `"done"` or `"failed"`.
    share
        The share of the run that is done, from 0 to 1; 0 if it is unknown.
    result
        The result line, if there is one.
    error
        The file of the traceback, if the run failed.
    """

    run: Run
    state: Literal["kept", "waiting", "started", "moved", "done", "failed"]
    share: float = 0.0
    result: Mapping[str, Any] | None = None
    error: Path | None = None


class Shared(Protocol):
    """A folder in which several commands keep results."""

    def claim(self, run: Run) -> Claim:
        """Return the claim of a run, not taken yet."""

    def result(self, run: Run) -> Mapping[str, Any] | None:
        """Return the result line of a run that is done, else `None`."""


class Backlog:
    """Runs that are still to be done. Each is handed out with its claim held, so that no other command does it, too.

    A run that another command is doing is postponed. It counts as done once that command has written its result, and is
    handed out if that command gives it up.

    Parameters
    ----------
    runs
        The runs, in the order in which they are handed out.
    folder
        The folder of the results and claims.
    """

    def __init__(self, runs: Iterable[Run], folder: Shared) -> None:
        self._left = deque(dict.fromkeys(runs))
        self._folder = folder
        self._claims: dict[Run, Claim] = {}
        self._taken: set[Run] = set()
        self._elsewhere: set[Run] = set()

    def __bool__(self) -> bool:
        return bool(self._left)

    def next(self, *, is_patient: bool) -> Generator[Event, None, Run | None]:
        """Yield events of runs that other commands do, and return the next run to be done here.

        Return `None` if no run is left. If other commands are doing all remaining runs, wait for them if `is_patient`,
        else also return `None`.
        """
        while self._left:
            for _ in range(len(self._left)):
                run = self._left.popleft()
                if run not in self._claims:
                    self._claims[run] = self._folder.claim(run)
                if not self._claims[run].take():
                    self._left.append(run)
                    if run not in self._elsewhere:
                        self._elsewhere.add(run)
                        yield Event(run, "waiting")
                    continue
                self._taken.add(run)
                result = self._folder.result(run)
                if result is None:
                    return run
                self.done(run)
                yield Event(run, "kept", 1.0, result)
            if not is_patient:
                break
            time.sleep(GLANCE)
        return None

    def offers(self) -> Iterator[Event | Run]:
        """Yield the runs to be done here, one by one, and events of runs that other commands do."""
        while run := (yield from self.next(is_patient=True)):
            yield run

    def done(self, run: Run, *, is_kept: bool = True) -> None:
        """Release the claim of a run that has ended. `is_kept` says whether its result is in the folder."""
        self._taken.discard(run)
        self._claims.pop(run).give_up(is_done=is_kept)

    def give_up(self) -> None:
        """Release all claims."""
        for run in list(self._taken):
            self.done(run, is_kept=False)


GLANCE = 0.5
"""Seconds between two checks of the claims of other commands."""
