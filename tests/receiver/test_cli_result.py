"""`pipeline result`, `pipeline advance` and `pipeline start --id`: what they print, refuse and ask."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from receiver.cli.demo.running import INPUT
from receiver.cli.pipeline.results import result_lines
from tests.parts.patience import NO_WORKER
from tests.parts.told import told
from tests.support import (
    ScriptedPartner,
    call_back,
    count_events,
    failure_of,
    progress_of,
    result_of,
    stage,
    start,
    until_event,
    waiting,
    working,
)
from tests.workflows.classes import SideBySide, Unstaged
from workflows.contract import Answer

pytestmark = pytest.mark.system

DATA = {"account_id": "acc-1", "limits": {"daily": 5}}


# --- result


async def test_a_completed_run_has_a_result(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2, timeout=0.1, on_timeout="skip"))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("succeeded", DATA))
        result = await result_of(handle)
    as_json = await told(real, "pipeline", "result", "run", "--json")
    as_text = await told(real, "pipeline", "result", "run")
    shown = json.loads(as_json.out)
    assert shown["pipeline"] == "testing"
    assert shown["outcomes"]["step-1"] == {
        "status": "succeeded",
        "cause": "callback",
        "attempt": 1,
        "data": DATA,
        "code": "",
        "message": "",
        "at": result.outcomes["step-1"].at,
    }
    head, first, *fields, last = as_text.out.splitlines()
    assert head == "testing run completed"
    assert first.startswith("step-1: succeeded (callback), 20")
    assert fields == ["  account_id: acc-1", '  limits: {"daily": 5}']
    assert last.startswith("step-2: skipped (timeout), 20")
    assert last.endswith(" UTC: no callback within 0.1 s")
    assert (as_json.code, as_text.code, as_json.err, as_text.err) == (0, 0, "", "")


@pytest.mark.parametrize("more", [[], ["--json"], ["--wait"]])
async def test_a_failed_run_says_why_in_place_of_a_result(real: WorkflowEnvironment, more: list[str]) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("failed", code="declined", message="no such account"))
        await failure_of(handle)
    done = await told(real, "pipeline", "result", "run", *more)
    what = "the run run has no result, because it failed: stage 1 step-1: partner partner-1: declined: no such account"
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines()[0] == f"error: {what}"
    assert "pipeline resume" in done.err.splitlines()[1]


async def test_a_cancelled_run_has_no_result(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    done = await told(real, "pipeline", "result", "run")
    assert (done.code, done.out) == (3, "")
    assert "the run run has no result, because it was cancelled: " in done.err


async def test_a_running_run_says_so_or_is_waited_for(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        now = await told(real, "pipeline", "result", "run")
        later = asyncio.create_task(told(real, "pipeline", "result", "run", "--wait", "--json"))
        await call_back(handle, partner.calls[0])
        done = await later
    assert (now.code, now.out) == (1, "")
    assert now.err.splitlines()[0] == "error: the run run is still running, so it has no result yet"
    assert "--wait" in now.err.splitlines()[1]
    assert (done.code, json.loads(done.out)["outcomes"]["step-1"]["status"]) == (0, "succeeded")


async def test_a_run_that_does_not_exist_has_no_result(real: WorkflowEnvironment) -> None:
    assert (await told(real, "pipeline", "result", "none")).code == 4
    assert (await told(real, "pipeline", "result", "none", "--wait")).code == 4


@pytest.mark.parametrize("result", [None, ["succeeded", "advanced"], {"outcomes": 3}, "done"])
def test_what_a_class_of_ones_own_returned_is_shown_as_json(result: Any) -> None:
    assert list(result_lines("run", result)) == [f"run completed: {json.dumps(result)}"]


# --- advance


async def test_advance_says_which_waits_it_ends_and_asks_if_several(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner(), [SideBySide]):
        handle: Any = await real.client.start_workflow(SideBySide.run, id="run", task_queue="tests")
        await waiting(handle, 1)
        await waiting(handle, 2)
        refused = await told(real, "pipeline", "advance", "run", "2")
        unchanged = [one.state for one in (await progress_of(handle)).stages]
        done = await told(real, "pipeline", "advance", "run", "2", "--yes")
        assert await handle.result() == ["advanced", "advanced"]
    ends = "ends the open waits of run: 1 side-1 (partner-1, waiting); 2 side-2 (partner-2, waiting)"
    assert (refused.code, refused.out, unchanged) == (2, "", ["waiting", "waiting"])
    assert refused.err.splitlines() == [
        f"error: stdin is not a terminal, so it cannot be confirmed: {ends}",
        "  try: say --yes",
    ]
    assert (done.code, done.err.splitlines()[0]) == (0, ends)


async def test_advance_past_a_single_wait_does_not_ask(real: WorkflowEnvironment) -> None:
    """Stage 2 has no wait yet: it is called, and not waited for."""
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle, 1)
        done = await told(real, "pipeline", "advance", "run", "2")
        statuses = [outcome.status for outcome in (await result_of(handle)).outcomes.values()]
    assert (done.code, statuses) == (0, ["advanced", "advanced"])
    assert done.err.splitlines() == [
        "ends the open waits of run: 1 step-1 (partner-1, waiting)",
        "sent: the waits of run up to stage 2 are over",
    ]


async def test_advance_without_a_worker_asks_unless_it_is_stage_1(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.runs.WORKER_ANSWERS_WITHIN", NO_WORKER)
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle, 1)
    refused = await told(real, "pipeline", "advance", "run", "2")
    assert refused.code == 2
    assert "no worker answers, so they are not known" in refused.err
    assert await count_events(handle, "workflow_execution_signaled_event_attributes") == 0
    assert (await told(real, "pipeline", "advance", "run", "1")).code == 0
    assert (await told(real, "pipeline", "advance", "run", "2", "--yes")).code == 0
    await until_event(handle, "workflow_execution_signaled_event_attributes")
    assert await count_events(handle, "workflow_execution_signaled_event_attributes") == 2


# --- start --id


async def started(env: WorkflowEnvironment, *more: str) -> Any:
    return await told(env, "pipeline", "start", "onboarding", "--id", "run", "--input", json.dumps(INPUT), *more)


async def test_the_id_of_a_completed_run_is_refused_unless_said(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner(), [Unstaged]):
        handle = await real.client.start_workflow(Unstaged.run, id="run", task_queue="tests")
        await handle.signal(Unstaged.end)
        await handle.result()
    refused = await started(real)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.splitlines() == [
        "error: the run run has completed",
        "  try: choose another --id, or start a second run with this id by --again",
    ]
    assert (await started(real, "--again")).code == 0
    still_open = await started(real, "--again")
    assert (still_open.code, still_open.err.splitlines()[0]) == (1, "error: a run with the id run is open")


async def test_the_id_of_a_run_that_failed_is_used_again(real: WorkflowEnvironment) -> None:
    for _ in range(2):
        assert (await started(real)).code == 0
        await real.client.get_workflow_handle("run").terminate()
