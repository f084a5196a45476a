"""The version of a run's tokens, and what its calls say of it: written into every call, and kept for the run's life."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import version_of
from activities.runs import Runs
from activities.worker import WORKFLOWS
from tests.parts.callbacks import URLS
from tests.parts.junk import junk_until_continued
from tests.support import (
    QUEUE,
    RUN_TIMEOUT,
    SOON,
    Handle,
    ScriptedPartner,
    call_back,
    pipeline,
    progress_of,
    result_of,
    stage,
    start,
    waiting,
    working,
)
from tests.workflows.classes import ShortTokens, SideBySide
from workflows.contract import (
    PIPELINE_WORKFLOW,
    Answer,
    Pipeline,
    PipelineRun,
    Question,
    Receipt,
    StageCall,
)
from workflows.definition import definition_digest
from workflows.stage_record import StageRecord


async def start_with(client: Client, version: int, *stages: Any) -> Handle:
    run = PipelineRun(pipeline(*stages), token_version=version)
    return await client.start_workflow(PIPELINE_WORKFLOW, run, id="run", task_queue=QUEUE)


@pytest.mark.parametrize(("version", "written"), [(0, 1), (1, 1), (2, 2)])
async def test_calls_have_the_version_of_the_runs_input(
    skipping: WorkflowEnvironment, version: int, written: int
) -> None:
    async def status(question: Question) -> Answer:
        return Answer("succeeded")

    partner = ScriptedPartner(status=status)
    async with working(skipping.client, partner):
        handle = await start_with(skipping.client, version, stage(1, timeout=60.0), stage(2, timeout=60.0))
        await result_of(handle)
        progress = await progress_of(handle)
    assert [call.token_version for call in partner.calls] == [written, written]
    assert [question.call.token_version for question in partner.questions] == [written, written]
    assert [shown.token_version for shown in progress.stages] == [written, written]


async def test_calls_say_which_definition_they_are_of(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1), stage(2))
        for number in (1, 2):
            await waiting(handle, number)
            await call_back(handle, partner.calls[-1])
        await result_of(handle)
    digest = definition_digest(pipeline(stage(1), stage(2)))
    assert {(call.pipeline, call.definition) for call in partner.calls} == {("testing", digest)}
    assert len(digest) == 12
    assert digest != definition_digest(pipeline(stage(1), stage(2, timeout=1.0)))


async def test_calls_of_a_class_have_its_type_and_no_definition(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner, [SideBySide]):
        handle = await skipping.client.start_workflow(SideBySide.run, id="run", task_queue=QUEUE)
        await asyncio.wait_for(partner.asked.wait(), SOON)
        await handle.terminate()
    assert {(call.pipeline, call.definition, call.token_version) for call in partner.calls} == {("SideBySide", "", 1)}


@pytest.mark.system
async def test_a_call_keeps_its_version_through_continue_as_new(restless: WorkflowEnvironment) -> None:
    """Its tries on both sides send the same bytes."""
    answering = asyncio.Event()

    async def lose_answers(call: StageCall) -> Receipt:
        if answering.is_set():
            return Receipt(reference="at last")
        raise ApplicationError("no whole answer", type="PartnerUnclear")

    partner = ScriptedPartner(lose_answers)
    async with working(restless.client, partner):
        handle = await start_with(restless.client, 2, stage(1), stage(2))
        await asyncio.wait_for(partner.asked.wait(), SOON)
        await junk_until_continued(restless, handle)
        answering.set()
        latest: Handle = restless.client.get_workflow_handle(handle.id)
        await waiting(latest)
        first, again = partner.calls[0], partner.calls[-1]
        await call_back(latest, again)
        await waiting(latest, 2)
        await call_back(latest, partner.calls[-1])
        await result_of(latest)
    assert replace(again, repeated=False) == first
    assert (first.token_version, partner.calls[-1].token_version) == (2, 2)


def test_a_carried_call_of_an_earlier_release_is_of_version_one() -> None:
    record = StageRecord()
    record.begin(attempt=1, issued_at=1, at=1.0)
    assert (StageRecord().token_version, record.token_version, record.is_sound()) == (1, 1, True)
    record.begin(attempt=2, issued_at=1, at=1.0, token_version=2)
    assert record.token_version == 2


@pytest.mark.parametrize(("version", "recorded"), [(1, 0), (2, 2)])
async def test_version_one_is_not_written_for_the_sake_of_old_workers(
    skipping: WorkflowEnvironment, version: int, recorded: int
) -> None:
    definition = Pipeline("testing", [stage(1)])
    handle = await Runs(skipping.client).start(definition, {}, task_queue=QUEUE, token_version=version)
    history = await handle.fetch_history()
    [payload] = history.events[0].workflow_execution_started_event_attributes.input.payloads
    assert skipping.client.data_converter.payload_converter.from_payload(payload)["token_version"] == recorded
    await handle.terminate()


async def test_the_url_that_is_issued_by_hand_is_the_calls_own(skipping: WorkflowEnvironment) -> None:
    async with working(skipping.client, ScriptedPartner()) as _:
        handle = await start_with(skipping.client, 2, stage(1))
        await waiting(handle)
        call = await Runs(skipping.client).open_call("run", 1)
        await handle.terminate()
    assert call.token_version == 2
    assert version_of(URLS.of(call).rpartition("/")[2]) == 2


async def test_a_child_has_its_parents_version_unless_it_names_one(skipping: WorkflowEnvironment) -> None:
    async def at_once(call: StageCall) -> Receipt:
        return Receipt(answer=Answer("succeeded"))

    partner = ScriptedPartner(at_once)
    async with working(skipping.client, partner, [*WORKFLOWS, ShortTokens]):
        handle = await skipping.client.start_workflow(ShortTokens.run, id="parent", task_queue=QUEUE)
        async with asyncio.timeout(RUN_TIMEOUT):
            await handle.result()
    assert [call.token_version for call in partner.calls] == [2, 1]
