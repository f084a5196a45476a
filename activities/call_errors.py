"""CallError: the error of a call to a partner, or of a question; and the log line and the metric of each try."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from temporalio import activity
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from workflows.contract import NOT_REACHED, REFUSED, StageCall
from workflows.settlements import label_text

logger = logging.getLogger("stagehook.calls")

UNCLEAR: Final = "PartnerUnclear"
"""Error type of a try that the partner may have accepted."""

NOT_ASKED: Final = "PartnerNotAsked"
"""Error type of a question without an answer."""

RESULTS: Final[Mapping[str, str]] = {
    REFUSED: "refused",
    NOT_REACHED: "not_reached",
    UNCLEAR: "unclear",
    NOT_ASKED: "unanswered",
}
"""The word of a metric for each error type."""

MOST_DOUBLINGS: Final = 20
"""Tries after which a pause has certainly reached its maximum. Without a limit the number would overflow."""


class CallError(ApplicationError):
    """What went wrong with a call. `reported` logs it, so the SDK's own line with a traceback is dropped.

    status: the HTTP status of the partner's answer, 0 without an answer. final: it is not retried. delay: the partner's
    own time until the next try.
    """

    is_logged: Final = True

    def __init__(
        self, message: str, *, kind: str, status: int = 0, final: bool = False, delay: timedelta | None = None
    ) -> None:
        super().__init__(
            message,
            type=kind,
            non_retryable=final,
            next_retry_delay=delay,
            # A try that is repeated is not a failure of the worker: the SDK's metrics do not count it as one.
            category=ApplicationErrorCategory.UNSPECIFIED if final else ApplicationErrorCategory.BENIGN,
        )
        self.status = status


@contextmanager
def reported(event: Literal["call", "ask"], call: StageCall) -> Iterator[None]:
    """Count the try that the block makes, and log it in a line.

    The line is `EVENT-failed` with the reason for a `CallError`, and `EVENT` at the level DEBUG for a success.
    """
    try:
        with _logged(event, call):
            yield
    except CallError as error:
        _count(event, call.partner, RESULTS[error.type or ""])
        raise
    except asyncio.CancelledError:
        _count(event, call.partner, "cancelled")
        raise
    except Exception:
        _count(event, call.partner, "error")
        raise
    _count(event, call.partner, "accepted" if event == "call" else "answered")


def _count(event: str, partner: str, result: str) -> None:
    says = "Tries of calls to partners." if event == "call" else "Questions to partners about their work."
    counter = activity.metric_meter().create_counter(f"stagehook_{event}s", says)
    counter.add(1, {"partner": label_text(partner), "result": result})


@contextmanager
def _logged(event: str, call: StageCall) -> Iterator[None]:
    facts: dict[str, Any] = {
        "partner": call.partner,
        "pipeline": call.pipeline,
        "workflow_id": call.workflow_id,
        "stage": call.stage,
        "attempt": call.attempt,
        "try": activity.info().attempt,
    }
    try:
        yield
    except CallError as error:
        status = {"status": error.status} if error.status else {}
        logger.warning(f"{event}-failed", extra={**facts, **status, "why": error.message, **_next_try(error)})
        raise
    logger.debug(event, extra=facts)


def _next_try(error: CallError) -> dict[str, float | bool]:
    """Tell in how many seconds the next try begins, or that the last one has failed; nothing if only Temporal knows."""
    if error.non_retryable:
        return {"final": True}
    info = activity.info()
    pause, policy = error.next_retry_delay, info.retry_policy
    if policy is not None:
        if policy.maximum_attempts and info.attempt >= policy.maximum_attempts:
            return {"final": True}
        pause = pause or _pause_after(info.attempt, policy)
    if pause is None:
        return {}
    if (
        info.schedule_to_close_timeout
        and datetime.now(UTC) + pause >= info.scheduled_time + info.schedule_to_close_timeout
    ):
        return {"final": True}
    return {"again_in": round(pause.total_seconds(), 3)}


def _pause_after(attempt: int, policy: RetryPolicy) -> timedelta:
    """Return Temporal's pause after this try."""
    longest = policy.maximum_interval or 100 * policy.initial_interval
    growth = policy.backoff_coefficient ** min(attempt - 1, MOST_DOUBLINGS)
    return min(policy.initial_interval * growth, longest)
