"""A drift detector on the mixture's own prequential errors, and the records of what it and the mixture noticed.

Each learnt sample is predicted before it is learnt. Two error rates are watched: that of the mixture, and the mean of
the main experts if these learn every sample. The mixture adapts within some hundred samples, and the experts stay wrong
for longer. A rate that is not watched counts as one on which nothing is won.

The detector is a Shiryaev-Roberts procedure of bets (an e-detector). For each rate a bet on a rise gains if errors are
more frequent than before, and loses otherwise. With a rate of at most q before the change, the bet on odds that rise
o-fold multiplies its stake by

    1 + (p - q) / (q (1 - q)) · (error - q)    with    p = o q / (1 - q + o q),

which is the likelihood ratio of p against q for an error of 0 or 1, and has an expectation of at most 1 for any error
in [0, 1] whose mean is at most q. One unit is staked anew at each sample. The wealth, averaged over rates and odds,
therefore grows by at most 1 a sample on average. So without a drift the mean number of samples until it exceeds A is at
least A, whatever the dependence between the rates. This bound holds for a known q. Here q is the average of about the
last 5000 samples plus half its standard error. So it can be exceeded while the experts themselves change, at the start
of a stream and after a drift.

Each bet also dates the rise, by Page's cumulative sum: the product of its factors, which starts anew from 1 when it
would fall below. The rise began after the last sample at which the product was 1; that is the most likely start for the
odds of the bet. At an alarm, the bet with the largest stake gives the date. What the event says of the time before is
what was known at that start; what it says of the time after is counted from there. Alarms do not depend on the dates.

References
----------
Shin, Ramdas & Rinaldo (2023). E-detectors: a nonparametric framework for sequential change detection. New England
Journal of Statistics in Data Science 2(2), sec. 2 and 3 (e-SR, mixtures, bound on the run length).
Waudby-Smith & Ramdas (2024). Estimating means of bounded random variables by betting. JRSS B 86(1), sec. 4 (the bets).
Page (1954). Continuous inspection schemes. Biometrika 41 (the cumulative sum that dates the rise).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftmoe.compilation import compiled, kernel
from driftmoe.mixture.watch_records import RECORD, RISE, fields_of, fill
from driftmoe.state import State, array_of, check_names, count_of, misfit, value_of
from driftmoe.transaction import Changes, assignment, planned

DRIFT_EVERY = 100_000.0
"""Mean number of samples between two false drift alarms that is aimed at, as a least one."""

WARNING_EVERY = 10_000.0
"""Mean number of samples between two false warnings that is aimed at, as a least one."""

REMEMBERED = 5000
"""Number of samples over which the rate before a change is averaged."""

MARGIN = 0.5
"""Standard errors that are added to an average rate, of the average over independent errors. With 0, 0.5 and 1 there
were 0.42, 0.19 and 0.08 false alarms per 100 000 samples on six generators without drift, other than those reported;
with 1, weak drifts were missed."""

FIRST = 300
"""Number of samples, after the start and after a drift, over which the rates are measured before bets begin."""

LEAST_VOTES = 100
"""Fewest votes over which the error of an expert before a drift, or before its tree was replaced, is told."""

ODDS = np.array([1.25, 1.5, 2.5, 5.0])
"""How many times as large the bets say that the odds of an error have become."""

MOST, FEW = 100, 8
"""Number of records kept of each kind; in a model that keeps no records for reports."""

NAMED = 3
"""Most experts that are named with a drift."""

KINDS = ("warning", "drift", "tree replaced", "new class", "new feature")
WARNING, DRIFT, REPLACED, NEW_CLASS, NEW_FEATURE = range(len(KINDS))

SAID_RIGHT, SAID_WRONG, NO_VOTE = 0, 1, 2
"""What an expert said of a sample."""

# Counts: samples since the baseline began; whether a warning was given; classes and features known, of which UNKNOWN
# means that they are taken from the next sample; then the records of each kind.
N_BASELINE, IS_WARNED, N_CLASSES, N_FEATURES, N_RECORDS = range(5)
UNKNOWN = -1

# Numbers: average error of mixture and watched experts.
OF_MIXTURE, OF_EXPERTS = range(2)

# Planes over bets: product that dates a rise; samples and errors of the mixture since the rise began, and the average
# error of the mixture at that time. A product of 1 means that there is no rise; then the average is 0.
PRODUCT, N_RISE, N_ERRORS, BEFORE = range(4)

# Planes over experts: average error; errors and votes since the baseline began.
AVERAGE, N_WRONG, N_VOTES = range(3)


class Watch:
    """The detector's state, and a ring of the last `most` records for each kind of event."""

    def __init__(self, most: int = MOST) -> None:
        self._counts = np.zeros(N_RECORDS + len(KINDS), np.int64)
        self._numbers = np.zeros(2)
        self._bets = np.zeros((2, len(ODDS)))
        self._rise = np.zeros((4, 2, len(ODDS)))
        self._rise[PRODUCT] = 1.0
        self._of_experts = np.zeros((3, 0))
        self._at_start = np.zeros((2, len(ODDS), 3, 0))
        self._n_replaced = np.zeros(0, np.int64)
        self._records = np.zeros((len(KINDS), most), RECORD)
        self._rises = np.zeros((most, NAMED), RISE)

    @classmethod
    def unaware(cls, n_classes: int, n_experts: int, most: int) -> Watch:
        """Return a new watch over a mixture that has learnt before; what it has learnt so far is not new."""
        watch = cls(most)
        watch._counts[[N_CLASSES, N_FEATURES]] = n_classes, UNKNOWN
        watch._of_experts = np.zeros((3, n_experts))
        watch._at_start = np.zeros((2, len(ODDS), 3, n_experts))
        watch._n_replaced = np.full(n_experts, UNKNOWN)
        return watch

    def plan(
        self,
        said: np.ndarray,
        n_watched: np.ndarray,
        targets: np.ndarray,
        n_features: int,
        seen: np.ndarray,
        replaced: np.ndarray | None,
        changes: Changes,
    ) -> None:
        """Plan to watch samples.

        Parameters
        ----------
        said
            int8, shape (n_rows, n_experts + 1): `SAID_RIGHT`, `SAID_WRONG` or `NO_VOTE` for each expert; the mixture
            comes last.
        n_watched
            Number of watched experts, which come first, when the change is carried out; shape (1,).
        targets
            Class indices, shape (n_rows,).
        n_features
            Number of features known with these samples.
        seen
            Its first entry is the number of samples, including these, when the change is carried out.
        replaced
            Number of trees of each expert replaced after drift so far; `None` unless the router takes a step.
        changes
            The planned change is added to this list. Earlier changes may write the arrays above.
        """
        of_experts, at_start, n_replaced = self._of_experts, self._at_start, self._n_replaced
        n_new = said.shape[1] - 1 - of_experts.shape[1]
        if n_new > 0:
            of_experts = np.pad(of_experts, ((0, 0), (0, n_new)))
            at_start = np.pad(at_start, ((0, 0), (0, 0), (0, 0), (0, n_new)))
            n_replaced = np.pad(n_replaced, (0, n_new))
            changes.append(
                assignment(self, _of_experts=of_experts, _at_start=at_start, _n_replaced=n_replaced)
            )
        changes.append(
            planned(
                watch, said, n_watched, targets, n_features, seen, NOT_COUNTED if replaced is None else replaced,
                self._counts, self._numbers, self._bets, self._rise, of_experts, at_start, n_replaced,
                self._records, self._rises,
            )
        )  # fmt: skip

    def rows(self) -> list[tuple[int, dict[str, Any], list[dict[str, Any]]]]:
        """Return the kept records in order: the kind, the record, and for a drift the experts named."""
        found = []
        for kind in range(len(KINDS)):
            for place in self._places(kind):
                record = dict(zip(RECORD.names or (), self._records[kind, place].item(), strict=True))
                named = self._rises[place, : record["number"]] if kind == DRIFT else self._rises[:0, 0]
                rises = [dict(zip(RISE.names or (), one.item(), strict=True)) for one in named]
                found.append((kind, record, rises))
        return sorted(found, key=lambda one: one[1]["sample"])

    def n_dropped(self) -> dict[str, int]:
        """Return how many records of each kind were dropped, because newer ones took their place."""
        totals = self._counts[N_RECORDS:].tolist()
        return {kind: max(0, total - len(self._rises)) for kind, total in zip(KINDS, totals, strict=True)}

    @property
    def alarms(self) -> np.ndarray:
        """Numbers of warnings and drifts so far: a view, which later samples update."""
        return self._counts[N_RECORDS + WARNING : N_RECORDS + DRIFT + 1]

    @property
    def _keeps_few(self) -> bool:
        return len(self._rises) == FEW

    def _places(self, kind: int) -> list[int]:
        """Return the places of the records of a kind in its ring, oldest first."""
        total, most = int(self._counts[N_RECORDS + kind]), len(self._rises)
        return [i % most for i in range(max(0, total - most), total)]

    def state(self) -> State:
        """Return the state of the detector, and the records kept; see `driftmoe.state`."""
        counts = self._counts.tolist()
        kept = {name: self._records[i, self._places(i)] for i, name in enumerate(_RECORDS)}
        rises = self._rises[self._places(DRIFT)]
        of_records: State = {"records": np.concatenate([*kept.values()]), "rises": rises}
        if not self._keeps_few:
            of_records = {name: fields_of(rows) for name, rows in kept.items()} | {"rises": fields_of(rises)}
        return {
            "counts": dict(zip(_COUNTS, counts[:N_RECORDS], strict=True)),
            **{name: vars(self)[f"_{name}"].copy() for name in _ARRAYS},
            "n_records": dict(zip(_RECORDS, counts[N_RECORDS:], strict=True)),
            **of_records,
        }

    def restore(self, state: State) -> None:
        """Restore the state of a watch; see `driftmoe.state`."""
        check_names(state, _STATE_OF_FEW if self._keeps_few else _STATE, self)
        n_experts = array_of(state, "of_experts", np.float64, (3, None), self).shape[1]
        new = Watch.unaware(0, n_experts, len(self._rises))
        for owner, names, first in (("counts", _COUNTS, 0), ("n_records", _RECORDS, N_RECORDS)):
            counts, of = value_of(state, owner, dict, self), f"the {owner} of Watch"
            check_names(counts, names, of)
            for i, name in enumerate(names):
                is_unknown = name == "n_features" and counts[name] == UNKNOWN
                new._counts[first + i] = UNKNOWN if is_unknown else count_of(counts, name, of)
        for name in _ARRAYS:
            fresh = vars(new)[f"_{name}"]
            values = array_of(state, name, fresh.dtype, fresh.shape, self)
            if name != "n_replaced" and values.size and values.min() < 0.0:
                raise misfit(self, name, f"has {values.min()}", "all numbers must be 0 or more")
            setattr(new, f"_{name}", values)
        for name, shares in (
            ("numbers", new._numbers), ("rise", new._rise[BEFORE]), ("of_experts", new._of_experts[AVERAGE]),
            ("at_start", new._at_start[:, :, AVERAGE]),
        ):  # fmt: skip
            if shares.size and shares.max() > 1.0:
                raise misfit(self, name, f"has an average of {shares.max()}", "it must be at most 1")
        new._fill(state)
        new._check_names()
        vars(self).update(vars(new))

    def _fill(self, state: State) -> None:
        """Put the records of a state into their places."""
        places = [self._places(kind) for kind in range(len(KINDS))]
        if self._keeps_few:  # those of one kind after the other
            records = array_of(state, "records", RECORD, (sum(map(len, places)),), self)
            self._rises[places[DRIFT]] = array_of(state, "rises", RISE, (len(places[DRIFT]), NAMED), self)
            for kind, of_kind in enumerate(places):
                self._records[kind, of_kind], records = records[: len(of_kind)], records[len(of_kind) :]
            return
        for kind, name in enumerate(_RECORDS):
            records_of_kind = value_of(state, name, dict, self)
            fill(self._records[kind], places[kind], records_of_kind, f"the {name} of Watch")
        fill(self._rises, places[DRIFT], value_of(state, "rises", dict, self), "the rises of Watch")

    def sizes(self) -> dict[str, int]:
        """Return how many classes, features and experts are known."""
        n_classes, n_features = self._counts[[N_CLASSES, N_FEATURES]].tolist()
        return {
            "n_classes": n_classes, "n_features": max(n_features, 0), "n_experts": self._of_experts.shape[1]
        }  # fmt: skip

    def _check_names(self) -> None:
        """Raise ValueError if a record names an expert, a class or a feature that is not known."""
        sizes = self.sizes()
        for kind, most in ((NEW_CLASS, sizes["n_classes"]), (NEW_FEATURE, sizes["n_features"])):
            first, number = self._records[kind]["first"], self._records[kind]["number"]
            if not ((first >= 0) & (number >= 0) & (number <= most) & (first <= most - number)).all():
                raise misfit(self, _RECORDS[kind], "name unknown ones", f"{most} are known")
        n_experts = sizes["n_experts"]
        for name, experts in (
            ("replaced_trees", self._records[REPLACED]["first"]),
            ("rises", self._rises["expert"]),
        ):
            if experts.min() < 0 or experts.max() >= max(n_experts, 1):
                raise misfit(self, name, "name an unknown expert", f"{n_experts} are known")
        n_named = self._records[DRIFT]["number"]
        if n_named.min() < 0 or n_named.max() > NAMED:
            raise misfit(self, "drifts", f"name {n_named.max()} experts", f"it must be 0 to {NAMED}")


@kernel
def put(counts, records, kind, sample, first, number, n_samples, before, after):  # type: ignore[no-untyped-def]
    """Write a record into the ring of its kind, and return its place."""
    place = counts[N_RECORDS + kind] % records.shape[1]
    counts[N_RECORDS + kind] += 1
    record = records[kind, place]
    record["sample"], record["first"], record["number"] = sample, first, number
    record["n_samples"], record["before"], record["after"] = n_samples, before, after
    return place


@kernel
def name_experts(of_experts, start, rises):  # type: ignore[no-untyped-def]
    """Write the experts whose errors have risen most, in standard errors and by more than 3; return their number.

    `start` is `of_experts` at the start of the rise. Experts with few votes before it are left out.
    """
    least, named = np.inf, 0
    for _ in range(rises.shape[0]):
        best, most = -1, 3.0
        for e in range(of_experts.shape[1]):
            n = of_experts[N_VOTES, e] - start[N_VOTES, e]
            if n > 0.0 and start[N_VOTES, e] >= LEAST_VOTES:
                before = start[AVERAGE, e]
                rise = (of_experts[N_WRONG, e] - start[N_WRONG, e]) / n - before
                score = rise / math.sqrt((before * (1.0 - before) + 1.0 / REMEMBERED) / n)
                is_named = False
                for k in range(named):
                    is_named = is_named or rises[k]["expert"] == e
                if score > most and score <= least and not is_named:
                    best, most = e, score
        if best < 0:
            break
        least = most
        n = of_experts[N_VOTES, best] - start[N_VOTES, best]
        rises[named]["expert"], rises[named]["n_votes"] = best, int(n)
        rises[named]["before"] = start[AVERAGE, best]
        rises[named]["after"] = (of_experts[N_WRONG, best] - start[N_WRONG, best]) / n
        named += 1
    clear(rises[named:])
    return named


@kernel
def clear(rises):  # type: ignore[no-untyped-def]
    """Name no expert, so that equal models have equal records."""
    for k in range(rises.shape[0]):
        rises[k]["expert"], rises[k]["n_votes"], rises[k]["before"], rises[k]["after"] = 0, 0, 0.0, 0.0


@kernel
def bet(numbers, bets, rise, n_averaged, k, value):  # type: ignore[no-untyped-def]
    """Settle the bets on one rate, and return their wealth."""
    average = numbers[k]
    q = average + MARGIN * math.sqrt((average * (1.0 - average) + 1.0 / REMEMBERED) / n_averaged)
    q = min(q, 0.99)
    wealth = 0.0
    for j in range(ODDS.shape[0]):
        p = ODDS[j] * q / (1.0 - q + ODDS[j] * q)
        factor = 1.0 + (p - q) / (q * (1.0 - q)) * (value - q)
        bets[k, j] = (bets[k, j] + 1.0) * factor
        wealth += bets[k, j]
        rise[PRODUCT, k, j] *= factor  # at most the stake
    return wealth


@kernel
def follow_rises(numbers, rise, of_experts, at_start, error):  # type: ignore[no-untyped-def]
    """Count a sample for each bet whose product rises, and keep what was known before a rise; forget those over."""
    for k in range(rise.shape[1]):
        for j in range(rise.shape[2]):
            if rise[PRODUCT, k, j] <= 1.0:
                rise[PRODUCT, k, j] = 1.0
                if rise[N_RISE, k, j] > 0.0:
                    rise[N_RISE, k, j] = rise[N_ERRORS, k, j] = rise[BEFORE, k, j] = 0.0
            else:
                if rise[N_RISE, k, j] == 0.0:
                    rise[BEFORE, k, j] = numbers[OF_MIXTURE]
                    for plane in range(of_experts.shape[0]):
                        for e in range(of_experts.shape[1]):
                            at_start[k, j, plane, e] = of_experts[plane, e]
                rise[N_RISE, k, j] += 1.0
                rise[N_ERRORS, k, j] += error


@kernel
def richest(bets, rise):  # type: ignore[no-untyped-def]
    """Return the rate and the odds of the bet with the largest stake among those that date a rise, or -1 and -1."""
    rate, odds, most = -1, -1, 0.0
    for k in range(bets.shape[0]):
        for j in range(bets.shape[1]):
            if rise[N_RISE, k, j] > 0.0 and bets[k, j] > most:
                rate, odds, most = k, j, bets[k, j]
    return rate, odds


@kernel
def count_votes(of_experts, said):  # type: ignore[no-untyped-def]
    """Count the votes of one sample, and average the errors of the experts."""
    for e in range(said.shape[0] - 1):
        if said[e] != NO_VOTE:
            wrong = np.float64(said[e] == SAID_WRONG)
            of_experts[N_VOTES, e] += 1.0
            of_experts[N_WRONG, e] += wrong
            n_averaged = min(of_experts[N_VOTES, e], REMEMBERED)
            of_experts[AVERAGE, e] += (wrong - of_experts[AVERAGE, e]) / n_averaged


@kernel
def start_anew(counts, numbers, bets, rise, of_experts):  # type: ignore[no-untyped-def]
    """Forget the rates from before a drift."""
    counts[N_BASELINE] = 0
    counts[IS_WARNED] = 0
    numbers[:] = 0.0
    bets[:] = 0.0
    rise[:] = 0.0
    rise[PRODUCT] = 1.0
    of_experts[:] = 0.0


@compiled(_nrt=False)
def watch(  # type: ignore[no-untyped-def]
    said, n_watched, targets, n_features, seen, replaced, counts, numbers, bets, rise, of_experts, at_start, n_replaced,
    records, rises,
):  # fmt: skip
    """Give the detector each row in turn, and record what it and the mixture noticed.

    Parameters
    ----------
    said, n_watched, targets, n_features, seen
        As in `Watch.plan`.
    replaced
        Number of trees of each expert replaced after drift so far, shape (n_experts,) or (0,) if it was not counted.
    counts, numbers, bets, rise, of_experts, at_start, n_replaced, records, rises
        The attributes of `Watch`; updated.
    """
    n_rows, n_experts = said.shape[0], said.shape[1] - 1
    first = seen[0] - n_rows
    for row in range(n_rows):
        sample = first + row + 1
        if counts[N_FEATURES] == UNKNOWN:
            counts[N_FEATURES] = n_features
        if n_features > counts[N_FEATURES]:
            n_new = n_features - counts[N_FEATURES]
            put(counts, records, NEW_FEATURE, sample, counts[N_FEATURES], n_new, 0, 0.0, 0.0)
            counts[N_FEATURES] = n_features
        if targets[row] >= counts[N_CLASSES]:
            n_new = targets[row] + 1 - counts[N_CLASSES]
            put(counts, records, NEW_CLASS, sample, counts[N_CLASSES], n_new, 0, 0.0, 0.0)
            counts[N_CLASSES] = targets[row] + 1
        error = 1.0 if said[row, n_experts] == SAID_WRONG else 0.0
        n_voted, n_wrong = 0, 0
        for e in range(n_watched[0]):
            n_voted += said[row, e] != NO_VOTE
            n_wrong += said[row, e] == SAID_WRONG
        of_watched = n_wrong / n_voted if n_voted > 0 else 0.0
        is_drift, wealth = False, 0.0
        if counts[N_BASELINE] >= FIRST:
            n_averaged = min(counts[N_BASELINE], REMEMBERED)
            wealth = bet(numbers, bets, rise, n_averaged, OF_MIXTURE, error)
            if n_voted > 0:
                wealth += bet(numbers, bets, rise, n_averaged, OF_EXPERTS, of_watched)
            wealth /= 2 * ODDS.shape[0]
            follow_rises(numbers, rise, of_experts, at_start, error)
        count_votes(of_experts, said[row])
        if counts[N_BASELINE] >= FIRST:
            is_drift = wealth > DRIFT_EVERY
            is_warning = wealth > WARNING_EVERY and counts[IS_WARNED] == 0
            if is_drift or is_warning:
                k, j = richest(bets, rise)
                n, before, after = 1, numbers[OF_MIXTURE], error
                if k >= 0:
                    n, before = int(rise[N_RISE, k, j]), rise[BEFORE, k, j]
                    after = rise[N_ERRORS, k, j] / n
                kind = DRIFT if is_drift else WARNING
                place = put(counts, records, kind, sample, sample - n + 1, 0, n, before, after)
                if is_drift:
                    clear(rises[place])
                    if k >= 0:
                        records[DRIFT, place]["number"] = name_experts(
                            of_experts, at_start[k, j], rises[place]
                        )
                counts[IS_WARNED] = 1
            elif wealth < 0.1 * WARNING_EVERY:
                counts[IS_WARNED] = 0
        if is_drift:
            start_anew(counts, numbers, bets, rise, of_experts)
            count_votes(of_experts, said[row])
        counts[N_BASELINE] += 1
        n_averaged = min(counts[N_BASELINE], REMEMBERED)
        numbers[OF_MIXTURE] += (error - numbers[OF_MIXTURE]) / n_averaged
        if n_voted > 0:
            numbers[OF_EXPERTS] += (of_watched - numbers[OF_EXPERTS]) / n_averaged
    for e in range(replaced.shape[0]):
        n_new = replaced[e] - n_replaced[e]
        if n_replaced[e] != UNKNOWN and n_new > 0:
            n_votes = int(min(of_experts[N_VOTES, e], REMEMBERED))
            put(counts, records, REPLACED, seen[0], e, n_new, n_votes, of_experts[AVERAGE, e], 0.0)
        n_replaced[e] = replaced[e]


NOT_COUNTED = np.empty(0, np.int64)
"""Trees replaced so far, between two steps of the router."""

_COUNTS = ("n_in_baseline", "is_warned", "n_classes", "n_features")
_RECORDS = ("warnings", "drifts", "replaced_trees", "new_classes", "new_features")
_ARRAYS = ("numbers", "bets", "rise", "of_experts", "at_start", "n_replaced")
_STATE = ("counts", *_ARRAYS, "n_records", *_RECORDS, "rises")
_STATE_OF_FEW = ("counts", *_ARRAYS, "n_records", "records", "rises")
