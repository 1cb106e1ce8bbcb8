"""Labels that come a time after their samples, such as a day: delays by the clock of the stream."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from driftmoe.suggestions import meant

SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3_600.0, "day": 86_400.0, "week": 604_800.0}
"""Unit -> its seconds."""

_SHORT = {"s": "second", "min": "minute", "m": "minute", "h": "hour", "d": "day", "w": "week"}

_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)

LATEST = 1e11
"""Seconds that no time reaches: it would be after the year 5138. Clocks that count milliseconds do."""

PARTS = {"nanoseconds": 1e9, "microseconds": 1e6, "milliseconds": 1e3}
"""Part of a second -> how many of them a second has."""

BLOCK = 4096
"""Samples that are read at once."""


@dataclass(frozen=True)
class TimeDelay:
    """A delay of labels in time: a label comes when the clock of the stream has advanced by so much.

    The clock is a column: the time of each sample, in seconds (milliseconds since 1970 are refused) or as ISO 8601
    text (without a zone it is UTC). It never goes back. A label that is due at the time of a sample comes after that
    sample has been predicted, so that with a sample each second, `seconds=3` is `delay=3`. The column is hidden from
    the model.

    Parameters
    ----------
    seconds
        The delay, 0 or more.
    column
        Name of the column that holds the time.

    Raises
    ------
    ValueError
        If the delay is negative or not finite.

    Examples
    --------
    >>> from driftmoe.evaluation import TimeDelay
    >>> samples = [({"at": 0}, "a"), ({"at": 10}, "b"), ({"at": 25}, "a"), ({"at": 70}, "b")]
    >>> TimeDelay(20, column="at").of(samples).tolist()
    [1, 1, 0, 0]
    """

    seconds: float
    column: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"seconds={self.seconds}; a label comes 0 seconds or more after its sample")

    def of(self, stream: Iterable[Any]) -> np.ndarray:
        """Return, for each sample of a stream, how many others come before its label; reads the stream once.

        Raises
        ------
        ValueError
            If the column is missing, holds no time, or a time is before the one of the sample before it.
        """
        times = np.fromiter(_times(stream, self.column), dtype=np.float64)
        backward = np.flatnonzero(np.diff(times) < 0)
        if len(backward):
            i = int(backward[0]) + 1
            raise ValueError(
                f"the time in column {self.column!r} goes back by {times[i - 1] - times[i]:,g} s at sample {i + 1:,}; "
                "sort the samples by time first"
            )
        # Label i is learnt after the last sample that is not later than the time at which it is due.
        after = np.searchsorted(times, times + self.seconds, side="right")
        return np.asarray(after - np.arange(len(times)) - 1, dtype=np.int64)


def seconds_of(text: str) -> float | None:
    """Return the seconds of a time such as `1 day`, `90 s` or `1.5 hours`; `None` if a text is none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    unit = match[2].lower()
    unit = _SHORT.get(unit, unit.removesuffix("s"))
    return float(match[1]) * SECONDS[unit] if unit in SECONDS else None


def _times(stream: Any, column: str) -> Iterator[float]:
    """Yield the time of each sample, in seconds."""
    if not hasattr(stream, "blocks"):
        for i, (x, _) in enumerate(stream):
            if column not in x:
                raise ValueError(f"sample {i + 1:,} has no {column!r}; {meant(column, x)}")
            yield _as_seconds(x[column], column, i)
        return
    names = [feature.name for feature in stream.features]
    if column not in names:
        raise ValueError(f"no column {column!r} for the time; {meant(column, names)}")
    at, n = names.index(column), itertools.count()
    values = stream.features[at].values
    for block in stream.blocks(BLOCK):
        for number in block.X[:, at].tolist():
            i = next(n)
            known = values is None or number != number
            yield _as_seconds(number if known else values[int(number)], column, i)


def _as_seconds(value: Any, column: str, i: int) -> float:
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(
                f"the time of sample {i + 1:,} in column {column!r} is missing; fill it in, or leave out the row"
            )
        seconds = float(value)
        if abs(seconds) >= LATEST:
            unit, n = next((unit, n) for unit, n in PARTS.items() if abs(seconds) >= LATEST * n / 1e3)
            raise ValueError(
                f"the time of sample {i + 1:,} in column {column!r} is {seconds:.15g}, which is no number of "
                f"seconds but looks like {unit}; divide it by {n:,.0f}, or write ISO 8601 such as 2024-05-31T13:45:00"
            )
        return seconds
    else:
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise ValueError(
                f"the time of sample {i + 1:,} in column {column!r} is {value!r}; write seconds, or ISO 8601 such as "
                "2024-05-31T13:45:00"
            ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
