"""Signals, inputs and carried states that are foreign, late or malformed neither settle a stage nor block a run."""

from __future__ import annotations

from collections import Counter
from typing import Any

from temporalio.testing import WorkflowEnvironment

from tests.support import (
    QUEUE,
    ScriptedPartner,
    call_back,
    failure_of,
    progress_of,
    result_of,
    stage,
    start,
    waiting,
    working,
)
from workflows.contract import (
    ADVANCE_STAGE,
    PIPELINE_WORKFLOW,
    Answer,
)

FOREIGN: list[tuple[dict[str, Any], str]] = [
    ({"chain_id": "another"}, "another run's callback"),
    ({"stage": 3}, "no such stage"),
    ({"stage": 0}, "no such stage"),
    ({"attempt": True}, "unreadable callback"),
    ({"attempt": 1.0}, "unreadable callback"),
    ({"answer": {"status": "maybe"}}, "unreadable callback"),
    ({"answer": {"status": "succeeded", "data": {"x": float("nan")}}}, "unreadable callback"),
    ({"answer": {"status": "succeeded", "data": {"x": "\ud800"}}}, "unreadable callback"),
]


async def test_foreign_and_unreadable_callbacks_are_only_counted(skipping: WorkflowEnvironment) -> None:
    partner, ignored = ScriptedPartner(), Counter[str]()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1), stage(2))
        await waiting(handle, 1)
        for claims, reason in FOREIGN:
            await call_back(handle, partner.calls[0], **claims)
            progress = await progress_of(handle)
            ignored[reason] += 1
            assert (progress.ignored, progress.stages[0].state) == (ignored, "waiting"), claims


async def test_a_settled_stages_second_callback_is_in_its_ledger(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1), stage(2))
        await waiting(handle, 1)
        await call_back(handle, partner.calls[0], Answer("succeeded", data={"n": 1}))
        await call_back(handle, partner.calls[0], Answer("succeeded", data={"n": 1}))
        await call_back(handle, partner.calls[0], Answer("failed", code="changed its mind"))
        await waiting(handle, 2)
        first = (await progress_of(handle)).stages[0]
    assert first.outcome == "succeeded"
    assert [entry.why for entry in first.ledger] == ["duplicate", "closed: succeeded by callback"]


JUNK: list[list[Any]] = [
    [],
    [None],
    ["2"],
    [2.5],
    [True],
    [{}],
    [0],
    [-1],
    [99],
    [1, {}],
    [1, "x"],
    [1, 2, 3],
    list(range(10)),
]


async def test_junk_neither_advances_nor_blocks_the_run(skipping: WorkflowEnvironment) -> None:
    async with working(skipping.client, ScriptedPartner()):
        handle = await start(skipping.client, stage(1))
        await waiting(handle)
        for number, junk in enumerate(JUNK, 1):
            await handle.signal(ADVANCE_STAGE, args=junk)
            await handle.signal("advance_stages", 1)
            progress = await progress_of(handle)
            assert progress.stages[0].state == "waiting", junk
            assert sum(progress.ignored.values()) == 2 * number, junk
        await handle.signal(ADVANCE_STAGE, 1)
        assert (await result_of(handle)).outcomes["step-1"].status == "advanced"


ANYTHING_ELSE: list[list[Any]] = [
    [],
    [1],
    ["x", "y"],
    [{"pipeline": {"name": "x", "stages": [{"number": 1e400}]}}],
    [{"pipeline": {"name": "BAD NAME", "stages": []}}],
    [{"pipeline": {"name": "x" * 1_200_000, "stages": []}}],
    [{"pipeline": {"name": "x", "stages": [{"number": 0, "name": "", "partner": "", "timeout": 0}] * 6000}}],
    [{"pipeline": {"name": "x", "stages": [{"number": 1, "name": "a", "partner": "p", "timeout": 1e-9}]}}],
    [{"pipeline": {"name": "\ud800", "stages": []}}],
    [
        {
            "pipeline": {"name": "x", "stages": [{"number": 1, "name": "a", "partner": "p", "timeout": 1}]},
            "carried": 1,
        }
    ],
]


async def test_a_run_started_with_anything_else_ends_at_once(skipping: WorkflowEnvironment) -> None:
    async with working(skipping.client, ScriptedPartner()):
        for number, args in enumerate(ANYTHING_ELSE):
            handle = await skipping.client.start_workflow(
                PIPELINE_WORKFLOW, args=args, id=f"bad-{number}", task_queue=QUEUE
            )
            assert (await failure_of(handle)).type == "InvalidRun", str(args)[:200]


FALSE_STATES: list[dict[str, Any]] = [
    {},
    {"advanced_to": "x", "ignored": {}, "records": {}},
    {"advanced_to": 9, "ignored": {}, "records": {}},
    {"advanced_to": 0, "ignored": {"a": "b"}, "records": {}},
    {"advanced_to": 0, "ignored": {}, "records": {"7": {}}},
    {"advanced_to": 0, "ignored": {}, "records": {"1": {"waiting_since": 1e300}}},
    {"advanced_to": 0, "ignored": {}, "records": {"1": {"attempt": -1}}},
    {"advanced_to": 0, "ignored": {}, "records": {"1": {"outcome": {"status": "odd"}}}},
]


async def test_a_run_with_a_false_carried_state_ends_at_once(skipping: WorkflowEnvironment) -> None:
    plain = {"pipeline": {"name": "x", "stages": [{"number": 1, "name": "a", "partner": "p", "timeout": 5}]}}
    async with working(skipping.client, ScriptedPartner()):
        for number, carried in enumerate(FALSE_STATES):
            handle = await skipping.client.start_workflow(
                PIPELINE_WORKFLOW, {**plain, "carried": carried}, id=f"forged-{number}", task_queue=QUEUE
            )
            assert (await failure_of(handle)).type == "InvalidRun", carried
