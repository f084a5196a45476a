"""Runs found by search attributes, on the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from activities.finding import (
    REFUSED_CODES,
    AttributesOff,
    AttributeTaken,
    RunFilter,
    SetupRefused,
    missing_attributes,
    quoted,
    register_attributes,
)
from activities.listing import list_runs
from activities.runs import Runs
from activities.worker import WORKFLOWS
from tests.parts.junk import junk_until_continued
from tests.support import (
    QUEUE,
    RUN_TIMEOUT,
    Handle,
    ScriptedPartner,
    call_back,
    count_events,
    pipeline,
    result_of,
    stage,
    start,
    until,
    waiting,
    working,
)
from tests.workflows.classes import AtOnce, FourSteps, WithChild
from tests.workflows.four_steps_worker import four_steps_worker
from workflows.contract import ADVANCE_STAGE, OPERATE, Answer, Command, PipelineRun, Stage
from workflows.finding import (
    ATTRIBUTES,
    DEADLINE_KEY,
    PARTNER_KEY,
    PIPELINE_KEY,
    STAGE_KEY,
    STATE_KEY,
    start_attributes,
)

UPSERTS = "upsert_workflow_search_attributes_event_attributes"
NEEDS_PERSON = RunFilter(state="needs_person")


@pytest.fixture
async def findable(real: WorkflowEnvironment) -> WorkflowEnvironment:
    """The real server, with a namespace that has the search attributes."""
    await register_attributes(real.client)
    return real


async def begin(env: WorkflowEnvironment, *stages: Stage, name: str = "testing") -> Handle:
    definition = replace(pipeline(*stages), name=name)
    return await Runs(env.client).start(definition, {}, task_queue=QUEUE, workflow_id=f"run-of-{name}")


async def until_found(env: WorkflowEnvironment, where: RunFilter, expected: Sequence[str]) -> None:
    """Wait until the filter finds these runs: Temporal lists a run a moment after it has changed."""
    runs = Runs(env.client)
    async with asyncio.timeout(RUN_TIMEOUT):
        while sorted(run.workflow_id for run in await list_runs(runs, where=where)) != sorted(expected):
            await asyncio.sleep(0.05)


async def test_runs_are_found_by_pipeline_partner_and_state(findable: WorkflowEnvironment) -> None:
    async with working(findable.client, ScriptedPartner()):
        await waiting(await begin(findable, stage(1), name="waits"))
        escalating = await begin(
            findable, stage(1, timeout=0.5, on_timeout="escalate", partner="mute"), name="escalates"
        )
        await until(escalating, 1, lambda one: one.state == "needs_person")
        await until_found(findable, NEEDS_PERSON, ["run-of-escalates"])
        await until_found(findable, RunFilter(state="waiting"), ["run-of-waits"])
        await until_found(findable, RunFilter(state="calling"), ["run-of-waits"])
        await until_found(findable, RunFilter(pipeline="waits"), ["run-of-waits"])
        await until_found(findable, RunFilter(partner="mute"), ["run-of-escalates"])
        await until_found(findable, RunFilter(partner="mute", pipeline="waits"), [])
        await until_found(findable, RunFilter(), ["run-of-escalates", "run-of-waits"])


async def test_a_settled_stage_no_longer_needs_a_person(findable: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(findable.client, partner):
        handle = await begin(findable, stage(1, timeout=0.5, on_timeout="escalate"), stage(2))
        await until(handle, 1, lambda one: one.state == "needs_person")
        await until_found(findable, NEEDS_PERSON, [handle.id])
        await call_back(handle, partner.calls[0])
        await waiting(handle, 2)
        await until_found(findable, NEEDS_PERSON, [])
        await until_found(findable, RunFilter(partner="partner-2"), [handle.id])


@pytest.mark.system
async def test_beside_others_a_stage_no_longer_needs_a_person(findable: WorkflowEnvironment) -> None:
    """No other call begins when it is settled."""
    partner = ScriptedPartner()
    stages = pipeline(stage(1, timeout=0.5, on_timeout="escalate"), stage(2), stage(3))
    async with working(findable.client, partner, [AtOnce]):
        handle = await Runs(findable.client).start(stages, {}, task_queue=QUEUE, workflow_type="AtOnce")
        await until(handle, 1, lambda one: one.state == "needs_person")
        await waiting(handle, 2)
        assert await written(handle) == (["step-1", "step-2"], "needs_person")
        first = next(call for call in partner.calls if call.stage == 1)
        await call_back(handle, first)
        await until(handle, 1, lambda one: one.state == "settled")
        assert await written(handle) == (["step-2"], "waiting")


async def written(handle: Handle) -> tuple[object, object]:
    """The run's open stages and state, by its search attributes."""
    attributes = (await handle.describe()).typed_search_attributes
    return attributes.get(STAGE_KEY), attributes.get(STATE_KEY)


async def test_an_ended_run_is_found_by_its_pipeline_only(findable: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(findable.client, partner):
        handle = await begin(findable, stage(1))
        await waiting(handle)
        await until_found(findable, RunFilter(partner="partner-1"), [handle.id])
        await call_back(handle, partner.calls[0])
        await result_of(handle)
        await until_found(findable, RunFilter(partner="partner-1"), [])
        await until_found(findable, RunFilter(pipeline="testing"), [handle.id])


@pytest.mark.system
async def test_an_extended_deadline_is_written(findable: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(findable.client, partner):
        handle = await begin(findable, stage(1, timeout=0.5, on_timeout="escalate", escalate_within=60.0))
        await until(handle, 1, lambda one: one.state == "needs_person")
        await handle.execute_update(OPERATE, Command("c-1", "extend", 1, "ada", "a holiday", seconds=3600.0))
        assert (await deadline_of(handle)).timestamp() > datetime.now(UTC).timestamp() + 3000


async def deadline_of(handle: Handle) -> datetime:
    """The run's deadline, by its search attribute."""
    deadline = (await handle.describe()).typed_search_attributes.get(DEADLINE_KEY)
    assert deadline is not None
    return deadline


async def until_put_off(handle: Handle, earlier: datetime) -> datetime:
    async with asyncio.timeout(RUN_TIMEOUT):
        while (deadline := await deadline_of(handle)) <= earlier:
            await asyncio.sleep(0.05)
    return deadline


async def test_progress_puts_off_the_deadline_in_lists(findable: WorkflowEnvironment) -> None:
    """The written deadline has passed, but the partner is at work: the run is not overdue."""
    partner = ScriptedPartner()
    async with working(findable.client, partner):
        handle = await begin(findable, stage(1, timeout=3.0))
        await waiting(handle)
        first = await deadline_of(handle)
        while datetime.now(UTC) < first - timedelta(seconds=1):
            await asyncio.sleep(0.05)
        await call_back(handle, partner.calls[0], Answer("progress"))
        second = await until_put_off(handle, first)
        known = await until(handle, 1, lambda one: one.state == "waiting")
        assert second.timestamp() == pytest.approx(known.deadline, abs=0.01)
        await call_back(handle, partner.calls[0])
        await result_of(handle)
    assert await count_events(handle, UPSERTS) <= 3  # the call, the deadline, the SDK's own for the patch


@pytest.mark.system
async def test_many_reports_of_progress_are_few_writes(findable: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(findable.client, partner):
        handle = await begin(findable, stage(1, timeout=600.0))
        await waiting(handle)
        for _ in range(50):
            await call_back(handle, partner.calls[0], Answer("progress"))
        await call_back(handle, partner.calls[0])
        await result_of(handle)
    assert await count_events(handle, UPSERTS) == 1


@pytest.mark.system
async def test_a_run_whose_worker_is_away_is_found_by_its_deadline(findable: WorkflowEnvironment) -> None:
    async with working(findable.client, ScriptedPartner()):
        handle = await begin(findable, stage(1, timeout=600.0))
        await waiting(handle)
    await until_found(findable, RunFilter(due=datetime.now(UTC) + timedelta(hours=1)), [handle.id])


@pytest.mark.system
async def test_attributes_survive_a_continue_as_new(restless: WorkflowEnvironment) -> None:
    await register_attributes(restless.client)
    partner = ScriptedPartner()
    async with working(restless.client, partner):
        handle = await begin(restless, stage(1), stage(2))
        await waiting(handle, 1)
        await junk_until_continued(restless, handle)
        await until_found(restless, RunFilter(partner="partner-1", pipeline="testing"), [handle.id])
        latest: Handle = restless.client.get_workflow_handle(handle.id)
        await call_back(latest, partner.calls[0])
        await waiting(latest, 2)
        await until_found(restless, RunFilter(partner="partner-2", pipeline="testing"), [handle.id])


@pytest.mark.system
async def test_a_class_without_partners_is_found_by_its_stage(findable: WorkflowEnvironment) -> None:
    findable_by = start_attributes("four-steps")
    async with four_steps_worker(findable.client):
        handle = await findable.client.start_workflow(
            FourSteps.run, id="four", task_queue=QUEUE, search_attributes=findable_by
        )
        for number in (1, 2, 3):
            async with asyncio.timeout(RUN_TIMEOUT):
                while (await handle.describe()).typed_search_attributes.get(STAGE_KEY) != [str(number)]:
                    await asyncio.sleep(0.05)
            await handle.signal(ADVANCE_STAGE, number)
        await asyncio.wait_for(handle.result(), RUN_TIMEOUT)


@pytest.mark.system
async def test_a_child_is_found_like_its_parent(findable: WorkflowEnvironment) -> None:
    child = PipelineRun(replace(pipeline(stage(1)), name="kyc"))
    async with working(findable.client, ScriptedPartner(), [*WORKFLOWS, WithChild]):
        parent = await findable.client.start_workflow(
            WithChild.__name__,
            args=[stage(1, partner="kyc"), child],
            id="parent",
            task_queue=QUEUE,
            search_attributes=start_attributes("parents"),
        )
        known = await until(parent, 1, lambda one: one.state == "waiting")
        await until_found(findable, RunFilter(pipeline="kyc", partner="partner-1"), [known.reference])


async def test_a_run_that_was_started_without_is_not_blocked(findable: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(findable.client, partner):
        handle = await start(findable.client, stage(1))
        await waiting(handle)
        await call_back(handle, partner.calls[0])
        await result_of(handle)
    assert await count_events(handle, UPSERTS) == 0


async def test_runs_go_on_in_a_namespace_without_attributes(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await begin(real, stage(1))
        await waiting(handle)
        await call_back(handle, partner.calls[0])
        await result_of(handle)
    assert await count_events(handle, UPSERTS) == 0
    with pytest.raises(AttributesOff):
        await list_runs(Runs(real.client), where=NEEDS_PERSON)
    assert [run.workflow_id for run in await list_runs(Runs(real.client))] == [handle.id]


async def test_some_of_the_attributes_are_not_enough(real: WorkflowEnvironment) -> None:
    """An update of a missing attribute would block the run."""
    await add(real.client, PIPELINE_KEY.name, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    assert await missing_attributes(real.client) == [STAGE_KEY, PARTNER_KEY, STATE_KEY, DEADLINE_KEY]
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await begin(real, stage(1))
        await waiting(handle)
    assert await count_events(handle, UPSERTS) == 0


async def test_attributes_are_registered_once(real: WorkflowEnvironment) -> None:
    assert await register_attributes(real.client) == [key.name for key in ATTRIBUTES]
    assert await register_attributes(real.client) == []


async def test_an_attribute_of_another_type_is_told(real: WorkflowEnvironment) -> None:
    await add(real.client, STATE_KEY.name, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST)
    with pytest.raises(AttributeTaken, match="StagehookState of the type KeywordList, not Keyword"):
        await register_attributes(real.client)


@pytest.mark.parametrize("code", sorted(REFUSED_CODES))
async def test_a_client_without_permission_starts_runs_without(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch, code: RPCStatusCode
) -> None:
    await register_attributes(real.client)
    refuse = AsyncMock(side_effect=RPCError("no", code, b""))
    monkeypatch.setattr(real.client.operator_service, "list_search_attributes", refuse)
    runs = Runs(real.client)
    assert not await runs.are_findable()
    with pytest.raises(SetupRefused, match="does not let this client manage search attributes"):
        await list_runs(runs, where=NEEDS_PERSON)
    with pytest.raises(SetupRefused):
        await register_attributes(real.client)


async def test_the_namespace_is_asked_once(real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    await register_attributes(real.client)
    asking = AsyncMock(wraps=real.client.operator_service.list_search_attributes)
    monkeypatch.setattr(real.client.operator_service, "list_search_attributes", asking)
    runs = Runs(real.client)
    assert [await runs.are_findable() for _ in range(3)] == [True] * 3
    assert asking.await_count == 1


async def add(client: Client, name: str, kind: IndexedValueType.ValueType) -> None:
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes={name: kind})
    await client.operator_service.add_search_attributes(request)


async def test_a_quoted_name_finds_nothing_else(findable: WorkflowEnvironment) -> None:
    runs = Runs(findable.client)
    assert await list_runs(runs, where=RunFilter(pipeline="x' OR StagehookPipeline != 'x")) == []
    assert quoted("it's \\") == "'it\\'s \\\\'"
