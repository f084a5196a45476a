"""Parts that tests put together: a pipeline, a scripted partner, a worker, and waiting with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.signal_senders import SignalSenders
from activities.worker import WORKFLOWS, workflow_runner
from tests.parts.one_queue import OneQueue
from workflows.contract import (
    ADVANCE_STAGE,
    OPERATE,
    PIPELINE_WORKFLOW,
    PROGRESS,
    Action,
    Answer,
    Applied,
    Callback,
    Command,
    Pipeline,
    PipelineResult,
    PipelineRun,
    Progress,
    Question,
    Receipt,
    Stage,
    StageCall,
    StageProgress,
)

KEY = "a-key-for-tests-0123456789-abcdefghij"
QUEUE = "tests"
SOON = 10.0
"""Seconds: the bound on every wait of a test."""
RUN_TIMEOUT = 6 * SOON
"""For what takes a worker, a server and a client, which a busy machine runs one after another."""

DEADLOCK_TIMEOUT = 15
"""Seconds that a workflow may compute in a task. A busy machine lets a sound one exceed Temporal's two."""

Handle = WorkflowHandle[Any, PipelineResult]


def stage(number: int, **changes: Any) -> Stage:
    """A stage `step-N` of partner `partner-N` that waits an hour."""
    settings: dict[str, Any] = {"name": f"step-{number}", "partner": f"partner-{number}", "timeout": 3600.0}
    return Stage(number=number, **{**settings, **changes})


def pipeline(*stages: Stage) -> Pipeline:
    return Pipeline(name="testing", stages=stages)


def nested(levels: int) -> list[Any]:
    """Lists within lists, so many levels deep."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


class ScriptedPartner:
    """Takes the place of `PartnerCalls`: notes every call, and does with it what the test says."""

    def __init__(
        self,
        answer: Callable[[StageCall], Awaitable[Receipt]] | None = None,
        status: Callable[[Question], Awaitable[Answer]] | None = None,
    ) -> None:
        self.calls: list[StageCall] = []
        self.questions: list[Question] = []
        self.asked = asyncio.Event()
        self._answer = answer
        self._status = status

    @activity.defn
    async def call_partner(self, call: StageCall) -> Receipt:
        self.calls.append(call)
        self.asked.set()
        if self._answer:
            return await self._answer(call)
        return Receipt(reference=f"work-{len(self.calls)}", askable=self._status is not None)

    @activity.defn
    async def ask_partner(self, question: Question) -> Answer:
        self.questions.append(question)
        assert self._status is not None, "asked, and cannot be"
        return await self._status(question)


@asynccontextmanager
async def working(
    client: Client, partner: ScriptedPartner, workflows: Sequence[type] = WORKFLOWS, *, cached: int = 1_000
) -> AsyncIterator[Worker]:
    """A worker with the real runner and a scripted partner. cached: runs that are not replayed at each task."""
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=workflows,
        activities=[partner.call_partner, partner.ask_partner],
        interceptors=[SignalSenders(), OneQueue()],
        workflow_runner=workflow_runner(),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        max_cached_workflows=cached,
    ) as worker:
        if of_workflows := worker._workflow_worker:
            of_workflows._deadlock_timeout_seconds = DEADLOCK_TIMEOUT
        yield worker


async def start(
    client: Client,
    *stages: Stage,
    given: dict[str, Any] | None = None,
    id: str = "run",  # noqa: A002
    task_timeout: timedelta | None = None,
    kind: str = PIPELINE_WORKFLOW,
) -> Handle:
    return await client.start_workflow(
        kind,
        PipelineRun(pipeline(*stages), given or {}),
        id=id,
        task_queue=QUEUE,
        result_type=PipelineResult,
        memo={"pipeline": "testing"},
        task_timeout=task_timeout,
    )


async def call_back(handle: Handle, call: StageCall, answer: Answer | None = None, **claims: Any) -> None:
    """Signal a callback to this call, as the receiver does; `claims` changes what its token says."""
    callback = Callback(answer or Answer("succeeded"), call.chain_id, call.attempt, call.issued_at)
    await handle.signal(ADVANCE_STAGE, args=[claims.pop("stage", call.stage), {**asdict(callback), **claims}])


async def operate(handle: Handle, action: Action, number: int = 1, **changes: Any) -> Applied:
    """Send an operator's command, and wait until the run has applied it."""
    fields = {"id": f"{action}-{number}", "actor": "alice", "reason": "as agreed", **changes}
    command = Command(action=action, stage=number, **fields)
    async with asyncio.timeout(RUN_TIMEOUT):
        applied: Applied = await handle.execute_update(OPERATE, command, id=command.id, result_type=Applied)
    return applied


async def progress_of(handle: Handle) -> Progress:
    return cast(Progress, await handle.query(PROGRESS, result_type=Progress))


async def until(
    handle: Handle, number: int, holds: Callable[[StageProgress], bool], within: float = RUN_TIMEOUT
) -> StageProgress:
    """The stage's progress as soon as `holds` says yes."""
    async with asyncio.timeout(within):
        while True:
            progress = await progress_of(handle)
            found = [stage for stage in progress.stages if stage.number == number]
            if found and holds(found[0]):
                return found[0]
            await asyncio.sleep(0.02)


async def waiting(handle: Handle, number: int = 1, attempt: int = 1) -> StageProgress:
    """The stage once it waits for the callback of this attempt."""
    return await until(handle, number, lambda stage: stage.state == "waiting" and stage.attempts == attempt)


async def result_of(handle: Handle, within: float = RUN_TIMEOUT) -> PipelineResult:
    async with asyncio.timeout(within):
        return await handle.result()


async def failure_of(handle: Handle) -> ApplicationError:
    """The typed error that the run ended with."""
    with pytest.raises(WorkflowFailureError) as raised:
        await result_of(handle)
    assert isinstance(raised.value.cause, ApplicationError)
    return raised.value.cause


async def skip_time(env: WorkflowEnvironment, **duration: float) -> None:
    await env.sleep(timedelta(**duration))


async def count_events(handle: Handle, kind: str) -> int:
    return len([None async for event in handle.fetch_history_events() if event.WhichOneof("attributes") == kind])


async def until_event(handle: Handle, kind: str, least: int = 1) -> None:
    async with asyncio.timeout(RUN_TIMEOUT):
        while await count_events(handle, kind) < least:
            await asyncio.sleep(0.05)


FIRST_TASK = 4
"""The event with which a run's first workflow task completes."""


async def task_before_the_first_signal(handle: Handle) -> int:
    """The event with which the last workflow task before it completed."""
    completed = FIRST_TASK
    async for event in handle.fetch_history_events():
        match event.WhichOneof("attributes"):
            case "workflow_execution_signaled_event_attributes":
                break
            case "workflow_task_completed_event_attributes":
                completed = event.event_id
    return completed


async def reset(client: Client, handle: Handle, to: int = FIRST_TASK, *, without_signals: bool = False) -> None:
    """Reset the run to this event; the signals since are applied again unless they are left out."""
    left_out = [ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL] if without_signals else []
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            reason="a test",
            workflow_task_finish_event_id=to,
            request_id="reset",
            reset_reapply_exclude_types=left_out,
        )
    )
