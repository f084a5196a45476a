"""What a run is started with, on the real server: bad input ends it at once, and never one that is in flight."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any, Final

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.testing import WorkflowEnvironment

from tests.support import (
    QUEUE,
    SOON,
    Handle,
    ScriptedPartner,
    call_back,
    count_events,
    failure_of,
    nested,
    pipeline,
    progress_of,
    reset,
    result_of,
    stage,
    start,
    until_event,
    waiting,
    working,
)
from tests.workflows.classes import EarlierPipeline
from tests.workflows.record_histories import start_loosely
from workflows.contract import ADVANCE_STAGE, PIPELINE_WORKFLOW, Answer, PipelineResult, Question

FAILED_TASK = "workflow_task_failed_event_attributes"
MARKER = "marker_recorded_event_attributes"


def payload(data: bytes | str, encoding: bytes = b"json/plain", **metadata: bytes) -> RawValue:
    data = data.encode() if isinstance(data, str) else data
    return RawValue(Payload(metadata={"encoding": encoding, **metadata}, data=data))


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


def written(*, given: str = "{}", stage: str = "", pipeline: str = "", run: str = "") -> RawValue:
    """A run as another client writes it, with these additions."""
    first = f'{{"number": 1, "name": "step-1", "partner": "partner-1", "timeout": 5{stage}}}'
    return payload(f'{{"pipeline": {{"name": "x", "stages": [{first}]{pipeline}}}, "input": {given}{run}}}')


NEEDED = ', "needs": {"x": "input.x"}'
LONG_SOURCE = (
    f'}}, {{"number": 2, "name": "b", "partner": "p", "timeout": 5, "needs": {{"x": "step-1.{"y" * 1_000_000}"}}'
)
BAD: dict[str, list[RawValue]] = {
    **{f"input of {n} levels": [written(given=f'{{"x": {deep(n)}}}')] for n in (65, 100, 700, 5_000, 100_000)},
    **{f"needed input of {n} levels": [written(given=f'{{"x": {deep(n)}}}', stage=NEEDED)] for n in (300, 700, 950)},
    **{f"a stage of {n} levels": [written(stage=f', "needs": {{"x": {deep(n)}}}')] for n in (700, 5_000)},
    **{f"a pipeline of {n} levels": [written(pipeline=f', "description": {deep(n)}')] for n in (700, 5_000)},
    **{f"carried of {n} levels": [written(run=f', "carried": {{"records": {deep(n)}}}')] for n in (700, 5_000)},
    **{f"a second argument of {n} levels": [written(), payload(deep(n))] for n in (700, 5_000)},
    **{f"nothing but {n} levels": [payload(deep(n))] for n in (700, 5_000)},
    "an unknown field of a stage": [written(stage=', "onTimeout": "skip"')],
    "an unknown field of the pipeline": [written(pipeline=', "version": 2')],
    "an unknown field of the run": [written(run=', "inputs": {"a": 1}')],
    "a lone surrogate as a field": [written(stage=', "\\ud800": 1')],
    "a field of a megabyte": [written(stage=f', "{"x" * 1_000_000}": 1')],
    "a hundred thousand fields": [written(stage="".join(f', "field-{n}": 1' for n in range(100_000)))],
    "a field's source of a megabyte": [written(stage=LONG_SOURCE)],
    "a stage's name of a megabyte": [written(stage=f', "name": "{"x" * 1_000_000}"')],
    "no JSON": [payload("{")],
    "no UTF-8": [payload(b"\xff")],
    "a number of 5,000 digits": [written(given=f'{{"x": {"9" * 5_000}}}')],
    "an unknown encoding": [payload("1", b"martian")],
    "an encoding that is not text": [payload("1", b"\xff")],
    "no encoding": [RawValue(Payload(data=b"1"))],
    "bytes": [payload("1", b"binary/plain")],
    "a null with content": [payload("1", b"binary/null")],
    "an unknown protobuf": [payload("{}", b"json/protobuf", messageType=b"no.such.Type")],
}


async def begin(client: Client, args: list[RawValue], name: str) -> Handle:
    return await client.start_workflow(
        PIPELINE_WORKFLOW, args=args, id=name, task_queue=QUEUE, result_type=PipelineResult
    )


@pytest.mark.system
async def test_input_of_any_kind_ends_the_run_at_once_and_blocks_none(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        types, failed = {}, {}
        for name, args in BAD.items():  # one at a time: a task that waits for a processor for 2 s counts as stuck
            handle = await begin(real.client, args, name)
            types[name] = (await failure_of(handle)).type
            failed[name] = await count_events(handle, FAILED_TASK)
    assert types == dict.fromkeys(BAD, "InvalidRun")
    assert failed == dict.fromkeys(BAD, 0)


async def test_a_refused_run_names_the_field_and_answers_queries(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await begin(real.client, BAD["an unknown field of a stage"], "refused")
        error = await failure_of(handle)
    async with working(real.client, ScriptedPartner()):  # without a cache: the history is replayed
        progress = await progress_of(handle)
    assert error.message == "unknown field 'onTimeout' of stage 1: did you mean on_timeout?"
    assert (progress.last_stage, progress.stages) == (0, [])


async def test_a_run_of_a_newer_contract_waits_for_a_newer_worker(real: WorkflowEnvironment) -> None:
    """Its task fails, not the run: this version cannot know what the newer definition means."""
    newer = {"pipeline": {"name": "testing", "stages": [{**asdict(stage(1)), "colour": "red"}]}, "contract": 2}
    async with working(real.client, ScriptedPartner()):
        handle = await real.client.start_workflow(PIPELINE_WORKFLOW, newer, id="newer", task_queue=QUEUE)
        await until_event(handle, FAILED_TASK)
        described = await handle.describe()
    assert described.status is WorkflowExecutionStatus.RUNNING


TIMED_OUT: Final = {"cause": "timeout", "is_silence": True, "at": 1, "attempt": 1}
ENDLESS: Final[dict[str, dict[str, Any]]] = {
    "a long wait": {"waiting_since": 1.7e9, "timeout": 9e11, "wait_cap": 9e11},
    "a long pause": {"pause_until": 1e12},
    "a long escalation": {"escalated_at": 1e12, "trouble": TIMED_OUT},
    "a long extension": {"waiting_since": 1.7e9, "timeout": 9e11, "wait_cap": 9e11, "extended_to": 1e12},
    "hurried questions": {"waiting_since": 1.7e9, "timeout": 3e9, "wait_cap": 3e9, "askable": True, "ask_every": 1e-9},
}


async def test_carried_state_that_is_far_off_blocks_no_run(real: WorkflowEnvironment) -> None:
    begun = {"opened_at": 1.7e9, "attempt": 1, "issued_at": 1_700_000_000, "called_at": 1.7e9}
    asked: list[Question] = []

    async def status(question: Question) -> Answer:
        asked.append(question)
        return Answer("progress")

    async with working(real.client, ScriptedPartner(status=status)):
        for name, written in ENDLESS.items():
            carried = {"advanced_to": 0, "ignored": {}, "records": {"1": {**begun, **written}}}
            run = {"pipeline": asdict(pipeline(stage(1))), "carried": carried}
            handle = await real.client.start_workflow(
                PIPELINE_WORKFLOW, run, id=name, task_queue=QUEUE, result_type=PipelineResult
            )
            await handle.signal(ADVANCE_STAGE, 1)
            assert (await result_of(handle)).outcomes["step-1"].status == "advanced"
            assert await failures_of_the_worker(handle) == [], name
    assert len(asked) < 10


async def failures_of_the_worker(handle: Handle) -> list[str]:
    """Why tasks failed, but for what came while a task ended its run: the server repeats that one."""
    failed = [
        event.workflow_task_failed_event_attributes
        async for event in handle.fetch_history_events()
        if event.WhichOneof("attributes") == FAILED_TASK
    ]
    unhandled = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
    return [f"{one.cause}: {one.failure.message}" for one in failed if one.cause != unhandled]


async def in_flight(client: Client, partner: ScriptedPartner, stages: int = 1) -> Handle:
    """A run that began under the version before, with an unknown field and deep input, and waits."""
    async with working(client, partner, [EarlierPipeline]):
        handle = await start_loosely(client, *(stage(n + 1) for n in range(stages)), id="in-flight")
        await waiting(handle)
    return handle


async def test_a_run_in_flight_goes_on_with_input_refused_today(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    handle = await in_flight(real.client, partner)
    async with working(real.client, partner):
        await call_back(handle, partner.calls[0])
        assert (await result_of(handle)).outcomes["step-1"].status == "succeeded"
    assert (await count_events(handle, FAILED_TASK), await count_events(handle, MARKER)) == (0, 0)


@pytest.mark.system
async def test_a_run_in_flight_may_be_reset_to_its_beginning(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    handle = await in_flight(real.client, partner)
    async with working(real.client, partner):
        await reset(real.client, handle)
        latest: Handle = real.client.get_workflow_handle(handle.id)
        await waiting(latest)
        await call_back(latest, partner.calls[-1])
        await asyncio.wait_for(latest.result(), SOON)


@pytest.mark.system
async def test_a_run_in_flight_may_continue_as_new(restless: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    handle = await in_flight(restless.client, partner)
    latest = restless.client.get_workflow_handle(handle.id)
    async with working(restless.client, partner), asyncio.timeout(3 * SOON):
        while (described := await latest.describe()).run_id == handle.first_execution_run_id:
            await latest.signal(ADVANCE_STAGE, "junk")
        await waiting(latest)
        await latest.signal(ADVANCE_STAGE, 1)
        assert (await result_of(handle)).outcomes["step-1"].status == "advanced"
    assert described.status is WorkflowExecutionStatus.RUNNING


async def test_a_sound_run_records_no_patch_and_survives_a_roll_back(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), given={"deep": nested(64)})
        await waiting(handle)
    async with working(real.client, partner, [EarlierPipeline]):
        await call_back(handle, partner.calls[0])
        await result_of(handle)
    assert (await count_events(handle, FAILED_TASK), await count_events(handle, MARKER)) == (0, 0)


async def test_a_newer_clients_empty_fields_are_taken(real: WorkflowEnvironment) -> None:
    newer: dict[str, Any] = {**asdict(stage(1)), "beside": [], "label": "", "then": None}
    run = {"pipeline": {"name": "x", "stages": [newer]}, "input": {}}
    async with working(real.client, ScriptedPartner()):
        handle = await real.client.start_workflow(PIPELINE_WORKFLOW, run, id="newer", task_queue=QUEUE)
        await waiting(handle)


@pytest.mark.system
async def test_a_callback_with_deeply_nested_data_is_ignored(real: WorkflowEnvironment) -> None:
    """From a client of Temporal's: the receiver takes 64 levels. Once it settled the stage, and the run was blocked."""
    partner, seen = ScriptedPartner(), []
    async with working(real.client, partner):
        for levels in (65, 300, 700, 900):
            handle = await start(real.client, stage(1), stage(2, needs={"x": "step-1.found"}), id=f"of {levels} levels")
            await waiting(handle)
            call = partner.calls[-1]
            await call_back(handle, call, Answer("succeeded", {"found": "here"}), chain_id="of another run")
            callback = {**asdict(Answer("succeeded")), "data": {"found": "DEEP"}}
            claims = {"chain_id": call.chain_id, "attempt": 1, "issued_at": call.issued_at}
            data = str({"answer": callback, **claims}).replace("'", '"').replace('"DEEP"', deep(levels))
            await handle.signal(ADVANCE_STAGE, args=[1, payload(data)])
            progress = await progress_of(handle)
            await handle.signal(ADVANCE_STAGE, args=[1, payload(data.replace(deep(levels), deep(63)))])
            await waiting(handle, 2)
            await call_back(handle, partner.calls[-1])
            await result_of(handle)
            seen.append((handle, progress))
    async with working(real.client, partner):
        for handle, progress in seen:
            assert (await progress_of(handle)).ignored == progress.ignored
            assert progress.ignored == {"another run's callback": 1, "unreadable callback": 1}
            assert await count_events(handle, FAILED_TASK) == 0
