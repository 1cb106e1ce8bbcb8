"""What a model noticed while it learnt: warnings, drifts, replaced trees, new classes and features."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from driftmoe.mixture.watch import (
    DRIFT,
    KINDS,
    LEAST_VOTES,
    NEW_CLASS,
    NEW_FEATURE,
    REPLACED,
    WARNING,
    Watch,
)
from driftmoe.wording import for_json


class ExpertRise(NamedTuple):
    """The error of an expert before and after a drift.

    Attributes
    ----------
    expert
        Its name, as in `routing_report().cumulative.experts`.
    before, after
        Share of wrong votes: among about the last 5000 before the rise, at least 100, and from its start, the event's
        `since`, to the alarm.
    n_votes
        Number of votes that `after` is the mean of. With few of them, `after` is a rough figure, and too high rather
        than too low, since the experts with the largest rises are named.
    """

    expert: str
    before: float
    after: float
    n_votes: int


class Event(NamedTuple):
    """Something that a model noticed while it learnt.

    Attributes
    ----------
    sample
        Number of the learnt sample, from 1, with which it was noticed. Samples of weight 0 and samples that bounds left
        out are not counted.
    kind
        - `"warning"`: errors may have risen. Without a drift, at most ten false warnings in 100 000 samples are aimed
          at. `benchmarks/results/alarms.md` has 1 to 7 on streams without drift. Of streams with drifts, outside of
          these, it has 0 to 6 on most, and 10 and 14 on two of LED.
        - `"drift"`: errors have risen. Without a drift, at most one false alarm in 100 000 samples is aimed at. The
          same table has 0 to 0.5 on most streams without drift, but 1.4 on AssetNegotiation and 2.3 on LED. Of streams
          with drifts, outside of these, it has 0 to 0.7 on most, but 3 to 8 on LED, where the experts still change long
          after a drift. One gradual drift may give two to four events, since the detector starts anew at each.
        - `"tree replaced"`: the tree of an expert was replaced, because its own detector found a drift. `sample` is the
          last of the router's mini-batch in which this happened.
        - `"new class"`, `"new feature"`: a label, or names of features, were learnt for the first time.
    names
        The new labels or features, or the expert with the new tree; empty for a warning or a drift.
    before, after
        For a warning or a drift, the mixture's prequential error before the rise began (the mean of about the last 5000
        samples since the last drift alarm), and the mean from its start to the alarm. The start is estimated from the
        same errors. So `after` tends to be too high, by about one point for rises from 10 to 13 % and from 20 to 24 %,
        and is a rough figure if `n_samples` is below about 100. It may be below `before` if the experts' errors rose
        most. For a replaced tree, `before` is the expert's error since the last drift alarm, among about its last 5000
        votes, those of trees replaced earlier included. It is `None` with fewer than 100 votes. Otherwise `None`.
    since
        For a warning or a drift, the number of the sample at which errors most likely began to rise; otherwise `None`.
        The smaller the rise, the less certain: half of the dates were within 5 samples of a rise from 10 to 30 %. They
        were within 60 of a rise from 10 to 13 % with five experts that err independently, and within 300 if only the
        mixture was watched. A rise that grows slowly is dated after its beginning.
    n_samples
        For a warning or a drift, the number of samples from `since` to the alarm, which `after` is the mean of. For a
        replaced tree, the number of votes that `before` is the mean of, or `None`. Otherwise `None`.
    experts
        For a drift, the experts whose errors rose most in standard errors, by more than three: at most three. Those
        with fewer than 100 votes before the rise are left out.

    Examples
    --------
    >>> from driftmoe import DriftMoEClassifier
    >>> model = DriftMoEClassifier(seed=1)
    >>> model.learn_one({"x": 1.0}, "yes")
    >>> [(event.sample, event.kind, event.names) for event in model.events()]
    [(1, 'new class', ('yes',)), (1, 'new feature', ('x',))]
    """

    sample: int
    kind: str
    names: tuple[Hashable, ...] = ()
    before: float | None = None
    after: float | None = None
    since: int | None = None
    n_samples: int | None = None
    experts: tuple[ExpertRise, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the event as values that JSON can hold. A name that JSON has no word for becomes text."""
        return {
            **self._asdict(),
            "names": [for_json(name) for name in self.names],
            "experts": [one._asdict() for one in self.experts],
        }

    def __str__(self) -> str:
        """Return the event as a sentence."""
        names = ", ".join(map(str, self.names))
        if self.kind == "tree replaced":
            text = f"{names} was replaced after drift"
            if self.before is None or self.n_samples is None:
                return text
            return f"{text}; its error was {_percent(self.before)} in its last {self.n_samples:,} votes"
        if self.kind in ("new class", "new feature"):
            return f"{self.kind}: {names}"
        samples = "sample" if self.n_samples == 1 else f"{self.n_samples:,} samples"
        when = f"in the last {samples}, since sample {self.since:,}"
        text = f"the error rose from {_percent(self.before)} to {_percent(self.after)} {when}"
        if self.before is not None and self.after is not None and self.after <= self.before:
            text = (
                f"the errors of experts rose {when}; the mixture's error was {_percent(self.before)} before and "
                f"{_percent(self.after)} in these samples"
            )
        if self.kind == "warning":
            return f"{text}, perhaps by chance"
        rises = [f"{one.expert} ({_percent(one.before)} to {_percent(one.after)})" for one in self.experts]
        return f"{text}; most of all that of {', '.join(rises)}" if rises else text


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100.0 * share:.1f} %"


def events_of(
    watch: Watch,
    since: int,
    *,
    experts: Sequence[str],
    classes: Sequence[Hashable],
    features: Sequence[Hashable],
) -> list[Event]:
    """Return the events from after sample number `since`, in order; `experts` and the others are the names."""
    found = []
    for kind, record, rises in watch.rows():
        if record["sample"] <= since:
            continue
        event = Event(record["sample"], KINDS[kind])
        if kind in (WARNING, DRIFT):
            rose = tuple(
                ExpertRise(experts[r["expert"]], r["before"], r["after"], r["n_votes"]) for r in rises
            )
            event = event._replace(
                before=record["before"],
                after=record["after"],
                since=record["first"],
                n_samples=record["n_samples"],
                experts=rose,
            )
        elif kind == REPLACED:
            event = event._replace(names=(experts[record["first"]],))
            if record["n_samples"] >= LEAST_VOTES:
                event = event._replace(before=record["before"], n_samples=record["n_samples"])
        else:
            names = {NEW_CLASS: classes, NEW_FEATURE: features}[kind]
            event = event._replace(names=tuple(names[record["first"] : record["first"] + record["number"]]))
        found.append(event)
    return found
