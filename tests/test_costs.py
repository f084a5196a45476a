"""What a run costs at Temporal: the events of its history, and the actions that Temporal Cloud bills."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.testing import WorkflowEnvironment

from activities.finding import register_attributes
from activities.runs import Runs
from tests.parts.happy_runs import GIVEN, answer_each_wait
from tests.support import (
    QUEUE,
    RUN_TIMEOUT,
    ScriptedPartner,
    call_back,
    operate,
    pipeline,
    result_of,
    stage,
    until,
    waiting,
    working,
)
from workflows.pipelines import ONBOARDING

BILLED: Final = {
    "workflow_execution_started": "starts",
    "activity_task_scheduled": "activities",
    "timer_started": "timers",
    "workflow_execution_signaled": "signals",
    "workflow_execution_update_accepted": "updates",
    "upsert_workflow_search_attributes": "upserts",
    "marker_recorded": "markers",
    "start_child_workflow_execution_initiated": "children",
    "signal_external_workflow_execution_initiated": "signals to others",
    "request_cancel_external_workflow_execution_initiated": "cancellations of others",
    "workflow_properties_modified": "memos",
}
"""Events by what Temporal Cloud bills for them, https://docs.temporal.io/cloud/actions, and more to be safe."""


def actions(events: Iterable[HistoryEvent]) -> Counter[str]:
    kinds = [str(event.WhichOneof("attributes")).removesuffix("_event_attributes") for event in events]
    return Counter(BILLED[kind] for kind in kinds if kind in BILLED)


def events_of_a_calm_server(events: Sequence[HistoryEvent]) -> int:
    """The number of events, where a task that timed out on a busy machine does not count: a task has three events."""
    kinds = Counter(str(event.WhichOneof("attributes")) for event in events)
    others = sum(count for kind, count in kinds.items() if not kind.startswith("workflow_task_"))
    return others + 3 * kinds["workflow_task_completed_event_attributes"]


@pytest.mark.system
async def test_search_attributes_cost_an_action_for_each_stage(real: WorkflowEnvironment) -> None:
    await register_attributes(real.client)
    async with working(real.client, ScriptedPartner()), asyncio.timeout(RUN_TIMEOUT):
        handle = await Runs(real.client).start(ONBOARDING, GIVEN, task_queue=QUEUE)
        events = await answer_each_wait(handle)
    assert actions(events) == {"starts": 1, "activities": 4, "timers": 4, "signals": 4, "upserts": 4}


@pytest.mark.system
async def test_a_person_costs_two_more_search_attributes(real: WorkflowEnvironment) -> None:
    """One when the person is needed, and one at the command; the end of the wait adds none."""
    await register_attributes(real.client)
    partner = ScriptedPartner()
    stages = pipeline(stage(1, timeout=0.5, on_timeout="escalate"), stage(2))
    async with working(real.client, partner):
        handle = await Runs(real.client).start(stages, {}, task_queue=QUEUE)
        await until(handle, 1, lambda one: one.state == "needs_person")
        await operate(handle, "succeed")
        await waiting(handle, 2)
        await call_back(handle, partner.calls[1])
        await result_of(handle)
    events = (await handle.fetch_history()).events
    assert actions(events) == {"starts": 1, "activities": 2, "timers": 3, "updates": 1, "signals": 1, "upserts": 4}


async def test_a_happy_run_takes_53_events_and_13_actions(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()), asyncio.timeout(RUN_TIMEOUT):
        handle = await Runs(real.client).start(ONBOARDING, GIVEN, task_queue=QUEUE)
        events = await answer_each_wait(handle)
    assert events_of_a_calm_server(events) == 53
    assert actions(events) == {"starts": 1, "activities": 4, "timers": 4, "signals": 4}
