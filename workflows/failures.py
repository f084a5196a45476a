"""What an activity's failure proves about the partner, and what it says."""

from __future__ import annotations

from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as TimeoutFailure

from workflows.contract import NOT_REACHED


def was_never_started(error: ActivityError) -> bool:
    """Whether no worker has taken the activity up."""
    cause = error.cause
    return isinstance(cause, TimeoutFailure) and cause.type == TimeoutType.SCHEDULE_TO_START


def was_never_reached(error: ActivityError) -> bool:
    """Whether no try can have been taken. A timeout proves nothing: the try that it ended was under way."""
    return isinstance(error.cause, ApplicationError) and error.cause.type == NOT_REACHED


def last_failure(error: ActivityError) -> ApplicationError | None:
    """What the partner or its network said last; a timeout wraps the failure of the try before."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ApplicationError):
        cause = cause.__cause__
    return cause


def failure_text(error: ActivityError, what: str) -> str:
    """Why `what` failed, for people, in one line."""
    last = last_failure(error)
    return last.message if last else f"{what} was given up: {error.cause or error}"
