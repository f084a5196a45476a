"""Sets up a process's log: its format, the levels, and what would otherwise reach stderr past it."""

from __future__ import annotations

import logging
import logging.config
import sys
import threading
from types import TracebackType
from typing import Any, Final

from temporalio import activity, workflow

from activities.log_settings import LogSettings

logger = logging.getLogger("stagehook")

FORMATTERS: Final = {"text": "receiver.logs.LineFormatter", "json": "receiver.logs.JSONFormatter"}

FOR_PEOPLE: Final = LogSettings()

ACTIVITY_FAILURE: Final = "__temporal_error_identifier"
"""What Temporal's SDK calls the line that it logs for each failed activity."""


class OncePerFailure(logging.Filter):
    """Drops the SDK's line, with its traceback, about a failure that `activities.call_errors` has logged in a line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        error = record.exc_info[1] if record.exc_info else None
        return not (hasattr(record, ACTIVITY_FAILURE) and getattr(error, "is_logged", False))


def log_config(settings: LogSettings = FOR_PEOPLE) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`, and for uvicorn, which applies it in each process."""
    ours = getattr(logging, settings.level.upper())
    # Below INFO, libraries log payloads, headers and URLs, with personal data and credentials.
    others = max(ours, logging.INFO)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": FORMATTERS[settings.format]}},
        "filters": {"once": {"()": "receiver.log_setup.OncePerFailure"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": others, "handlers": ["stderr"]},
        "loggers": {
            "stagehook": {"level": ours},
            # httpx logs every request with its URL at INFO.
            "httpx": {"level": max(ours, logging.WARNING)},
            "httpcore": {"level": max(ours, logging.WARNING)},
            "temporalio.activity": {"filters": ["once"]},
            # At a stop it says two lines for each task queue, of which a partner has two.
            "temporalio.worker._worker": {"level": max(ours, logging.WARNING)},
        },
    }


def start_logging(settings: LogSettings) -> None:
    """Set up this process's log. What Python itself would write to stderr becomes events too."""
    logging.config.dictConfig(log_config(settings))
    # No line says where in the code it was logged, and finding that out costs a sixth of a line; see Python's logging
    # how-to, "Optimization".
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # The ids of the activity or workflow are facts of the line; in its message they would be there twice.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    sys.unraisablehook = lambda one: _log_uncaught(one.exc_type, one.exc_value, one.exc_traceback)
    threading.excepthook = lambda one: _log_uncaught(one.exc_type, one.exc_value, one.exc_traceback)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, SystemExit | KeyboardInterrupt):
        logger.critical("uncaught", exc_info=(kind, error, trace))
