"""What an activity's failure says, and what it proves about the partner."""

from __future__ import annotations

from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as TimeoutFailure

from workflows.contract import NOT_REACHED

HELD_CALLS: Final = "held-calls-were-not-reached"
"""The patch for a call that was given up while its next try waited. Earlier versions took it for a try in flight."""


def was_never_started(error: ActivityError) -> bool:
    """Whether no worker started the activity."""
    cause = error.cause
    return isinstance(cause, TimeoutFailure) and cause.type == TimeoutType.SCHEDULE_TO_START


def was_never_reached(error: ActivityError) -> bool:
    """Whether the partner cannot have accepted any try. A timeout that ended a try in flight proves nothing.

    Example: a try is not reached, the partner is paused, and the call's time is over before the pause is.
    """
    last = last_failure(error)
    if last is None or last.type != NOT_REACHED:
        return False
    return error.cause is last or (_ended_between_tries(error) and workflow.patched(HELD_CALLS))


def _ended_between_tries(error: ActivityError) -> bool:
    return isinstance(error.cause, TimeoutFailure) and error.started_event_id == 0


def last_failure(error: ActivityError) -> ApplicationError | None:
    """The last failure of the partner or its network; a timeout wraps the failure of the previous try."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ApplicationError):
        cause = cause.__cause__
    return cause


def failure_text(error: ActivityError, what: str) -> str:
    """Describe in one line why `what` failed."""
    last = last_failure(error)
    return last.message if last else f"{what} was given up: {error.cause or error}"
