"""Routing statistics: experts used, certainty of the router, accuracy of each expert, missed answers.

A `RoutingLog` updates a few sums for each learnt sample, and a `RoutingReport` gives the figures computed from them.
The difference of two sums covers the samples between them. So two reports can be subtracted, and the log keeps the sums
at the last router steps to report on the most recent samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from driftmoe.arithmetic import exp, first_of_largest, log
from driftmoe.compilation import compiled, part
from driftmoe.mixture.routing_figures import (
    CHOSEN,
    ENTROPY,
    EXPERT_SUMS,
    MISSED,
    NULL,
    RIGHT,
    SUMS,
    VOTED,
    WAS_RIGHT,
    WEIGHT,
    RoutingFigures,
    RoutingReport,
)
from driftmoe.mixture.watch import FEW, MOST, NO_VOTE, SAID_RIGHT, SAID_WRONG, Watch
from driftmoe.routing import Choice
from driftmoe.state import (
    LARGEST,
    State,
    array_of,
    check_array,
    check_finite,
    check_names,
    count_of,
    misfit,
    restored,
    value_of,
)
from driftmoe.transaction import Changes, StepPlan, assignment, carry_out, planned

NOBODY = np.zeros(1, np.int64)
"""Number of experts that the drift detector watches where it watches the mixture alone."""

WINDOW = 1000
"""Number of samples in a report's `window`, rounded up to whole mini-batches of the router."""


class RoutingLog:
    """Sums over the samples learnt so far, and those at the last router steps.

    Parameters
    ----------
    reads_logits
        Whether entropy is computed from logits of "expert i is right"; otherwise it is computed from the weights.
    is_one_vs_rest
        Whether each expert gives only the probability of its own class.

    Attributes
    ----------
    watch
        The drift detector, and the events that were noticed.
    """

    def __init__(self, *, reads_logits: bool, is_one_vs_rest: bool) -> None:
        self._reads_logits, self._is_one_vs_rest = reads_logits, is_one_vs_rest
        self.watch = Watch()
        self._seen = np.zeros(2, np.int64)  # samples, classes
        self._sums = np.zeros(4)
        self._expert_sums = np.zeros((4, 0))
        self._router_steps: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        self._most, self._keeps_steps = MOST, True

    def keep_little(self) -> None:
        """Keep, from the start, only the last events and no sums at steps of the router."""
        self._most, self._keeps_steps = FEW, False
        self.watch = Watch(FEW)

    @property
    def n_samples(self) -> int:
        """Number of samples so far."""
        return int(self._seen[0])

    @property
    def n_classes(self) -> int:
        """Number of classes so far."""
        return int(self._seen[1])

    def start_with(self, n_classes: int) -> None:
        """Count classes that are known before the first sample, which is then not the first of its class."""
        self._seen[1] = n_classes

    @property
    def expert_sums(self) -> np.ndarray:
        """The sums of each expert, by `CHOSEN`, `WEIGHT`, `VOTED` and `WAS_RIGHT`, shape (4, n_experts)."""
        return self._expert_sums

    def add(
        self,
        choice: Choice,
        logits: np.ndarray | None,
        expert_proba: np.ndarray,
        proba: np.ndarray,
        targets: np.ndarray,
    ) -> None:
        """Add samples; see `plan`."""
        changes: Changes = []
        self.plan(choice, logits, expert_proba, proba, targets, changes=changes)
        carry_out(changes)

    def plan(
        self,
        choice: Choice,
        logits: np.ndarray | None,
        expert_proba: np.ndarray,
        proba: np.ndarray,
        targets: np.ndarray,
        *,
        n_features: int = 0,
        replaced: np.ndarray | None = None,
        n_watched: np.ndarray = NOBODY,
        changes: Changes,
    ) -> None:
        """Plan to add samples.

        Parameters
        ----------
        choice
            Chosen experts, their weights, and the number of chosen null experts.
        logits
            Logits of the router, shape (n_rows, n_logits); `None` if entropy is computed from the weights.
        expert_proba
            Votes before learning, shape (n_rows, n_experts, n_classes); for one-vs-rest experts (n_rows, n_experts).
        proba
            The mixture's class probabilities, shape (n_rows, n_classes).
        targets
            Class indices, shape (n_rows,).
        n_features
            Number of features known with these samples.
        replaced
            Number of trees of each expert replaced after drift so far; `None` unless the router takes a step.
        n_watched
            Number of experts, from the first, whose mean error the drift detector watches beside that of the mixture,
            when the changes are carried out; shape (1,). They must learn every sample: where a router chooses what an
            expert learns, its error changes without a drift.
        changes
            The planned changes are added to this list. Earlier changes may write the arrays above.
        """
        expert_sums = self._expert_sums
        n_new = expert_proba.shape[1] - expert_sums.shape[1]
        if n_new > 0:
            expert_sums = np.pad(expert_sums, ((0, 0), (0, n_new)))
            changes.append(assignment(self, _expert_sums=expert_sums))
        said = np.empty((len(targets), expert_proba.shape[1] + 1), np.int8)
        changes.append(
            planned(
                tally, choice.weights if logits is None else logits, self._reads_logits, choice.weights, choice.mask,
                choice.n_null, expert_proba[:, :, np.newaxis] if self._is_one_vs_rest else expert_proba,
                self._is_one_vs_rest, proba, targets, self._seen, self._sums, expert_sums, said,
            )
        )  # fmt: skip
        self.watch.plan(said, n_watched, targets, n_features, self._seen, replaced, changes)
        if replaced is not None and self._keeps_steps:
            mark = partial(self._plan_mark, len(targets), (self._sums, expert_sums, replaced))
            if isinstance(changes, StepPlan):
                changes.planners.append(mark)
            else:
                mark(changes)

    def _plan_mark(
        self, n_rows: int, now: tuple[np.ndarray, np.ndarray, np.ndarray], changes: Changes
    ) -> None:
        """Plan to store the sums and the number of replaced trees at a step of the router, after some rows."""
        n_samples, kept = self.n_samples + n_rows, [np.empty_like(array) for array in now]
        for array, copy in zip(now, kept, strict=True):
            changes.append(partial(copy.__setitem__, ..., array))
        sums, of_each, replaced = kept
        steps = [*self._router_steps, (n_samples, sums, of_each, replaced)]
        n_old = sum(step[0] <= n_samples - WINDOW for step in steps[1:])
        changes.append(partial(self._router_steps.__setitem__, slice(None), steps[n_old:]))

    def sizes(self) -> dict[str, int]:
        """Return how many classes and experts the sums know, and how many features the events."""
        widths = [self._expert_sums.shape[1], *(step[2].shape[1] for step in self._router_steps)]
        of_watch = self.watch.sizes()
        return {
            "n_features": of_watch["n_features"],
            "n_classes": max(int(self._seen[1]), of_watch["n_classes"]),
            "n_experts": max(*widths, of_watch["n_experts"]),
        }

    def state(self) -> State:
        """Return the current sums, and those at the last steps of the router; see `driftmoe.state`."""
        n_samples, n_classes = self._seen.tolist()
        of_steps = {"router_steps": self._state_of_steps()} if self._keeps_steps else {}
        return {
            "n_samples": n_samples,
            "n_classes": n_classes,
            "sums": dict(zip(SUMS, self._sums.tolist(), strict=True)),
            "expert_sums": dict(zip(EXPERT_SUMS, self._expert_sums.copy(), strict=True)),
            **of_steps,
            "watch": self.watch.state(),
        }

    def _state_of_steps(self) -> State:
        """Return the sums at the last steps of the router, those of one step after the other."""
        steps = self._router_steps
        sums = np.array([sums for _, sums, _, _ in steps]).reshape(len(steps), len(SUMS))
        expert_sums = np.concatenate([np.zeros((len(EXPERT_SUMS), 0)), *(step[2] for step in steps)], 1)
        return {
            "n_samples": np.array([n for n, *_ in steps], np.int64),
            "n_experts": np.array([len(replaced) for *_, replaced in steps], np.int64),
            "n_replaced": np.concatenate([np.zeros(0, np.int64), *(replaced for *_, replaced in steps)]),
            "sums": dict(zip(SUMS, sums.T.copy(), strict=True)),
            "expert_sums": dict(zip(EXPERT_SUMS, expert_sums, strict=True)),
        }

    def restore(self, state: State) -> None:
        """Restore the state of a log that was built with the same arguments; see `driftmoe.state`.

        Without a `watch`, as in files of version 0.1, the drift detector starts anew.
        """
        names = ("n_samples", "n_classes", "sums", "expert_sums", *["router_steps"] * self._keeps_steps)
        check_names(state, names, self, optional=("watch",))
        seen = [count_of(state, name, self) for name in ("n_samples", "n_classes")]
        sums, owner = value_of(state, "sums", dict, self), "the sums of RoutingLog"
        check_names(sums, SUMS, owner)
        values = np.array([value_of(sums, name, float, owner) for name in SUMS])
        for name, value in zip(SUMS, values, strict=True):
            check_finite(value, name, owner)
        expert_sums = _rows(state, "expert_sums", EXPERT_SUMS, None, "RoutingLog")
        steps = []
        if self._keeps_steps:
            steps = self._steps_of(value_of(state, "router_steps", dict, self), seen[0])
        if "watch" in state:
            watch = restored(Watch(self._most), value_of(state, "watch", dict, self))
        elif seen[0] == 0:
            watch = Watch(self._most)
        else:
            watch = Watch.unaware(seen[1], expert_sums.shape[1], self._most)
        self.watch = watch
        self._seen, self._sums, self._expert_sums, self._router_steps = (
            np.array(seen), values, expert_sums, steps,
        )  # fmt: skip

    def _steps_of(self, state: State, n_seen: int) -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """Return the sums at steps of the router, from their state."""
        owner = "the router_steps of RoutingLog"
        check_names(state, ("n_samples", "n_experts", "n_replaced", "sums", "expert_sums"), owner)
        n_samples = array_of(state, "n_samples", np.int64, (None,), owner)
        n_experts = array_of(state, "n_experts", np.int64, n_samples.shape, owner)
        for name, counts, most in (("n_samples", n_samples, n_seen), ("n_experts", n_experts, LARGEST)):
            if ((counts < 0) | (counts > most)).any():
                raise misfit(owner, name, f"is {counts.tolist()}", f"it must be 0 to {most}")
        total = sum(n_experts.tolist())
        sums = _rows(state, "sums", SUMS, len(n_samples), owner).T.copy()
        expert_sums = _rows(state, "expert_sums", EXPERT_SUMS, total, owner)
        n_replaced = array_of(state, "n_replaced", np.int64, (total,), owner)
        ends = np.cumsum(n_experts)
        starts = ends - n_experts
        return [
            (int(n), of_step, expert_sums[:, start:end], n_replaced[start:end])
            for n, of_step, start, end in zip(n_samples, sums, starts, ends, strict=True)
        ]

    def report(self, experts: Sequence[str], replaced: np.ndarray) -> RoutingReport:
        """Return the figures so far. `experts` names all experts, including new ones that have not voted yet."""
        n_new = len(experts) - self._expert_sums.shape[1]
        expert_sums = np.pad(self._expert_sums, ((0, 0), (0, n_new)))
        names, are_rivals = tuple(experts), not self._is_one_vs_rest
        so_far = RoutingFigures(
            self.n_samples, names, self._sums.copy(), expert_sums, replaced.copy(), are_rivals
        )
        start = None
        for step in self._router_steps:
            if step[0] <= self.n_samples - WINDOW:
                start = step
        if start is None:
            return RoutingReport(so_far, so_far)
        n_samples, sums, expert_sums, replaced = start
        before = RoutingFigures(
            n_samples, names[: expert_sums.shape[1]], sums, expert_sums, replaced, are_rivals
        )
        return RoutingReport(so_far - before, so_far)


@part()
def entropy(p, n, terms):  # type: ignore[no-untyped-def]
    """Return the Shannon entropy of the first `n` probabilities divided by its maximum; 0 if n is 1.

    `terms` is work space for `n` numbers. They are computed in a loop of their own, which can be vectorised.
    """
    for i in range(n):
        plain = p[i] if p[i] > 0.0 else 1.0
        terms[i] = plain * log(plain)
    total = 0.0
    for i in range(n):
        total -= terms[i]
    return min(max(total, 0.0) / log(n), 1.0) if n > 1 else 0.0


@part()
def first_right_entropy(logits, p, terms):  # type: ignore[no-untyped-def]
    """Return the entropy of `routing.first_right` for a row of logits. `p` and `terms` are work space of its length."""
    n = 0
    for i in range(logits.shape[0]):
        if logits[i] > -np.inf:
            place = n
            while place > 0 and p[place - 1] < logits[i]:
                p[place] = p[place - 1]
                place -= 1
            p[place] = logits[i]
            n += 1
    for i in range(n):
        terms[i] = 1.0 / (1.0 + exp(-p[i]))
    nobody = 1.0
    for i in range(n):
        belief = terms[i]
        p[i] = nobody * belief
        nobody *= 1.0 - belief
    for i in range(n):
        p[i] += nobody / n
    return entropy(p, n, terms)


@compiled()
def tally(  # type: ignore[no-untyped-def]
    belief,
    reads_logits,
    weights,
    mask,
    n_null,
    expert_proba,
    is_one_vs_rest,
    proba,
    targets,
    seen,
    sums,
    expert_sums,
    said,
):
    """Add the figures of each row to the sums, row by row, so that the result does not depend on the size of blocks.

    Parameters
    ----------
    belief
        Logits or weights from which entropy is computed, shape (n_rows, any).
    reads_logits
        Whether `belief` holds logits.
    weights, mask
        Weights and chosen experts, shape (n_rows, n_experts).
    n_null
        Number of chosen null experts, shape (n_rows,); or shape (0,) if the policy has none.
    expert_proba
        Votes, shape (n_rows, n_experts, n_classes); for one-vs-rest experts (n_rows, n_experts, 1). An expert with only
        zeros has no vote.
    is_one_vs_rest
        Whether the experts are one-vs-rest.
    proba
        The mixture's class probabilities, shape (n_rows, n_classes).
    targets
        Class indices, shape (n_rows,).
    seen
        Number of samples and of classes before the first row, shape (2,); updated. On the first sample of a class
        nobody counts as right.
    sums
        Result, shape (4,); added to.
    expert_sums
        Result, shape (4, n_experts); added to.
    said
        Result, int8, shape (n_rows, n_experts + 1): `SAID_RIGHT`, `SAID_WRONG` or `NO_VOTE` for each expert, and in the
        last column for the mixture.
    """
    scratch, terms = np.empty(belief.shape[1]), np.empty(belief.shape[1])
    n_experts = expert_proba.shape[1]
    for row in range(targets.shape[0]):
        target = targets[row]
        is_new = target >= seen[1]
        seen[0] += 1
        seen[1] = max(seen[1], target + 1)
        if reads_logits:
            sums[ENTROPY] += first_right_entropy(belief[row], scratch, terms)
        else:
            sums[ENTROPY] += entropy(belief[row], belief.shape[1], terms)
        is_any_right = False
        n_used = 0
        for e in range(n_experts):
            if is_one_vs_rest:
                has_vote = True
                is_right = (expert_proba[row, e, 0] > 0.5) == (e == target)
            else:
                of_target = expert_proba[row, e, target]
                has_vote, is_right = False, of_target > 0.0 and not is_new
                for c in range(expert_proba.shape[2]):
                    other = expert_proba[row, e, c]
                    has_vote = has_vote or other > 0.0
                    if other > of_target or (other == of_target and c < target):
                        is_right = False
            is_any_right = is_any_right or is_right
            n_used += int(mask[row, e])
            expert_sums[CHOSEN, e] += mask[row, e]
            expert_sums[WEIGHT, e] += weights[row, e]
            expert_sums[VOTED, e] += has_vote
            expert_sums[WAS_RIGHT, e] += is_right
            said[row, e] = SAID_RIGHT if is_right else SAID_WRONG if has_vote else NO_VOTE
        if n_null.shape[0] > 0 and n_used + n_null[row] > 0:
            sums[NULL] += n_null[row] / (n_used + n_null[row])
        said[row, n_experts] = SAID_WRONG
        if not is_new and first_of_largest(proba[row]) == target:
            sums[RIGHT] += 1.0
            said[row, n_experts] = SAID_RIGHT
        elif is_any_right:
            sums[MISSED] += 1.0


def _rows(state: State, name: str, names: Sequence[str], length: int | None, owner: str) -> np.ndarray:
    """Return the arrays of a dict in a state, which have one length, as the rows of one array."""
    part, owner_of_part = value_of(state, name, dict, owner), f"the {name} of {owner}"
    check_names(part, names, owner_of_part)
    check_array(part, names[0], np.float64, (length,), owner_of_part)
    return np.array([array_of(part, one, np.float64, part[names[0]].shape, owner_of_part) for one in names])
