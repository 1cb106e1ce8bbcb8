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

ODDS = np.array([1.25, 1.5, 2.5, 5.0])
"""How many times as large the bets say that the odds of an error have become."""

DATING = 2
"""Place in `ODDS` of the bets that date a rise. It began after the last sample at which the product of their factors
was at most 1 (Page's cumulative sum). Of the four, they came closest on streams other than those reported: half of the
dates were within 24 samples."""

MOST_PRODUCT = 1e12
"""Bound on the product of these factors. Far beyond any alarm."""

MOST = 100
"""Number of records kept of each kind."""

NAMED = 3
"""Most experts that are named with a drift."""

KINDS = ("warning", "drift", "tree replaced", "new class", "new feature")
WARNING, DRIFT, REPLACED, NEW_CLASS, NEW_FEATURE = range(len(KINDS))

SAID_RIGHT, SAID_WRONG, NO_VOTE = 0, 1, 2
"""What an expert said of a sample."""

# Counts: samples since the baseline began, and since the start of the rise; whether a warning was given; classes and
# features known, of which UNKNOWN means that they are taken from the next sample; then the records of each kind.
N_BASELINE, N_RISE, IS_WARNED, N_CLASSES, N_FEATURES, N_RECORDS = range(6)
UNKNOWN = -1

# Numbers: average error of mixture and watched experts; product that dates a rise; errors since the rise began.
OF_MIXTURE, OF_EXPERTS, PRODUCT, N_ERRORS = range(4)

# Planes over experts: average error, samples with a vote behind it, errors and votes since the start of the rise.
AVERAGE, N_VOTES, ERRORS_IN_RISE, VOTES_IN_RISE = range(4)

RECORD = np.dtype(
    [
        # Number of the learnt sample, from 1.
        ("sample", np.int64),
        # Drift and warning: the sample at which errors began to rise. Else the first class, feature or expert.
        ("first", np.int64),
        # Drift: experts named. Tree replaced: how often. Else how many classes or features.
        ("number", np.int64),
        # Error of the mixture, or of the expert whose tree was replaced.
        ("before", np.float64),
        ("after", np.float64),
    ]
)

RISE = np.dtype([("expert", np.int64), ("before", np.float64), ("after", np.float64)])
"""The error of an expert before and after a drift."""


class Watch:
    """The detector's state, and a ring of records for each kind of event."""

    def __init__(self) -> None:
        self._counts = np.zeros(N_RECORDS + len(KINDS), np.int64)
        self._numbers = np.array([0.0, 0.0, 1.0, 0.0])
        self._bets = np.zeros((2, len(ODDS)))
        self._of_experts = np.zeros((4, 0))
        self._n_replaced = np.zeros(0, np.int64)
        self._records = np.zeros((len(KINDS), MOST), RECORD)
        self._rises = np.zeros((MOST, NAMED), RISE)

    @classmethod
    def unaware(cls, n_classes: int, n_experts: int) -> Watch:
        """Return a new watch over a mixture that has learnt before; what it has learnt so far is not new."""
        watch = cls()
        watch._counts[[N_CLASSES, N_FEATURES]] = n_classes, UNKNOWN
        watch._of_experts = np.zeros((4, n_experts))
        watch._n_replaced = np.full(n_experts, UNKNOWN)
        return watch

    def plan(
        self,
        said: np.ndarray,
        n_watched: int,
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
            Number of watched experts, which come first.
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
        of_experts, n_replaced = self._of_experts, self._n_replaced
        n_new = said.shape[1] - 1 - of_experts.shape[1]
        if n_new > 0:
            of_experts = np.pad(of_experts, ((0, 0), (0, n_new)))
            n_replaced = np.pad(n_replaced, (0, n_new))
            changes.append(assignment(self, _of_experts=of_experts, _n_replaced=n_replaced))
        changes.append(
            planned(
                watch, said, n_watched, targets, n_features, seen, NOT_COUNTED if replaced is None else replaced,
                self._counts, self._numbers, self._bets, of_experts, n_replaced, self._records, self._rises,
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
        return {kind: max(0, total - MOST) for kind, total in zip(KINDS, totals, strict=True)}

    def _places(self, kind: int) -> list[int]:
        """Return the places of the records of a kind in its ring, oldest first."""
        total = int(self._counts[N_RECORDS + kind])
        return [i % MOST for i in range(max(0, total - MOST), total)]

    def state(self) -> State:
        """Return the state of the detector, and the records kept; see `driftmoe.state`."""
        counts = self._counts.tolist()
        kept = {name: self._records[i, self._places(i)] for i, name in enumerate(_RECORDS)}
        rises = self._rises[self._places(DRIFT)]
        return {
            "counts": dict(zip(_COUNTS, counts[:N_RECORDS], strict=True)),
            "numbers": self._numbers.copy(),
            "bets": self._bets.copy(),
            "of_experts": self._of_experts.copy(),
            "n_replaced": self._n_replaced.copy(),
            "n_records": dict(zip(_RECORDS, counts[N_RECORDS:], strict=True)),
            **{
                name: {field: rows[field].copy() for field in RECORD.names or ()}
                for name, rows in kept.items()
            },
            "rises": {name: rises[name].copy() for name in RISE.names or ()},
        }

    def restore(self, state: State) -> None:
        """Restore the state of a watch; see `driftmoe.state`."""
        check_names(state, _STATE, self)
        new = Watch()
        for owner, names, first in (("counts", _COUNTS, 0), ("n_records", _RECORDS, N_RECORDS)):
            counts, of = value_of(state, owner, dict, self), f"the {owner} of Watch"
            check_names(counts, names, of)
            for i, name in enumerate(names):
                is_unknown = name == "n_features" and counts[name] == UNKNOWN
                new._counts[first + i] = UNKNOWN if is_unknown else count_of(counts, name, of)
        new._numbers = array_of(state, "numbers", np.float64, new._numbers.shape, self)
        new._bets = array_of(state, "bets", np.float64, new._bets.shape, self)
        new._of_experts = array_of(state, "of_experts", np.float64, (4, None), self)
        new._n_replaced = array_of(state, "n_replaced", np.int64, new._of_experts.shape[1:], self)
        for name, values in (("numbers", new._numbers), ("bets", new._bets), ("of_experts", new._of_experts)):
            if values.size and values.min() < 0.0:
                raise misfit(self, name, f"has {values.min()}", "all numbers must be 0 or more")
        for name, at_most_one in (("numbers", new._numbers[:2]), ("of_experts", new._of_experts[:1])):
            if at_most_one.size and at_most_one.max() > 1.0:
                raise misfit(self, name, f"has an average of {at_most_one.max()}", "it must be at most 1")
        for kind, name in enumerate(_RECORDS):
            places = new._places(kind)
            _fill(new._records[kind], places, value_of(state, name, dict, self), f"the {name} of Watch")
            if kind == DRIFT:
                _fill(new._rises, places, value_of(state, "rises", dict, self), "the rises of Watch")
        new._check_names()
        vars(self).update(vars(new))

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


def _fill(ring: np.ndarray, places: list[int], state: Any, owner: str) -> None:
    """Put the records of a state into their places of a ring."""
    names = ring.dtype.names or ()
    check_names(state, names, owner)
    for name in names:
        shape = (len(places), *ring.shape[1:])
        ring[name][places] = array_of(state, name, ring.dtype[name], shape, owner)


@kernel
def put(counts, records, kind, sample, first, number, before, after):  # type: ignore[no-untyped-def]
    """Write a record into the ring of its kind, and return its place."""
    place = counts[N_RECORDS + kind] % records.shape[1]
    counts[N_RECORDS + kind] += 1
    record = records[kind, place]
    record["sample"], record["first"], record["number"] = sample, first, number
    record["before"], record["after"] = before, after
    return place


@kernel
def name_experts(of_experts, rises):  # type: ignore[no-untyped-def]
    """Write the experts whose errors have risen most, in standard errors and by more than 3; return their number."""
    least, named = np.inf, 0
    for _ in range(rises.shape[0]):
        best, most = -1, 3.0
        for e in range(of_experts.shape[1]):
            n = of_experts[VOTES_IN_RISE, e]
            if n > 0.0:
                before = of_experts[AVERAGE, e]
                rise = of_experts[ERRORS_IN_RISE, e] / n - before
                score = rise / math.sqrt((before * (1.0 - before) + 1.0 / REMEMBERED) / n)
                is_named = False
                for k in range(named):
                    is_named = is_named or rises[k]["expert"] == e
                if score > most and score <= least and not is_named:
                    best, most = e, score
        if best < 0:
            break
        least = most
        rises[named]["expert"] = best
        rises[named]["before"] = of_experts[AVERAGE, best]
        rises[named]["after"] = of_experts[ERRORS_IN_RISE, best] / of_experts[VOTES_IN_RISE, best]
        named += 1
    for k in range(named, rises.shape[0]):  # so that equal models have equal records
        rises[k]["expert"], rises[k]["before"], rises[k]["after"] = 0, 0.0, 0.0
    return named


@kernel
def bet(numbers, bets, n_averaged, k, error):  # type: ignore[no-untyped-def]
    """Settle the bets on one rate; return their wealth, and the factor of the one that dates a rise."""
    average = numbers[k]
    q = average + MARGIN * math.sqrt((average * (1.0 - average) + 1.0 / REMEMBERED) / n_averaged)
    q = min(q, 0.99)
    wealth, of_dating = 0.0, 1.0
    for j in range(ODDS.shape[0]):
        p = ODDS[j] * q / (1.0 - q + ODDS[j] * q)
        factor = 1.0 + (p - q) / (q * (1.0 - q)) * (error - q)
        bets[k, j] = (bets[k, j] + 1.0) * factor
        wealth += bets[k, j]
        if j == DATING:
            of_dating = factor
    return wealth, of_dating


@kernel
def start_anew(counts, numbers, bets, of_experts):  # type: ignore[no-untyped-def]
    """Forget the rates from before a drift."""
    counts[N_BASELINE] = 0
    counts[IS_WARNED] = 0
    bets[:] = 0.0
    numbers[OF_MIXTURE] = 0.0
    numbers[OF_EXPERTS] = 0.0
    of_experts[AVERAGE] = 0.0
    of_experts[N_VOTES] = 0.0
    end_rise(counts, numbers, of_experts)


@kernel
def end_rise(counts, numbers, of_experts):  # type: ignore[no-untyped-def]
    """Date the start of a rise to the next sample."""
    counts[N_RISE] = 0
    numbers[PRODUCT] = 1.0
    numbers[N_ERRORS] = 0.0
    of_experts[ERRORS_IN_RISE] = 0.0
    of_experts[VOTES_IN_RISE] = 0.0


@compiled(_nrt=False)
def watch(  # type: ignore[no-untyped-def]
    said, n_watched, targets, n_features, seen, replaced, counts, numbers, bets, of_experts, n_replaced, records, rises,
):  # fmt: skip
    """Give the detector each row in turn, and record what it and the mixture noticed.

    Parameters
    ----------
    said, n_watched, targets, n_features, seen
        As in `Watch.plan`.
    replaced
        Number of trees of each expert replaced after drift so far, shape (n_experts,) or (0,) if it was not counted.
    counts, numbers, bets, of_experts, n_replaced, records, rises
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
            put(counts, records, NEW_FEATURE, sample, counts[N_FEATURES], n_new, 0.0, 0.0)
            counts[N_FEATURES] = n_features
        if targets[row] >= counts[N_CLASSES]:
            n_new = targets[row] + 1 - counts[N_CLASSES]
            put(counts, records, NEW_CLASS, sample, counts[N_CLASSES], n_new, 0.0, 0.0)
            counts[N_CLASSES] = targets[row] + 1
        error = 1.0 if said[row, n_experts] == SAID_WRONG else 0.0
        n_voted, n_wrong = 0, 0
        for e in range(n_watched):
            n_voted += said[row, e] != NO_VOTE
            n_wrong += said[row, e] == SAID_WRONG
        of_watched = n_wrong / n_voted if n_voted > 0 else 0.0
        is_drift = False
        if counts[N_BASELINE] >= FIRST:
            n_averaged = min(counts[N_BASELINE], REMEMBERED)
            wealth, factor = bet(numbers, bets, n_averaged, OF_MIXTURE, error)
            if n_voted > 0:
                more, other = bet(numbers, bets, n_averaged, OF_EXPERTS, of_watched)
                wealth += more
                factor *= other
            wealth /= 2 * ODDS.shape[0]
            numbers[PRODUCT] = min(numbers[PRODUCT] * factor, MOST_PRODUCT)
            if numbers[PRODUCT] <= 1.0:
                end_rise(counts, numbers, of_experts)
            else:
                counts[N_RISE] += 1
                numbers[N_ERRORS] += error
                for e in range(n_experts):
                    of_experts[ERRORS_IN_RISE, e] += said[row, e] == SAID_WRONG
                    of_experts[VOTES_IN_RISE, e] += said[row, e] != NO_VOTE
            is_drift = wealth > DRIFT_EVERY
            is_warning = wealth > WARNING_EVERY and counts[IS_WARNED] == 0
            if is_drift or is_warning:
                before, n = numbers[OF_MIXTURE], counts[N_RISE]
                after = numbers[N_ERRORS] / n if n > 0 else error
                kind = DRIFT if is_drift else WARNING
                place = put(counts, records, kind, sample, sample - max(n - 1, 0), 0, before, after)
                if is_drift:
                    records[DRIFT, place]["number"] = name_experts(of_experts, rises[place])
                counts[IS_WARNED] = 1
            elif wealth < 0.1 * WARNING_EVERY:
                counts[IS_WARNED] = 0
        if is_drift:
            start_anew(counts, numbers, bets, of_experts)
        counts[N_BASELINE] += 1
        n_averaged = min(counts[N_BASELINE], REMEMBERED)
        numbers[OF_MIXTURE] += (error - numbers[OF_MIXTURE]) / n_averaged
        if n_voted > 0:
            numbers[OF_EXPERTS] += (of_watched - numbers[OF_EXPERTS]) / n_averaged
        for e in range(n_experts):
            if said[row, e] != NO_VOTE:
                of_experts[N_VOTES, e] = min(of_experts[N_VOTES, e] + 1.0, REMEMBERED)
                gap = np.float64(said[row, e] == SAID_WRONG) - of_experts[AVERAGE, e]
                of_experts[AVERAGE, e] += gap / of_experts[N_VOTES, e]
    for e in range(replaced.shape[0]):
        n_new = replaced[e] - n_replaced[e]
        if n_replaced[e] != UNKNOWN and n_new > 0:
            put(counts, records, REPLACED, seen[0], e, n_new, of_experts[AVERAGE, e], 0.0)
        n_replaced[e] = replaced[e]


NOT_COUNTED = np.empty(0, np.int64)
"""Trees replaced so far, between two steps of the router."""

_COUNTS = ("n_in_baseline", "n_in_rise", "is_warned", "n_classes", "n_features")

_RECORDS = ("warnings", "drifts", "replaced_trees", "new_classes", "new_features")

_STATE = ("counts", "numbers", "bets", "of_experts", "n_replaced", "n_records", *_RECORDS, "rises")
