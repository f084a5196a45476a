"""Lanes: the task queues of a partner, so that calls that hang hold up no other partner's."""

from __future__ import annotations


def call_lane(task_queue: str, partner: str) -> str:
    """The task queue of the partner's calls, for runs of this task queue."""
    return f"{task_queue}.{partner}"


def ask_lane(task_queue: str, partner: str) -> str:
    """The task queue of the questions to the partner, so that a question does not wait for calls that hang."""
    return f"{call_lane(task_queue, partner)}.ask"


def partner_of(lane: str) -> str:
    """The partner of a lane's task queue; the names of partners have no dots."""
    return lane.removesuffix(".ask").rpartition(".")[2]
