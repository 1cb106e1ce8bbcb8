"""Learning of rows, in steps that succeed completely or change nothing.

The router's weights are constant between two of its gradient steps. So all rows up to its next step, or up to a row
with a new feature, value or class, go through the router together and then through each expert together.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from driftmoe.costs import DecisionCosts
from driftmoe.encoding import BlockRows, Encoder, Sample, SampleRows, warn_of_shared
from driftmoe.encoding.samples import name_order
from driftmoe.experts import Batch
from driftmoe.experts.batch import NONE_AWAITED, Index, learnt_of, taken
from driftmoe.mixture import Mixture
from driftmoe.mixture.mixing import first_best, most_gain, of_learnt
from driftmoe.mixture.shrinking import least_bytes, name_bytes, shrunk
from driftmoe.recent import Recent
from driftmoe.state import restored
from driftmoe.transaction import (
    NO_WEIGHTS,
    TRIES,
    Changes,
    StepPlan,
    assignment,
    carry_out,
    planned,
    publication,
)

if TYPE_CHECKING:
    from driftmoe.kept_plans import KeptPlans

MOST_TRIES = 3
"""Number of attempts at a step that raises an error. Interrupts do not count as errors; they are delayed more often."""

MOST_PREDICTED = 256
"""Number of rows that are predicted together at least, if there are as many."""

Rows = SampleRows | BlockRows

Parts = tuple[Encoder, Mixture, Recent]


class Learner:
    """Learns rows in order, and records the prediction for each row before it is learnt.

    Parameters
    ----------
    encoder, mixture, recent
        Parts of the model.
    rows
        Rows to learn.
    weights
        Weights of the rows, 0 or more, shape (n_rows,). A row of weight 0 is predicted but not learnt.
    answers
        Receives the index of the class predicted for each row before it is learnt, -1 if no class was known; shape
        (n_rows,). `None` if predictions are not needed.
    max_bytes
        Bound on the memory of the model; `None` for none.
    costs
        Costs by which a prediction is chosen; by default it is the most probable class.
    proba
        Receives the class probabilities of each row before it is learnt, shape (n_classes known by then,); a list of
        n_rows items. `None` if they are not needed.
    plans
        Plans of earlier steps; see `driftmoe.kept_plans`. Steps that bring something new make them doubted.
    awaits
        Which rows of weight 0 have labels that will come later, so that the mixture keeps what it needs for that; bool,
        shape (n_rows,). `None` for none.
    """

    def __init__(
        self,
        encoder: Encoder,
        mixture: Mixture,
        recent: Recent,
        rows: Rows,
        weights: np.ndarray,
        answers: np.ndarray | None,
        max_bytes: int | None,
        costs: DecisionCosts | None,
        proba: list[np.ndarray] | None,
        plans: KeptPlans,
        awaits: np.ndarray | None = None,
    ) -> None:
        self._encoder, self._mixture, self._recent, self._plans = encoder, mixture, recent, plans
        self._max_bytes, self._costs, self._proba = max_bytes, costs, proba
        self._rows, self._weights, self._answers, self._awaits = rows, weights, answers, awaits
        self._n_learnt = np.zeros(1, np.int64)

    def run(self, *, stuck_at: int = -1, n_tries: int = 0) -> None:
        """Learn the remaining rows.

        Each step succeeds completely or changes nothing. An interrupt between two steps is delayed until the last row
        has been learnt. An error that persists is raised with a note that says which rows have been learnt. If there
        are any, each error has their number as `n_learnt`.

        Parameters
        ----------
        stuck_at, n_tries
            Row at which earlier attempts failed, and the number of these attempts.
        """
        try:  # around the loop, since an interrupt may come between two iterations
            while self._n_learnt[0] < len(self._rows):
                self._advance()
        except BaseException as error:
            row = int(self._n_learnt[0])
            n_tries = n_tries + 1 if row == stuck_at else 1
            if n_tries < (TRIES if not isinstance(error, Exception) else MOST_TRIES):
                self.run(stuck_at=row, n_tries=n_tries)
            elif row > 0:
                error.add_note(
                    f"rows 0 to {row - 1} of {len(self._rows)} have been learnt, the others have not"
                )
            if self._n_learnt[0] > 0:
                vars(error)["n_learnt"] = int(self._n_learnt[0])  # for callers who would take the rows again
            raise  # after the last row

    def _advance(self) -> None:
        """Learn the next rows that can be learnt in one step."""
        start, rows, answers = int(self._n_learnt[0]), self._rows, self._answers
        rows.refresh()
        if self._weights[start] > 0.0 and (self._is_first() or rows.is_new(start)):
            self._answer(start, start + 1)
            self._learn_new(start)
            return
        encoder, stop = self._encoder, self._end_of_step(start)
        weights = self._weights[start:stop]
        learnt = learnt_of(weights)
        if isinstance(learnt, np.ndarray) and not len(learnt):
            self._pass(start, stop)
            return
        changes = StepPlan()
        vectors, targets = rows.vectors(start, stop), rows.targets(start, stop)
        if answers is None and self._proba is None:  # rows that are not learnt need not be predicted
            vectors, targets, weights = vectors[learnt], targets[learnt], weights[learnt]
        elif isinstance(learnt, np.ndarray):
            targets = np.where(weights > 0.0, targets, 0)
        samples = rows.samples(start, stop) if self._mixture.reads_samples else []
        if encoder.is_full and (n_ignored := _over(rows.n_ignored, start, stop, learnt)):
            changes.append(assignment(encoder, n_ignored_values=encoder.n_ignored_values + n_ignored))
        if encoder.full and (n_shared := _over(rows.n_shared, start, stop, learnt)):
            changes.append(assignment(encoder, n_shared_values=encoder.n_shared_values + n_shared))
        awaits, further = self._awaited(start, stop), partial(self._further, start, stop)
        if not changes:
            self._plans.step(vectors, targets, weights, samples, awaits=awaits, further=further)
            return
        mixture, recent = self._mixture, self._recent
        proba = plan_step(
            encoder, mixture, recent, vectors, samples, targets, weights, changes, awaits=awaits
        )
        self._carry_out(changes.followed_by(further(proba)))

    def _pass(self, start: int, stop: int) -> None:
        """Predict rows of which none is learnt, and keep what is needed until their labels come."""
        awaits = self._awaited(start, stop)
        if self._is_first() or not awaits.any():
            self._answer(start, stop)
            self._n_learnt[0] = stop
            return
        samples = self._rows.samples(start, stop) if self._mixture.reads_samples else []
        vectors, changes = self._rows.vectors(start, stop), StepPlan()
        recent = self._recent
        proba = plan_prediction(
            self._encoder, self._mixture, recent, vectors, samples, changes, awaits=awaits
        )
        self._carry_out(changes.followed_by(self._further(start, stop, proba)))

    def _awaited(self, start: int, stop: int) -> np.ndarray:
        awaits = NONE_AWAITED if self._awaits is None else self._awaits[start:stop]
        return awaits if awaits.any() else NONE_AWAITED

    def _learn_new(self, row: int) -> None:
        """Learn a row that brings a new feature, value or class, as far as the bounds allow it."""
        if self._rows.is_refused(row):
            self._leave_out(row)
            return
        encoder, sample = self._rows.entered(row)
        if self._max_bytes is not None:
            self._learn_within(self._max_bytes, sample, row)
            return
        encoder.n_ignored_values += encoder.n_ignored(sample)
        self._learn_as(encoder, sample, row)

    def _learn_within(self, max_bytes: int, sample: Sample, row: int) -> None:
        """Learn a row with as many of its new features and values as there is room for, those with short names first.

        Raises
        ------
        ValueError
            If the model has learnt nothing yet, and there is not room for the whole row.
        """
        before = self._encoder
        if self._is_first():
            self._grow(self._trial(sample, row), max_bytes, sample, sample, row)
            return
        known, new = before.known(sample), {}
        for name in sorted(
            sample.keys() - known.keys(), key=lambda name: (_length(name, sample), name_order(name))
        ):
            new[name] = sample[name]
        is_new_class = before.target(self._rows.label(row)) is None
        fewest, most, n = int(not is_new_class), len(new), len(new)
        best: tuple[Parts, Sample] | None = None
        while fewest <= most:  # how many there is room for, by halving
            some = known | dict(list(new.items())[:n])
            trial = self._trial(some, row)
            if least_bytes(*trial) <= max_bytes:
                best, fewest = (trial, some), n + 1
            else:
                most = n - 1
            n = (fewest + most) // 2
        if best is not None:
            self._grow(best[0], max_bytes, best[1], sample, row)
        elif is_new_class:
            self._leave_out(row)
        else:
            encoder = copy.copy(before)
            encoder.n_ignored_values += len(sample) - len(known)
            self._learn_as(encoder, known, row)

    def _trial(self, sample: Sample, row: int) -> Parts:
        """Return copies of the parts, without spare room, that have learnt a row given as a sample."""
        encoder = self._encoder.entered(sample, self._rows.label(row))
        mixture: Mixture = restored(self._mixture, self._mixture.state())
        recent = restored(self._recent, self._recent.state())
        changes = StepPlan()
        self._plan(encoder, mixture, recent, sample, row, changes)
        carry_out(changes)
        return encoder, restored(mixture, mixture.state()), recent

    def _grow(self, trial: Parts, max_bytes: int, learnt: Sample, sample: Sample, row: int) -> None:
        """Put in the place of the model's parts others that have learnt a row, of which `learnt` is what entered."""
        encoder, mixture, recent = trial
        mixture = shrunk(encoder, mixture, recent, max_bytes)
        encoder.n_ignored_values += len(sample) - len(learnt) + encoder.n_ignored(learnt)
        encoder.n_shared_values += encoder.n_shared(learnt)
        own = self._encoder, self._mixture, self._recent
        drafts = encoder, mixture, recent
        changes = [publication(*pair) for pair in zip(own, drafts, strict=True)]
        self._carry_out([*changes, self._learnt_until(row + 1)])

    def _learn_as(self, encoder: Encoder, sample: Sample, row: int) -> None:
        """Learn a row, given as a sample that `encoder` knows, which takes the place of the model's."""
        encoder.n_shared_values += encoder.n_shared(sample)
        changes = StepPlan()
        changes.append(publication(self._encoder, encoder))
        self._plan(encoder, self._mixture, self._recent, sample, row, changes)
        self._carry_out(changes.followed_by([self._learnt_until(row + 1)]))

    def _plan(
        self, draft: Encoder, mixture: Mixture, recent: Recent, sample: Sample, row: int, changes: StepPlan
    ) -> None:
        """Plan to learn a row, given as a sample, that `draft` knows; see `plan_step`."""
        vectors, targets = draft.vector(sample)[np.newaxis], np.array([draft.target(self._rows.label(row))])
        samples = [draft.order(sample)] if mixture.reads_samples else []
        weights = self._weights[row : row + 1]
        plan_step(draft, mixture, recent, vectors, samples, targets, weights, changes)

    def _leave_out(self, row: int) -> None:
        """Pass a row whose class is beyond a bound."""
        n_ignored = self._encoder.n_ignored_samples + 1
        self._carry_out([assignment(self._encoder, n_ignored_samples=n_ignored), self._learnt_until(row + 1)])

    def _further(self, start: int, stop: int, proba: np.ndarray) -> Changes:
        """Return the last changes of a step: they note the answers, of which `proba` is a row for each."""
        changes: Changes = [self._learnt_until(stop)]
        if self._answers is not None:
            changes.append(self._decision(proba, self._answers[start:stop]))
        if self._proba is not None:
            own = np.empty_like(proba)  # the next step may write over the others
            changes.append(partial(own.__setitem__, ..., proba))
            changes.append(partial(self._proba.__setitem__, slice(start, stop), own))
        return changes

    def _learnt_until(self, stop: int) -> Callable[[], Any]:
        """Return the change that notes that the rows before `stop` are learnt."""
        return partial(self._n_learnt.__setitem__, 0, stop)

    def _carry_out(self, changes: Changes) -> None:
        """Carry out changes by which a plan of an earlier step may not hold any more."""
        changes.insert(0, self._plans.doubted)
        changes.append(self._plans.doubted)
        carry_out(changes)

    def _end_of_step(self, start: int) -> int:
        """Return the end of the rows that fit in one step: those that are learnt have nothing new."""
        room, stop = self._mixture.router.room, start + 1
        if stop < len(self._rows):
            is_learnt = self._weights[start : start + max(2 * room, MOST_PREDICTED)] > 0.0
            if (
                self._mixture.reads_samples
            ):  # experts in Python: of rows that are only predicted, each asks only some
                others = np.flatnonzero(is_learnt != is_learnt[0])
                is_learnt = is_learnt[: others[0]] if len(others) else is_learnt
            learnt = np.flatnonzero(is_learnt)
            if len(learnt) >= room:  # then the router takes a step
                is_learnt = is_learnt[: learnt[room - 1] + 1]
            if self._is_first() and len(learnt):  # which is learnt alone, even if a prior knows all of it
                is_learnt = is_learnt[: learnt[0]]
            stop = self._rows.known_until(start, is_learnt)
        weights, weighed = self._weights[start:stop], self._recent.class_weights
        if weighed is not None and weights.any():
            weights = weighed.learnt_with(self._rows.targets(start, stop), weights, self._encoder.classes)
        learnt = np.flatnonzero(weights)
        if not len(learnt) or self._plans.has_room(weights[learnt]):
            return stop
        n_with_room = self._mixture.n_rows_with_room(len(learnt), weights[learnt])
        return stop if n_with_room == len(learnt) else start + int(learnt[n_with_room])

    def _is_first(self) -> bool:
        """Whether the model has learnt nothing yet."""
        return not self._mixture.log.n_samples

    def _answer(self, start: int, stop: int) -> None:
        """Note the predictions for rows that are not learnt in a step with others."""
        if not self._encoder.classes or (self._answers is None and self._proba is None):
            return
        samples = self._rows.samples(start, stop) if self._mixture.reads_samples else []
        vectors = self._rows.vectors(start, stop)
        proba = predict(self._encoder, self._mixture, self._recent, vectors, samples)
        if self._answers is not None:
            self._decision(proba, self._answers[start:stop])()
        if self._proba is not None:
            self._proba[start:stop] = proba

    def _decision(self, proba: np.ndarray, answers: np.ndarray) -> Callable[[], Any]:
        """Return the change that writes the class chosen for each row, by its probabilities once they are known."""
        if self._costs is None:
            return planned(first_best, proba, answers)
        return planned(most_gain, proba, self._costs.gains(self._encoder.classes), answers)


def _over(count: Callable[[int, int], int], start: int, stop: int, learnt: Index) -> int:
    """Return a count over the rows that are learnt; `count` takes the first row and the one after the last."""
    if isinstance(learnt, slice):
        return count(start, stop)
    return sum(count(start + row, start + row + 1) for row in learnt.tolist())


def _length(name: Hashable, sample: Sample) -> int:
    """Return the bytes of the name of a feature, and of its value if that is a text."""
    value = sample[name]
    return name_bytes(name) + (name_bytes(value) if isinstance(value, str) else 0)


def plan_step(
    draft: Encoder,
    mixture: Mixture,
    recent: Recent,
    vectors: np.ndarray,
    samples: Sequence[Sample],
    targets: np.ndarray,
    weights: np.ndarray,
    changes: StepPlan,
    *,
    awaits: np.ndarray = NONE_AWAITED,
) -> np.ndarray:
    """Plan one step of learning.

    Parameters
    ----------
    draft
        An encoder that knows everything in the rows: the model's, or the one that an earlier change puts in its place.
    mixture, recent
        The model's mixture, and its most recent samples.
    vectors, samples, targets, weights, awaits
        As in `Batch`.
    changes
        The planned changes are added to this list.

    Returns
    -------
    proba
        Class probabilities of each row before it is learnt, shape (n_rows, n_classes). The changes fill it in.
    """
    weighing = None
    if recent.class_weights is not None:
        weighing = recent.class_weights.plan(targets, weights, draft.classes, changes)
        weights = weighing.weights
    inputs = draft.plan_inputs(vectors, weights, changes)
    learnt = learnt_of(weights)
    batch = Batch(
        vectors,
        inputs,
        samples,
        len(draft.classes),
        draft.nominal_columns,
        targets,
        weights,
        learnt,
        awaits=awaits,
    )
    n_known = mixture.log.n_classes
    proba = mixture.plan(batch, changes)
    if weighing is not None:
        proba = weighing.answers(proba, changes)
    of_recent = of_learnt(proba, learnt, changes)
    of_vectors, of_targets = (taken(array, learnt, changes) for array in (vectors, targets))
    recent.plan(of_vectors, of_targets, of_recent, n_known, changes)
    if weighing is not None:
        weighing.plan_counting(changes)
        if weighing.grown is not recent.class_weights:
            changes.append(assignment(recent, class_weights=weighing.grown))
    return proba


def warn_of_left_out(before: tuple[int, int, int], encoder: Encoder, max_bytes: int | None) -> None:
    """Warn if the first value or sample was left out, or shared a code, since `Encoder.counts` was `before`."""
    n_values, n_samples, n_shared = before
    warn_of_shared(n_shared, encoder.n_shared_values, encoder.full, stacklevel=_TO_CALLER)
    if n_values == 0 < encoder.n_ignored_values:
        warnings.warn(
            f"{_beyond('features', max_features=encoder.max_features, max_bytes=max_bytes)} are ignored from now on; "
            "n_ignored_values counts their values: leave identifiers out, or choose a larger bound",
            stacklevel=_TO_CALLER,
        )
    if n_samples == 0 < encoder.n_ignored_samples:
        beyond = _beyond("classes", max_classes=encoder.max_classes, max_bytes=max_bytes)
        warnings.warn(
            f"samples of new {beyond} are not learnt from now on; n_ignored_samples counts them: check the labels, or "
            "choose a larger bound",
            stacklevel=_TO_CALLER,
        )


def _beyond(names: str, **bounds: int | None) -> str:
    """Return what is beyond the bounds that are given, as text."""
    given = [f"{name}={bound}" for name, bound in bounds.items() if bound is not None]
    return f"{names} beyond {' or '.join(given)}"


_TO_CALLER = 5
"""Frames from a warning to the caller of `learn_one`, `learn_many` or `step_many`, so that it names his line."""


def predict(
    encoder: Encoder, mixture: Mixture, recent: Recent, vectors: np.ndarray, samples: Sequence[Sample]
) -> np.ndarray:
    """Return the class probabilities of rows, shape (n_rows, n_classes). Changes nothing."""
    return plan_prediction(encoder, mixture, recent, vectors, samples, StepPlan())


def plan_prediction(
    encoder: Encoder,
    mixture: Mixture,
    recent: Recent,
    vectors: np.ndarray,
    samples: Sequence[Sample],
    plan: StepPlan,
    *,
    awaits: np.ndarray = NONE_AWAITED,
) -> np.ndarray:
    """Compute what `predict` returns, by calls of a plan. Its changes keep what is needed of rows that await labels."""
    inputs = encoder.plan_inputs(vectors, NO_WEIGHTS, plan)
    batch = Batch(vectors, inputs, samples, len(encoder.classes), awaits=awaits)
    proba = mixture.plan_prediction(batch, plan)
    weighed = recent.class_weights
    return proba if weighed is None else weighed.plan_answers(proba, encoder.classes, plan)
