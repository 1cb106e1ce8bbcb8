"""The options of files, which a command line can read before it reads a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True)
class FileOptions:
    """How a file is read: arguments of `streams.files.open_file` by the same names."""

    target: str | int | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    drop: Sequence[str] = ()
    nominal: Sequence[str] = ()
    delimiter: str | None = None
    header: bool | None = None
    missing: Sequence[str] = ()
    encoding: str | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, without `on_bad_row`."""
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        return {
            option.name: values[option.name]
            for option in fields(self)
            if option.name != "on_bad_row" and values[option.name] not in (option.default, [])
        }
