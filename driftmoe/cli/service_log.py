"""The log of a worker on standard error: as text, or as lines of JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from driftmoe.cli.terminal import in_one_line


class TextLines(logging.Formatter):
    """Log records as lines of text. Names and messages of others cannot change the terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of logging
        """Return the line of a record."""
        return in_one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the lines of an exception."""
        return "\n".join(map(in_one_line, super().formatException(ei).split("\n")))


class JsonLines(logging.Formatter):
    """Log records as lines of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def begin_log(*, as_json: bool) -> None:
    """Write the log of the service to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    log = logging.getLogger("driftmoe.service")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
