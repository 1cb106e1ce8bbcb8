"""A stream as lines of JSON, one a sample, for programs that read events."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from typing import TextIO

import numpy as np

from streams.stream import Stream

_REPORT_EVERY = 1_000


def write_lines(
    stream: Stream,
    file: TextIO,
    *,
    n_samples: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write samples as lines `{"features": {...}, "label": ...}`.

    Parameters
    ----------
    stream
        The stream. Names of features become text. Missing values are left out.
    file
        Text file. It may be a pipe: a line is written when its sample is there.
    n_samples
        Largest number of samples. A stream without end is written until the reader has gone.
    progress
        Called with the number of samples written so far, now and then.

    Returns
    -------
    int
        The number of samples written.
    """
    n = 0
    for x, y in islice(iter(stream), n_samples):
        features = {
            str(name): _plain(value) for name, value in x.items() if value == value and value is not None
        }
        file.write(json.dumps({"features": features, "label": _plain(y)}, ensure_ascii=False) + "\n")
        n += 1
        if progress is not None and n % _REPORT_EVERY == 0:
            progress(n)
    file.flush()
    return n


def _plain(value: object) -> object:
    """Return a number of numpy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value
