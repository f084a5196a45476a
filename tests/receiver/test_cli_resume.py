"""`pipeline resume`: a run that has ended goes on from before a stage's call, in the same chain."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from activities.resets import StillOpen, URLsExpire, resume
from activities.runs import Runs
from activities.store.database import Database
from activities.store.store import Store
from receiver.app import create_app
from tests.parts.callbacks import BASE, DONE, URLS, for_temporal, partners, url_for
from tests.parts.junk import junk_until_continued
from tests.parts.told import told
from tests.stores import PATIENT
from tests.support import (
    Handle,
    ScriptedPartner,
    call_back,
    failure_of,
    progress_of,
    result_of,
    stage,
    start,
    until,
    waiting,
    working,
)
from tests.workflows.classes import SideBySide
from workflows.contract import (
    ADVANCE_STAGE,
    OPERATE,
    REFUSED,
    TOKEN_SLACK,
    Action,
    Answer,
    Command,
    PipelineResult,
    Receipt,
    StageCall,
)

pytestmark = pytest.mark.system

FAILED = Answer("failed", code="declined", message="no such account")


def latest(env: WorkflowEnvironment, handle: Handle) -> Handle:
    """The run's latest execution."""
    found: Handle = env.client.get_workflow_handle(handle.id, result_type=PipelineResult)
    return found


async def failed_in_stage_2(env: WorkflowEnvironment, partner: ScriptedPartner) -> Handle:
    """A run whose first stage succeeded and whose second failed, each by a callback."""
    handle = await start(env.client, stage(1), stage(2), stage(3, needs={"x": "step-2.account_id"}))
    await waiting(handle, 1)
    await call_back(handle, partner.calls[0])
    await waiting(handle, 2)
    await call_back(handle, partner.calls[1], FAILED)
    await failure_of(handle)
    return handle


async def test_a_url_issued_before_still_settles_a_resumed_run(real: WorkflowEnvironment, database: Database) -> None:
    """With a store, which has the failed callback of the same call."""
    partner = ScriptedPartner()
    app = create_app(URLS, partners(), for_temporal(real.client), store=Store(database), timing=PATIENT)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
        working(real.client, partner),
    ):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle, 1)
        await call_back(handle, partner.calls[0])
        await waiting(handle, 2)
        before = url_for(handle, 2, issued_at=partner.calls[1].issued_at)
        assert (await http.post(before, json={"id": "w-0", "status": "failed"})).status_code == 202
        await failure_of(handle)
        done = await told(real, "pipeline", "resume", "run", "--reason", "a mistake of theirs", "--actor", "ada")
        resumed = await waiting(latest(real, handle), 2)
        assert (await http.post(before, json=DONE)).status_code == 202
        outcomes = (await result_of(latest(real, handle))).outcomes
    assert (done.code, done.out) == (0, "")
    assert done.err == "resumed: run goes on from before call 1 of stage 2 step-2\n"
    assert [call.stage for call in partner.calls] == [1, 2, 2]
    assert {call.chain_id for call in partner.calls} == {handle.first_execution_run_id}
    assert [entry.why for entry in resumed.ledger] == ["answers another call"]
    assert [(one.status, one.cause) for one in outcomes.values()] == [("succeeded", "callback")] * 2


async def test_the_history_says_who_resumed_and_why(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await failed_in_stage_2(real, partner)
        await told(real, "pipeline", "resume", "run", "--reason", "a mistake of theirs", "--actor", "ada")
        await waiting(latest(real, handle), 2)
        history = [event async for event in latest(real, handle).fetch_history_events()]
    reasons = [event.workflow_task_failed_event_attributes.failure.message for event in history]
    assert [reason for reason in reasons if reason] == ["resumed by ada: a mistake of theirs"]


async def test_the_first_call_is_repeated_with_all_its_attempts(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    retried = stage(1, timeout=1.0, on_timeout="retry", attempts=2)
    async with working(real.client, partner):
        handle = await start(real.client, retried)
        assert (await failure_of(handle)).type == "StageTimedOut"
        resumed_at = int(time.time())
        assert (await told(real, "pipeline", "resume", "run")).code == 0
        with pytest.raises(WorkflowFailureError):
            await latest(real, handle).result()
    assert [call.attempt for call in partner.calls] == [1, 2, 1, 2]
    assert partner.calls[2].issued_at >= resumed_at
    assert partner.calls[2].expires_at > partner.calls[1].expires_at - 2


async def test_a_call_that_was_refused_is_made_again(real: WorkflowEnvironment) -> None:
    async def refuse_first(call: StageCall) -> Receipt:
        if len(partner.calls) == 1:
            raise ApplicationError("partner answered 422", type=REFUSED, non_retryable=True)
        return Receipt()

    partner = ScriptedPartner(refuse_first)
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await failure_of(handle)
        assert (await told(real, "pipeline", "resume", "run")).code == 0
        await waiting(latest(real, handle))
        await call_back(latest(real, handle), partner.calls[1])
        assert (await result_of(latest(real, handle))).outcomes["step-1"].cause == "callback"


@pytest.mark.parametrize("end", ["cancel", "terminate"])
async def test_what_ended_a_run_does_not_end_it_again(real: WorkflowEnvironment, end: str) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        await (handle.cancel() if end == "cancel" else handle.terminate())
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await told(real, "pipeline", "resume", "run")).code == 0
        await waiting(latest(real, handle))
        await call_back(latest(real, handle), partner.calls[0])
        assert (await result_of(latest(real, handle))).outcomes["step-1"].status == "succeeded"


async def test_stages_after_a_resumed_one_are_called_again(real: WorkflowEnvironment) -> None:
    """The callback of stage 1 came, and settles it before its call; stage 2 failed, and is called again."""
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await failed_in_stage_2(real, partner)
        done = await told(real, "pipeline", "resume", "run", "1")
        await waiting(latest(real, handle), 2)
    assert done.err.splitlines() == [
        "resumed: run goes on from before call 1 of stage 1 step-1",
        "called again too, unless their callbacks came: 2 step-2",
    ]
    assert [call.stage for call in partner.calls] == [1, 2, 2]


async def test_commands_for_other_stages_are_kept_by_a_resume(real: WorkflowEnvironment) -> None:
    """Stage 1 was settled by a command, in the very task that called stage 2; a command failed stage 2."""
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2))
        actions: list[Action] = ["succeed", "fail"]
        for number, action in enumerate(actions, start=1):
            await waiting(handle, number)
            command = Command(f"c-{number}", action, number, "ada", "as agreed", data={"n": number}, attempt=1)
            await handle.execute_update(OPERATE, command)
        await failure_of(handle)
        assert (await told(real, "pipeline", "resume", "run")).code == 0
        resumed = await waiting(latest(real, handle), 2)
        await call_back(latest(real, handle), partner.calls[-1])
        outcomes = (await result_of(latest(real, handle))).outcomes
    assert [call.stage for call in partner.calls] == [1, 2, 2]
    assert resumed.ledger == []
    assert [(one.cause, one.data) for one in outcomes.values()] == [("operator", {"n": 1}), ("callback", {})]


async def test_a_command_that_names_no_call_hinders_a_resume(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        await handle.execute_update(OPERATE, Command("c-1", "fail", 1, "ada", "as agreed"))
        await failure_of(handle)
        done = await told(real, "pipeline", "resume", "run")
    assert done.code == 1
    assert "an operator ended the wait of stage 1 of run at" in done.err


async def test_two_operators_at_once_resume_a_run_once(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await failed_in_stage_2(real, partner)
        runs = Runs(real.client)
        before = await runs.describe("run")
        first = await resume(runs, "run", reason="ada", at=time.time())
        seen = [before, await runs.describe("run")]
        with patch.object(runs, "describe", side_effect=seen), pytest.raises(StillOpen, match="resumed meanwhile"):
            await resume(runs, "run", reason="ben", at=time.time())
        await waiting(latest(real, handle), 2)
        assert (await latest(real, handle).describe()).run_id == first.run_id
    assert [call.stage for call in partner.calls] == [1, 2, 2]


async def test_a_resumed_run_that_fails_again_is_resumed_again(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await failed_in_stage_2(real, partner)
        for times in (1, 2):
            assert (await told(real, "pipeline", "resume", "run")).code == 0
            await waiting(latest(real, handle), 2)
            await call_back(latest(real, handle), partner.calls[-1], FAILED)
            with pytest.raises(WorkflowFailureError):
                await latest(real, handle).result()
            assert [call.stage for call in partner.calls] == [1, 2, *[2] * times]


async def test_stages_side_by_side_are_both_called_again(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner, [SideBySide]):
        handle: Handle = await real.client.start_workflow("SideBySide", id="run", task_queue="tests")
        await waiting(handle, 1)
        await waiting(handle, 2)
        of_2 = next(call for call in partner.calls if call.stage == 2)
        await call_back(handle, of_2, FAILED)
        await failure_of(handle)
        done = await told(real, "pipeline", "resume", "run")
        await waiting(latest(real, handle), 1)
        await waiting(latest(real, handle), 2)
    assert done.err.splitlines()[0] == "resumed: run goes on from before call 1 of stage 2 side-2"
    assert "1 side-1" in done.err
    assert sorted(call.stage for call in partner.calls) == [1, 1, 2, 2]


async def test_a_call_before_it_continued_as_new_is_not_found(restless: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(restless.client, partner):
        handle = await start(restless.client, stage(1), stage(2))
        await waiting(handle, 1)
        await call_back(handle, partner.calls[0])
        await waiting(handle, 2)
        await junk_until_continued(restless, handle)
        await call_back(latest(restless, handle), partner.calls[1], FAILED)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        done = await told(restless, "pipeline", "resume", "run")
        assert (done.code, done.out) == (4, "")
        assert "stage 2 of run was not called in its last execution, since it continued as new" in done.err


async def test_a_call_after_it_continued_as_new_is_found(restless: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(restless.client, partner):
        handle = await start(restless.client, stage(1), stage(2))
        await waiting(handle, 1)
        await junk_until_continued(restless, handle)
        await call_back(latest(restless, handle), partner.calls[0])
        await waiting(latest(restless, handle), 2)
        await call_back(latest(restless, handle), partner.calls[1], FAILED)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await told(restless, "pipeline", "resume", "run")).code == 0
        await waiting(latest(restless, handle), 2)
        # The URL of the first execution's call, and the call that a reset took back.
        await call_back(latest(restless, handle), partner.calls[1])
        assert (await result_of(latest(restless, handle))).outcomes["step-2"].status == "succeeded"
    assert [call.stage for call in partner.calls] == [1, 2, 2]
    assert {call.chain_id for call in partner.calls} == {handle.first_execution_run_id}


# --- refusals


async def test_an_open_run_and_a_completed_run_are_not_resumed(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        still_open = await told(real, "pipeline", "resume", "run")
        await call_back(handle, partner.calls[0])
        await result_of(handle)
        completed = await told(real, "pipeline", "resume", "run")
    assert (still_open.code, completed.code) == (1, 1)
    assert still_open.err.splitlines()[0] == "error: the run run is running, so there is nothing to resume"
    assert "pipeline call-again" in still_open.err.splitlines()[1]
    assert completed.err.splitlines()[0] == "error: the run run is completed, so there is nothing to resume"
    assert "pipeline result" in completed.err.splitlines()[1]


async def test_a_stage_that_is_missing_or_was_not_called_is_told(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        await failed_in_stage_2(real, partner)
        missing, uncalled = [await told(real, "pipeline", "resume", "run", number) for number in ("7", "3")]
    assert (missing.code, uncalled.code) == (4, 4)
    assert "the run run has stages 1 to 3, not 7" in missing.err
    assert "stage 3 of run was not called by the run; the stages called are: 1, 2" in uncalled.err


async def test_a_run_that_called_no_partner_is_told(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1, needs={"x": "input.x"}))
        await failure_of(handle)
        done = await told(real, "pipeline", "resume", "run")
    assert done.code == 4
    assert "the stages called are: none" in done.err


async def test_a_stage_that_an_operator_advanced_is_not_resumed(real: WorkflowEnvironment) -> None:
    """The signal would be applied again. Of numbers that no stage has, the run takes no notice."""
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2, needs={"x": "step-1.x"}))
        await waiting(handle)
        for args in ([9], ["junk"], [1]):
            await handle.signal(ADVANCE_STAGE, args=args)
        assert (await failure_of(handle)).type == "MissingData"
        default, first = [await told(real, "pipeline", "resume", "run", *stage) for stage in ([], ["1"])]
        status = (await latest(real, handle).describe()).status
    assert (default.code, first.code) == (4, 1)
    assert "stage 2 of run was not called" in default.err
    assert "an operator ended the wait of stage 1 of run at" in first.err
    assert status is WorkflowExecutionStatus.FAILED


async def test_numbers_that_no_stage_has_do_not_hinder_a_resume(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    junk: list[list[Any]] = [[9], [True], ["junk"], [], [{}, {}, {}]]
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        for args in junk:
            await handle.signal(ADVANCE_STAGE, args=args)
        await call_back(handle, partner.calls[0], FAILED)
        await failure_of(handle)
        assert (await told(real, "pipeline", "resume", "run")).code == 0
        assert (await waiting(latest(real, handle))).attempts == 1


async def test_a_run_whose_history_is_gone_is_told(real: WorkflowEnvironment) -> None:
    """To Temporal, it is like a run that never began."""
    done = await told(real, "pipeline", "resume", "gone")
    assert (done.code, done.out) == (4, "")
    assert done.err.splitlines() == [
        "error: no open or recent run has the id gone: it never began, or its history is gone",
        "  try: start another run with `stagehook pipeline start`",
    ]


async def test_a_stage_opened_long_ago_is_not_resumed(
    restless: WorkflowEnvironment,
) -> None:
    """Only an earlier execution knows when the stage was opened, and so when its URLs expire."""
    partner = ScriptedPartner()
    async with working(restless.client, partner):
        handle = await start(restless.client, stage(1, on_failure="retry", attempts=2))
        await waiting(handle)
        await junk_until_continued(restless, handle)
        await call_back(latest(restless, handle), partner.calls[0], FAILED)
        await until(latest(restless, handle), 1, lambda one: one.state == "waiting" and one.attempts == 2)
        await call_back(latest(restless, handle), partner.calls[-1], FAILED)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        runs, late = Runs(restless.client), partner.calls[-1].expires_at - TOKEN_SLACK / 2 + 1
        with pytest.raises(URLsExpire, match="stage 1 was first called in an earlier execution"):
            await resume(runs, "run", reason="", at=late)
        again = (await resume(runs, "run", reason="", at=late - 2)).again
        await waiting(latest(restless, handle), 1, attempt=2)
    assert [replace(call, data={}) for call in again] == [partner.calls[1]]
    assert partner.calls[2].expires_at == partner.calls[1].expires_at


async def test_progress_of_a_resumed_run_is_of_the_same_chain(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await failed_in_stage_2(real, partner)
        await told(real, "pipeline", "resume", "run", "2")
        await waiting(latest(real, handle), 2)
        progress = await progress_of(latest(real, handle))
    assert progress.chain_id == handle.first_execution_run_id
    assert [one.outcome for one in progress.stages] == ["succeeded", None, None]
