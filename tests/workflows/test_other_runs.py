"""A run that starts, advances and cancels other runs, on the real server."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import WorkflowEnvironment

from activities.resets import resume
from activities.runs import Runs
from activities.worker import WORKFLOWS
from tests.parts.junk import junk_until_continued
from tests.support import (
    QUEUE,
    RUN_TIMEOUT,
    Handle,
    ScriptedPartner,
    call_back,
    nested,
    operate,
    pipeline,
    progress_of,
    result_of,
    stage,
    start,
    until,
    waiting,
    working,
)
from tests.workflows.classes import Meddler, PipelineWithChild, WithChild
from workflows.contract import LARGEST_OUTCOME, Answer, Outcome, PipelineResult, PipelineRun, Stage
from workflows.nesting import MOST_LEVELS, is_deeper
from workflows.other_runs import success_of

CHILD = PipelineRun(pipeline(stage(1), stage(2)))


async def begin(
    client: Client,
    of: Stage,
    child: PipelineRun = CHILD,
    id: str = "parent",  # noqa: A002
) -> WorkflowHandle[Any, Outcome]:
    return await client.start_workflow("WithChild", args=[of, child], id=id, task_queue=QUEUE, result_type=Outcome)


async def child_of(parent: WorkflowHandle[Any, Outcome], client: Client, attempt: int = 1) -> Handle:
    """The child of this attempt, once it waits for its first partner."""
    known = await until(cast(Handle, parent), 1, lambda known: known.state == "waiting" and known.attempts == attempt)
    child = cast(Handle, client.get_workflow_handle(known.reference))
    await waiting(child)
    return child


async def outcome_of(parent: WorkflowHandle[Any, Outcome]) -> Outcome:
    async with asyncio.timeout(RUN_TIMEOUT):
        return await parent.result()


async def test_a_child_that_completes_settles_its_parents_stage(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner, [*WORKFLOWS, WithChild]):
        parent = await begin(real.client, stage(1, partner="child"))
        child = await child_of(parent, real.client)
        await call_back(child, partner.calls[0], Answer("succeeded", {"found": 1}))
        await waiting(child, 2)
        await call_back(child, partner.calls[1], Answer("succeeded", {"found": 2}))
        outcome = await outcome_of(parent)
    assert (outcome.status, outcome.cause) == ("succeeded", "callback")
    assert outcome.data == {"step-1": {"found": 1}, "step-2": {"found": 2}}


@pytest.mark.system
async def test_a_child_that_fails_is_started_again_by_the_policy(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner, [*WORKFLOWS, WithChild]):
        parent = await begin(real.client, stage(1, partner="child", on_failure="retry", attempts=2))
        child = await child_of(parent, real.client)
        await call_back(child, partner.calls[0], Answer("failed", code="declined"))
        second = await child_of(parent, real.client, attempt=2)
        await second.cancel()
        with pytest.raises(WorkflowFailureError) as raised:
            await outcome_of(parent)
        ledger = (await progress_of(cast(Handle, parent))).stages[0].ledger
    assert second.id != child.id
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.message == "stage 1 step-1: partner child: CancelledError"
    assert ledger[0].why.startswith("StageFailed: stage 1 step-1: partner partner-1: declined; calling again")


async def test_a_large_result_of_a_child_is_left_out(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner, [*WORKFLOWS, WithChild]):
        parent = await begin(real.client, stage(1, partner="child"))
        child = await child_of(parent, real.client)
        half = {"found": "x" * (LARGEST_OUTCOME // 2)}
        await call_back(child, partner.calls[0], Answer("succeeded", half))
        await waiting(child, 2)
        await call_back(child, partner.calls[1], Answer("succeeded", half))
        outcome = await outcome_of(parent)
    assert (outcome.status, outcome.data) == ("succeeded", {})
    assert outcome.message == "the outcomes are too large, or nested too deeply"


async def test_a_child_that_cannot_run_ends_its_parent_at_once(real: WorkflowEnvironment) -> None:
    child = PipelineRun(pipeline(stage(1, needs={"x": "input.missing"})))
    async with working(real.client, ScriptedPartner(), [*WORKFLOWS, WithChild]):
        with pytest.raises(WorkflowFailureError) as raised:
            await outcome_of(await begin(real.client, stage(1, partner="child"), child))
    assert isinstance(raised.value.cause, ApplicationError)
    assert (raised.value.cause.type, raised.value.cause.message) == (
        "InvalidRun",
        "input.missing is missing: stage 1 step-1 needs it",
    )


async def test_a_parent_with_a_long_id_starts_its_child(real: WorkflowEnvironment) -> None:
    long = stage(1, partner="child", name="-".join(["long"] * 40))
    async with working(real.client, ScriptedPartner(), [*WORKFLOWS, WithChild]):
        parent = await begin(real.client, long, id="p" * 980)
        assert len((await child_of(parent, real.client)).id) < 600


@pytest.mark.system
async def test_a_run_whose_child_failed_starts_another(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner, [*WORKFLOWS, WithChild]):
        parent = await begin(real.client, stage(1, partner="child"))
        child = await child_of(parent, real.client)
        await operate(child, "fail")
        with pytest.raises(WorkflowFailureError):
            await outcome_of(parent)
        await resume(Runs(real.client), "parent", reason="as agreed", at=time.time())
        latest = real.client.get_workflow_handle("parent", result_type=Outcome)
        second = await child_of(latest, real.client)
        await call_back(second, partner.calls[-1])
        await waiting(second, 2)
        await call_back(second, partner.calls[-1])
        assert (await outcome_of(latest)).status == "succeeded"


def test_deep_data_of_a_child_is_left_out() -> None:
    deep = {"x": nested(MOST_LEVELS)}
    assert not is_deeper(deep)
    assert success_of({"step-1": Outcome("succeeded", "callback", 1.0, data=deep)}).data == {}


async def test_a_child_lives_on_when_its_parent_has_ended(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner, [*WORKFLOWS, WithChild]):
        parent = await begin(real.client, stage(1, partner="child"), PipelineRun(pipeline(stage(1))))
        child = await child_of(parent, real.client)
        await parent.terminate()
        await call_back(child, partner.calls[0])
        async with asyncio.timeout(RUN_TIMEOUT):
            result = cast(Any, await child.result())  # the handle does not know the result's type
    assert result["outcomes"]["step-1"]["status"] == "succeeded"


@pytest.mark.system
async def test_a_child_goes_on_when_its_parent_continues(restless: WorkflowEnvironment) -> None:
    """While it is waited for, and while the parent's stage is operated."""
    partner = ScriptedPartner()
    async with working(restless.client, partner, [*WORKFLOWS, PipelineWithChild]):
        parent = await start(restless.client, stage(1, partner="child"), id="parent", kind="PipelineWithChild")
        known = await waiting(parent)
        child = cast(Handle, restless.client.get_workflow_handle(known.reference))
        await waiting(child)
        await junk_until_continued(restless, parent)
        latest = restless.client.get_workflow_handle("parent", result_type=PipelineResult)
        await operate(latest, "extend", seconds=60.0)
        await call_back(child, partner.calls[0], Answer("succeeded", {"found": 1}))
        outcome = (await result_of(latest)).outcomes["step-1"]
    assert (outcome.status, outcome.cause, outcome.data) == ("succeeded", "callback", {"inner": {"found": 1}})
    assert len(partner.calls) == 1


async def test_a_run_advances_one_run_and_cancels_another(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner(), [*WORKFLOWS, Meddler]):
        advanced, cancelled = await start(real.client, stage(1), id="one"), await start(real.client, stage(1), id="two")
        await waiting(advanced)
        await waiting(cancelled)
        await real.client.execute_workflow(Meddler.run, args=["one", "two"], id="meddler", task_queue=QUEUE)
        assert (await result_of(advanced)).outcomes["step-1"].status == "advanced"
        with pytest.raises(WorkflowFailureError) as raised:
            await result_of(cancelled)
    assert isinstance(raised.value.cause, CancelledError)


async def test_a_run_that_is_not_there_cannot_be_advanced(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner(), [*WORKFLOWS, Meddler]):
        handle = await real.client.start_workflow(Meddler.run, args=["no", "no"], id="meddler", task_queue=QUEUE)
        async with asyncio.timeout(RUN_TIMEOUT):
            with pytest.raises(WorkflowFailureError, match="failed") as raised:
                await handle.result()
    assert "not found" in str(raised.value.cause).lower()
