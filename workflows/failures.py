"""What an activity's failure says, and what it proves about the partner."""

from __future__ import annotations

from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as TimeoutFailure

from workflows.contract import NOT_REACHED


def was_never_started(error: ActivityError) -> bool:
    """Whether no worker started the activity."""
    cause = error.cause
    return isinstance(cause, TimeoutFailure) and cause.type == TimeoutType.SCHEDULE_TO_START


def was_never_reached(error: ActivityError) -> bool:
    """Whether the partner cannot have accepted any try. A timeout proves nothing: it ended a try in flight."""
    return isinstance(error.cause, ApplicationError) and error.cause.type == NOT_REACHED


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
