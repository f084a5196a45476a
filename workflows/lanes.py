"""Lanes: the task queues of a partner, so that calls that hang hold up no other partner's."""

from __future__ import annotations

import re
from typing import Final

LANE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""A partner's name that can be in the name of a task queue."""


def call_lane(task_queue: str, partner: str) -> str:
    """The task queue of the partner's calls, for runs of this task queue."""
    return _lane(task_queue, partner)


def ask_lane(task_queue: str, partner: str) -> str:
    """The task queue of the questions to the partner, so that a question does not wait for calls that hang."""
    return _lane(task_queue, partner, ".ask")


def _lane(task_queue: str, partner: str, end: str = "") -> str:
    # A definition may name its partners as it likes. Example: a name of 2,000 characters. Temporal refuses a task queue
    # of that name, and the run would be stuck; on the main queue a worker says that it has no such partner.
    return f"{task_queue}.{partner}{end}" if LANE_NAME.fullmatch(partner) else task_queue
