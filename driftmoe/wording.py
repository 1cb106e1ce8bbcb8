"""Words of explanations: names, values, shares and bars as text, and lines that fit a terminal."""

from __future__ import annotations

import math
from textwrap import fill
from typing import Any

import numpy as np

WIDTH = 79
"""Characters in a line of text, for a terminal of 80 columns."""

LONGEST = 22
"""Characters of a name or a value in a table."""

FULL_BAR = 20
"""Characters of the longest bar."""


def bar(value: float, largest: float) -> str:
    """Return a bar of at most `FULL_BAR` characters: `#` for what is above 0, `-` for what is below."""
    n = round(FULL_BAR * abs(value) / largest) if largest > 0.0 else 0
    return ("#" if value > 0.0 else "-") * n


def percent(share: float) -> str:
    """Return a share as text that does not claim certainty: 99.96 % is not 100 %."""
    if 0.0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1.0:
        return ">99.9 %"
    return f"{100.0 * share:.0f} %" if share in (0.0, 1.0) else f"{100.0 * share:.1f} %"


def counted(n: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def quoted(value: Any) -> str:
    """Return a label or a name between quotation marks, cut if it is long."""
    return f'"{short(value)}"'


def short(value: Any) -> str:
    """Return a value as one line of text, cut if it is long."""
    text = unicode(" ".join(str(value).split()))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def unicode(text: str) -> str:
    """Return a text in which lone surrogates, which no file and no terminal can hold, are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown_value(value: Any) -> str:
    """Return the value of a feature as text."""
    if value is None:
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else short(value)


def signed(points: float) -> str:
    """Return percentage points with their sign."""
    return "0.0" if abs(points) < 0.05 else f"{points:+.1f}"


def wrapped(text: str, indent: str = "") -> str:
    """Return lines of text, in which a number and its percent sign stay together."""
    more = indent + "  " if indent else ""
    joined = text.replace(" %", "\0%")
    lines = fill(
        joined,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=more,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace("\0", " ")


def for_json(value: Any) -> Any:
    """Return a label, name or value as JSON has it: plain values as they are, others as valid Unicode."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, tuple):  # numpy's scalars in it are numbers, too
        return unicode(str(tuple(one.item() if isinstance(one, np.generic) else one for one in value)))
    return unicode(str(value))
