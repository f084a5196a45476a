"""The words for the status of a run. It imports nothing, so that a command can name them before it needs Temporal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RUN_STATUSES: Final[Mapping[str, str]] = {
    "running": "Running",
    "completed": "Completed",
    "failed": "Failed",
    "canceled": "Canceled",
    "terminated": "Terminated",
    "timed_out": "TimedOut",
}
"""The status of a run, and Temporal's word for it."""
