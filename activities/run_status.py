"""A run's status, its open calls' trouble and its failure, as Temporal itself knows them, in words."""

from __future__ import annotations

from collections.abc import Iterator

from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import FailureError


def status_name(status: WorkflowExecutionStatus | None) -> str:
    """A run's status in lower case: running, completed, failed, canceled, terminated, timed_out."""
    return status.name.lower() if status else "unknown"


def call_trouble(described: WorkflowExecutionDescription) -> Iterator[str]:
    """Yield the last failure of each call that is being retried. Until a call is given up, only Temporal knows it."""
    for pending in described.raw_description.pending_activities:
        if pending.last_failure.message:
            yield f"call tried {pending.attempt} times, last: {pending.last_failure.message}"


def run_failure_text(error: WorkflowFailureError) -> str:
    """Return in one line why a run failed."""
    cause: BaseException = error.cause
    while isinstance(cause, FailureError) and cause.cause is not None:
        cause = cause.cause
    return cause.message if isinstance(cause, FailureError) else str(cause)
