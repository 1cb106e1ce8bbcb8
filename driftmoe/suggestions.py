"""What a user may have meant by a name that is not known. The same file is in `driftmoe` and in `streams`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

N_SHOWN = 12
"""Names that are listed where none is similar."""


def meant(name: object, known: Iterable[object], how_to_see_all: str = "") -> str:
    """Return the end of a message about an unknown name: the most similar names, or the first of a short list.

    Parameters
    ----------
    name
        What the user gave.
    known
        What is allowed.
    how_to_see_all
        A sentence that is added if not all names are listed.

    Examples
    --------
    >>> meant("amunt", ["time", "amount"])
    "did you mean 'amount'?"
    >>> meant("y", ["time", "amount"])
    'there are time, amount'
    """
    names = list(dict.fromkeys(map(str, known)))
    by_lower = {one.lower(): one for one in reversed(names)}
    close = [by_lower[one] for one in difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.6)]
    rest = f" {how_to_see_all}" if how_to_see_all else ""
    if close:
        *first, last = map(repr, close)
        return f"did you mean {', '.join(first)}{' or ' if first else ''}{last}?{rest}"
    if len(names) <= N_SHOWN:
        return f"there are {', '.join(names)}" if names else "there are none"
    return (
        f"there are {', '.join(names[:N_SHOWN])} and {len(names) - N_SHOWN:,} more{';' if rest else ''}{rest}"
    )
