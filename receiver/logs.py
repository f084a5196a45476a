"""How the processes log: one line an event on stderr, its name first, its facts behind it as key=value."""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Final

STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
    "temporal_log",
}


class LineFormatter(logging.Formatter):
    """`2026-01-02T03:04:05Z INFO stagehook.callbacks callback verdict=accepted stage=2`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """UTC, to the second."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line, with the record's extra facts appended."""
        facts = {key: value for key, value in vars(record).items() if key not in STANDARD and not key.startswith("_")}
        return " ".join([super().formatMessage(record), *(f"{key}={_plain(value)}" for key, value in facts.items())])


def _plain(value: Any) -> str:
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
