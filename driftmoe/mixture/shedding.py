"""A pool that is as large as it must be: experts that the gate hardly trusts for long sleep until they are needed.

The mixture's accuracy hardly depends on the number of trees where other experts carry it. So a pool starts with all of
them, and sheds only what the gate has shown it does not need. Sleeping trees neither vote nor learn; they stay as they
are, with their monitors, so that after waking each monitor compares the tree's error with that from before its sleep.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from driftmoe.arithmetic import exp, log
from driftmoe.compilation import compiled
from driftmoe.mixture.routing_figures import VOTED, WEIGHT
from driftmoe.state import State, array_of, check_names, count_of, misfit
from driftmoe.transaction import Changes, is_ready, planned

if TYPE_CHECKING:
    from driftmoe.experts import Experts
    from driftmoe.mixture.telemetry import RoutingLog

FADING = 0.999
"""Decay factor per sample of the average gate weights by which experts are shed: about the last 1000 samples."""

LEAST = 0.5
"""Experts are shed below this share of the weight that they would have if all experts counted the same."""

START = 4.0
"""The averages start at this multiple of the weight below which experts are shed, and start anew when all are woken.

So nothing is shed in the first 1400 samples of a model or after an alarm, and later if the experts have some weight."""

N_SEEN, N_ALARMS = range(2)


class Shedding:
    """Which experts of an adaptive mixture are awake.

    While the average gate weight of all main experts together is below a bound, those with the largest weights stay
    awake and the others sleep. All are woken when the average exceeds the bound, or the mixture's drift detector gives
    a warning or an alarm. Extra experts for which `may_rest` holds are judged one by one by the same rule.

    It decides at the end of the router's mini-batches.

    Parameters
    ----------
    groups
        The main experts, then the extra experts by kind.
    n_others
        Number of experts after these.
    min_awake
        Fewest main experts that stay awake. 0 keeps all awake.

    Attributes
    ----------
    is_on
        Whether any expert may ever sleep or rest.
    is_awake
        Main experts that vote and learn, bool, shape (n_main,).
    is_resting
        Extra experts that are asked and taught only now and then, bool, shape (n_extras,).
    are_resting
        Kinds of extra experts of which all rest, bool, shape (n_kinds,).
    n_comparable
        Number of main experts if their mean error can be compared over time: 0 while some of them sleep; shape (1,).

    Notes
    -----
    Whoever plans a step holds these arrays; a decision writes into them.
    """

    def __init__(self, groups: Sequence[Experts], n_others: int, min_awake: int) -> None:
        n_main, extras = groups[0].n_experts, groups[1:]
        may_rest = [extra.may_rest for extra in extras for _ in range(extra.n_experts)] + [False] * n_others
        starts = np.cumsum([0, *(extra.n_experts for extra in extras)]).tolist()
        self._kinds = [slice(first, last) for first, last in pairwise(starts)]
        self.is_on, self._min_awake = min_awake > 0, min(min_awake or n_main, n_main)
        self._may_rest = np.array(may_rest, np.bool_)
        self._least = LEAST / (n_main + len(may_rest))  # for each expert
        self._trust = np.full(n_main + len(may_rest), START * self._least)
        self._sums = np.zeros((2, len(self._trust)))  # weights and votes so far
        self._counts = np.zeros(2, np.int64)
        self.is_awake, self.is_resting = np.ones(n_main, np.bool_), np.zeros(len(may_rest), np.bool_)
        self.are_resting, self.n_comparable = np.zeros(len(extras), np.bool_), np.zeros(1, np.int64)
        self._sum_up()

    @property
    def asked(self) -> np.ndarray | None:
        """Main experts that vote, a view of `is_awake` of shape (1, n_main); `None` if all always do."""
        return self.is_awake[np.newaxis] if self.is_on else None

    def plan(self, log: RoutingLog, changes: Changes) -> None:
        """Plan to decide who is awake from now on, by what the log holds after the changes before this one."""
        if self.is_on:
            if not is_ready(shed):
                planned(shed, *self._arguments(log))
            changes.append(partial(self._decide, log))

    def state(self) -> State:
        """Return who is awake, and what is known of the experts; see `driftmoe.state`."""
        return {
            "is_awake": self.is_awake.copy(),
            "is_resting": self.is_resting.copy(),
            "trust": self._trust.copy(),
            "sums": self._sums.copy(),
            "n_seen": int(self._counts[N_SEEN]),
            "n_alarms": int(self._counts[N_ALARMS]),
        }

    def restore(self, state: State) -> None:
        """Restore the state of a shedding that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("is_awake", "is_resting", "trust", "sums", "n_seen", "n_alarms"), self)
        is_awake = array_of(state, "is_awake", np.bool_, self.is_awake.shape, self)
        is_resting = array_of(state, "is_resting", np.bool_, self.is_resting.shape, self)
        trust = array_of(state, "trust", np.float64, self._trust.shape, self)
        sums = array_of(state, "sums", np.float64, self._sums.shape, self)
        n_seen, n_alarms = (count_of(state, name, self) for name in ("n_seen", "n_alarms"))
        if np.count_nonzero(is_awake) < self._min_awake:
            came = f"has {np.count_nonzero(is_awake)} experts awake"
            raise misfit(self, "is_awake", came, f"there must be {self._min_awake} or more")
        if (is_resting & ~self._may_rest).any():
            raise misfit(
                self, "is_resting", "names an expert that always learns", "only costly ones may rest"
            )
        self.is_awake, self.is_resting, self._trust, self._sums = is_awake, is_resting, trust, sums
        self._counts = np.array([n_seen, n_alarms])
        self.are_resting, self.n_comparable = self.are_resting.copy(), self.n_comparable.copy()
        self._sum_up()

    def _decide(self, log: RoutingLog) -> None:
        shed(*self._arguments(log))
        self._sum_up()

    def _sum_up(self) -> None:
        """Write what follows from who is awake and who rests."""
        self.are_resting[:] = [self.is_resting[of_kind].all() for of_kind in self._kinds]
        self.n_comparable[0] = len(self.is_awake) if self.is_awake.all() else 0

    def _arguments(self, log: RoutingLog) -> tuple[Any, ...]:
        return (
            log.n_samples, log.expert_sums, log.watch.alarms, self._may_rest, self._least, START * self._least,
            self._min_awake,
            self._counts, self._sums, self._trust, self.is_awake, self.is_resting,
        )  # fmt: skip


@compiled()
def shed(  # type: ignore[no-untyped-def]
    n_samples, expert_sums, alarms, may_rest, least, start, min_awake, counts, sums, trust, is_awake, is_resting,
):  # fmt: skip
    """Follow the gate weights, and decide which main experts are awake and which extra experts rest.

    Parameters
    ----------
    n_samples
        Number of samples learnt so far. Nothing is done if there is no new one.
    expert_sums
        Sums of the log, of which the weights and votes of each expert count, shape (4, n_experts).
    alarms
        Numbers of warnings and alarms of the mixture's drift detector so far, shape (2,).
    may_rest
        Which extra experts may rest, bool, shape (n_extras,).
    least
        Weight of one expert below which it is not needed; of n main experts together it is n times this.
    start
        Average weight with which an expert begins anew.
    min_awake
        Main experts that stay awake.
    counts
        Number of samples and alarms at the last call; updated.
    sums
        Weights and votes of each expert at the last call, shape (2, n_experts); updated.
    trust
        Average gate weights, over all samples for main experts, and over those with a vote for extra experts; updated.
    is_awake, is_resting
        Result, bool, shape (n_main,) and (n_extras,).
    """
    n_new = n_samples - counts[N_SEEN]
    if n_new == 0:
        return
    n_main, n_experts = is_awake.shape[0], trust.shape[0]
    together, n_awake = 0.0, 0
    for e in range(n_experts):
        weight, n_voted = expert_sums[WEIGHT, e] - sums[0, e], expert_sums[VOTED, e] - sums[1, e]
        sums[0, e], sums[1, e] = expert_sums[WEIGHT, e], expert_sums[VOTED, e]
        n = np.float64(n_new) if e < n_main else n_voted
        if n > 0.0:
            fading = exp(n * log(FADING))
            trust[e] = fading * trust[e] + (1.0 - fading) * weight / n
        if e < n_main:
            together += trust[e]
            n_awake += is_awake[e]
    n_alarms = alarms[0] + alarms[1]
    is_alarmed = n_alarms != counts[N_ALARMS]
    counts[N_SEEN], counts[N_ALARMS] = n_samples, n_alarms
    for e in range(n_main, n_experts):
        if is_alarmed:
            trust[e] = start
        is_resting[e - n_main] = may_rest[e - n_main] and trust[e] < least
    if is_alarmed or (n_awake < n_main and together > n_main * least):
        for e in range(n_main):
            is_awake[e], trust[e] = True, start
    elif n_awake == n_main and together < n_main * least:
        for e in range(n_main):
            n_better = 0
            for other in range(n_main):
                n_better += trust[other] > trust[e] or (trust[other] == trust[e] and other < e)
            is_awake[e] = n_better < min_awake
            trust[e] = trust[e] if is_awake[e] else 0.0
