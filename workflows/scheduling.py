"""Scheduling of the partner activities: timeouts, retries, and summaries in Temporal's UI."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy

from workflows.contract import PartnerActivities, Question, Stage, StageCall
from workflows.lanes import ask_lane, call_lane

CALL_RETRIES: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=5),
)

ASK_RETRIES: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
)

ASK_WITHIN: Final = 300.0
"""Seconds during which a failed ask is retried: an older worker does not know the activity, a newer worker does."""


def start_call(stage: Stage, call: StageCall) -> asyncio.Task[RawValue | None]:
    """Start the call to the stage's partner, on its lane; `workflows.reading.read_receipt` reads the result."""
    # A replay does not compare the task queue. So a call that was scheduled without a lane stays in its main queue, and
    # a worker before lanes goes on with a run that has calls on lanes: once `call_within` has passed and no worker has
    # started such a call, it is scheduled again, on the main queue.
    # Start by name, for a raw result: given the method, the SDK would convert to its type and raise outside our code.
    return workflow.start_activity(
        PartnerActivities.call_partner.__name__,
        call,
        task_queue=call_lane(workflow.info().task_queue, stage.partner),
        result_type=RawValue,
        start_to_close_timeout=timedelta(seconds=stage.call_timeout),
        schedule_to_close_timeout=timedelta(seconds=stage.call_within),
        retry_policy=CALL_RETRIES,
        summary=f"{stage.number} {stage.name}: call {call.attempt} of {stage.partner}",
    )


def start_asking(stage: Stage, question: Question) -> asyncio.Task[RawValue | None]:
    """Start asking the stage's partner for the work's status; `workflows.reading.read_answer` reads the result."""
    return workflow.start_activity(
        PartnerActivities.ask_partner.__name__,
        question,
        task_queue=ask_lane(workflow.info().task_queue, stage.partner),
        result_type=RawValue,
        start_to_close_timeout=timedelta(seconds=stage.call_timeout),
        schedule_to_close_timeout=timedelta(seconds=min(stage.call_within, ASK_WITHIN)),
        retry_policy=ASK_RETRIES,
        summary=f"{stage.number} {stage.name}: ask {stage.partner}",
    )
