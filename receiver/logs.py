"""How the processes log: one line per event on stderr, with the event's name and then its facts as key=value.

A traceback follows its event in indented lines. Untrusted text, such as the message of an exception from a partner's
file, stays within its line: it cannot forge an event or control a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from types import TracebackType
from typing import Any, Final, TypeAlias

from activities.redaction.tokens import scrubbed_text

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
    "temporal_log",
}

FRAME: Final = re.compile(r'[ |+-]*File "[^"\n]*", line [0-9]+, in ')
LONGEST_LINE: Final = 1_000
LONGEST_TRACEBACK: Final = 50_000
"""Characters."""


class LineFormatter(logging.Formatter):
    """`2026-01-02T03:04:05Z INFO stagehook.callbacks callback verdict=accepted stage=2`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """The time in UTC, to the second."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        """Format the event, and remove callback tokens, which a partner's file may have quoted."""
        return scrubbed_text(super().format(record))

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - logging's own name
        """The traceback in indented lines, with the text of each exception on a single line."""
        if ei[0] is None:
            return ""
        text = "".join(map(_indented, traceback.TracebackException(*ei).format()))
        return text[:LONGEST_TRACEBACK].rstrip("\n")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line, with the record's extra facts at its end."""
        record.message = _printable(record.message)
        facts = {key: value for key, value in vars(record).items() if key not in STANDARD and not key.startswith("_")}
        return " ".join(
            [super().formatMessage(record), *(f"{key}={_logfmt_value(value)}" for key, value in facts.items())]
        )


def _indented(piece: str) -> str:
    """A piece of a traceback, indented: the lines of a frame, or an exception's text as a single line."""
    lines = piece.rstrip("\n").split("\n") if FRAME.match(piece) else [piece.rstrip("\n")]
    return "".join(f"    {_printable(line)[:LONGEST_LINE]}\n" for line in lines)


def _printable(text: str) -> str:
    """The text with unprintable characters escaped: `\\n`, `\\x1b`, `\\u2028`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _logfmt_value(value: Any) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(" =\"'") else json.dumps(text)


LOG_CONFIG: Final[dict[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "receiver.logs.LineFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {
        # httpx logs every request with its URL at INFO.
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
    },
}
"""For `logging.config.dictConfig`, and for uvicorn, which applies it in each of its processes."""
