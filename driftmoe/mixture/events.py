"""What a model noticed while it learnt: warnings, drifts, replaced trees, new classes and features."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from driftmoe.mixture.watch import DRIFT, KINDS, NEW_CLASS, NEW_FEATURE, REPLACED, WARNING, Watch


class ExpertRise(NamedTuple):
    """The error of an expert before and after a drift.

    Attributes
    ----------
    expert
        Its name, as in `routing_report().cumulative.experts`.
    before, after
        Share of wrong votes: before the rise, and from its start to the alarm.
    """

    expert: str
    before: float
    after: float


class Event(NamedTuple):
    """Something that a model noticed while it learnt.

    Attributes
    ----------
    sample
        Number of the learnt sample, from 1, with which it was noticed. Samples of weight 0 and samples that bounds left
        out are not counted.
    kind
        - `"warning"`: errors may have risen. Without a drift, one false warning in 10 000 samples is aimed at.
        - `"drift"`: errors have risen. Without a drift, one false alarm in 100 000 samples is aimed at. Measured are 0
          to 0.3 on most streams, 2 on LED and AssetNegotiation, and on LED 3 to 8 from 2000 samples after a drift on,
          while the experts still change: see `benchmarks/results/alarms.md`.
        - `"tree replaced"`: the tree of an expert was replaced, because its own detector found a drift. `sample` is the
          last of the router's mini-batch in which this happened.
        - `"new class"`, `"new feature"`: a label, or names of features, were learnt for the first time.
    names
        The new labels or features, or the expert with the new tree; empty for a warning or a drift.
    before, after
        For a warning or a drift, the mixture's prequential error before the rise (the mean of about the last 5000
        samples), and from its start to the alarm. For a replaced tree, `before` is the expert's error. Otherwise
        `None`.
    since
        For a warning or a drift, the number of the sample at which errors seem to have begun to rise; otherwise `None`.
    experts
        For a drift, the experts whose errors rose most in standard errors, by more than three: at most three.
    """

    sample: int
    kind: str
    names: tuple[Hashable, ...] = ()
    before: float | None = None
    after: float | None = None
    since: int | None = None
    experts: tuple[ExpertRise, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the event as values that JSON can hold. A name that JSON has no word for becomes its `repr`."""
        return {
            **self._asdict(),
            "names": [_plain(name) for name in self.names],
            "experts": [one._asdict() for one in self.experts],
        }

    def __str__(self) -> str:
        """Return the event as a sentence."""
        names = ", ".join(map(str, self.names))
        if self.kind == "tree replaced":
            return f"{names} was replaced after drift; its error was {_percent(self.before)}"
        if self.kind in ("new class", "new feature"):
            return f"{self.kind}: {names}"
        text = f"the error rose from {_percent(self.before)} to {_percent(self.after)} since sample {self.since:,}"
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
            rose = tuple(ExpertRise(experts[r["expert"]], r["before"], r["after"]) for r in rises)
            event = event._replace(
                before=record["before"], after=record["after"], since=record["first"], experts=rose
            )
        elif kind == REPLACED:
            event = event._replace(names=(experts[record["first"]],), before=record["before"])
        else:
            names = {NEW_CLASS: classes, NEW_FEATURE: features}[kind]
            event = event._replace(names=tuple(names[record["first"] : record["first"] + record["number"]]))
        found.append(event)
    return found


def _plain(name: Hashable) -> Any:
    """Return a name that JSON can hold: text, bool, whole and finite number as they are, others as their `repr`."""
    if type(name) is float and not math.isfinite(name):
        return repr(name)
    if type(name) is str:
        return name if _is_unicode(name) else repr(name)
    return name if name is None or type(name) in (bool, int, float) else repr(name)


def _is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
