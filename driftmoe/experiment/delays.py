"""Delays of labels as the text of a run: read, written, and told."""

from __future__ import annotations

import re
from decimal import Decimal

from driftmoe.evaluation import Delay, TimeDelay
from driftmoe.evaluation.clock import SECONDS, seconds_of

BY = " by "
"""Stands between the delay and the column of the time in the text of a delay by time."""

DIGITS = 9
"""Digits after the point of the seconds of a delay."""


def parsed_delay(text: str) -> Delay:
    """Return a delay for `prequential`.

    `"1000"` is a number, `"100-2000"` a range, `"1 day by when"` a time by the column `when`, and other text the name
    of a column.
    """
    if re.fullmatch(r"\d+", text):
        return int(text)
    if match := re.fullmatch(r"(\d+)-(\d+)", text):
        low, high = int(match[1]), int(match[2])
        if low > high:
            raise ValueError(f"delay {text!r}: {low} is above {high}; write the lower number first")
        return low, high
    if (timed := _timed(text)) is not None:
        return timed
    if not text:
        raise ValueError(
            "delay ''; write a number of samples, a range such as 100-2000, or the name of a column"
        )
    return text


def delay_by_time(delay: str, column: str | None) -> str:
    """Return the delay of a run from a text and the column of the time, if it is one of time.

    Raises
    ------
    ValueError
        If a time is given without a column, or a column without a time.
    """
    is_time = seconds_of(delay) is not None
    if column is not None:
        if not is_time:
            raise ValueError(
                f"time={column!r} needs a delay in time, and delay={delay!r} is none; write a number of "
                f"{', '.join(f'{unit}s' for unit in SECONDS)}, such as '1 day'"
            )
        return normal_delay(f"{delay}{BY}{column}")
    if is_time:
        raise ValueError(f"delay={delay!r} is a time; say which column holds the time of each sample: time=")
    return delay


def normal_delay(text: str) -> str:
    """Return a delay as it is always written: `60 min by when` is `1 hour by when`. Only those in time change."""
    timed = _timed(text)
    return text if timed is None else f"{_written(timed.seconds)}{BY}{timed.column}"


def told_delay(text: str) -> str:
    """Return how late labels are, for a title; empty without a delay."""
    delay = parsed_delay(text)
    if isinstance(delay, TimeDelay):
        return f"labels {_written(delay.seconds)} late (by `{delay.column}`)"
    if isinstance(delay, tuple):
        return f"labels {delay[0]:,} to {delay[1]:,} samples late"
    if isinstance(delay, int):
        return f"labels {delay:,} sample{'s' * (delay != 1)} late" if delay else ""
    return f"labels `{delay}` samples late"


def delay_options(text: str) -> list[str]:
    """Return the options of a command that give its runs this delay."""
    timed = _timed(text)
    return (
        ["--delay", text] if timed is None else ["--delay", _written(timed.seconds), "--time", timed.column]
    )


def _timed(text: str) -> TimeDelay | None:
    """Return the delay in time that a text is, or `None` if it is none."""
    written, _, column = text.partition(BY)
    seconds = seconds_of(written) if column else None
    return None if seconds is None else TimeDelay(seconds, column)


def _written(seconds: float) -> str:
    """Return seconds in the largest unit of which they are a whole number."""
    seconds = round(seconds, DIGITS)
    unit, size = next(
        (one for one in reversed(SECONDS.items()) if seconds >= one[1] and seconds % one[1] == 0.0),
        ("second", 1.0),
    )
    number = format(Decimal(repr(seconds / size)).normalize(), "f")
    return f"{number} {unit}{'s' * (number != '1')}"
