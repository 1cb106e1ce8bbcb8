"""Malformed rows: the errors that name what is wrong, and the count of rows that were left out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class BadRows:
    """The malformed rows that a reading left out.

    Attributes
    ----------
    count
        Number of rows.
    reasons
        What was wrong with the first few (at most 10), with line and column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from streams.files import CSVStream
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "weather.csv")
    ...     _ = path.write_text("degrees,rain\\n14.5,yes\\n21\\n")
    ...     stream = CSVStream(path, on_bad_row="skip")
    ...     n_samples = len(list(stream))
    >>> n_samples, stream.bad_rows.count
    (1, 1)
    """

    count: int = 0
    reasons: list[str] = field(default_factory=list)


class BadRowError(ValueError):
    """A row is malformed. The message says why. The caller adds the file and the line before it."""


class OpenQuoteError(BadRowError):
    """A quote in a row is not closed, so that the end of the row is not certain."""
