"""Log output: JSON lines for machines, one readable line for people. Ids and counts only: no formatter sees a body."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.logging import RichHandler

__all__ = ["configure", "silenced"]

_FIELDS = ("route", "exchange", "channel", "peer")  # what the engine attaches with `extra`


@contextmanager
def silenced(*, wanted: bool = True) -> Iterator[None]:
    """Nothing is logged meanwhile."""
    before = logging.root.manager.disable
    if wanted:
        logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, logger, message, and the ids attached to the record.

    An exception is written as its type and frames; its text may quote what it choked on, so it stays out.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, getattr(record, name)) for name in _FIELDS if hasattr(record, name))
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__qualname__
        return json.dumps(line, ensure_ascii=False)


def configure(log_format: str, level: str) -> None:
    """Send the logs of pfiflow, and warnings of its libraries, to standard error."""
    handler: logging.Handler
    if log_format == "console":
        handler = RichHandler(console=Console(stderr=True, emoji=False), show_path=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("pfiflow").setLevel(level.upper())
