"""How the partner activities are scheduled: their timeouts, retries, and summaries in Temporal's UI."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy

from workflows.contract import Answer, PartnerActivities, Question, Receipt, Stage, StageCall

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
"""Seconds in which asking that fails is tried again: an older worker does not know the activity, a newer one does."""


def start_call(stage: Stage, call: StageCall) -> asyncio.Task[Receipt]:
    """Start the call to the stage's partner."""
    return workflow.start_activity_method(
        PartnerActivities.call_partner,
        call,
        start_to_close_timeout=timedelta(seconds=stage.call_timeout),
        schedule_to_close_timeout=timedelta(seconds=stage.call_within),
        retry_policy=CALL_RETRIES,
        summary=f"{stage.number} {stage.name}: call {call.attempt} of {stage.partner}",
    )


def start_asking(stage: Stage, question: Question) -> asyncio.Task[Answer]:
    """Start asking the stage's partner how the work of its call stands."""
    return workflow.start_activity_method(
        PartnerActivities.ask_partner,
        question,
        start_to_close_timeout=timedelta(seconds=stage.call_timeout),
        schedule_to_close_timeout=timedelta(seconds=min(stage.call_within, ASK_WITHIN)),
        retry_policy=ASK_RETRIES,
        summary=f"{stage.number} {stage.name}: ask {stage.partner}",
    )
