"""Operators' commands against runs: what each does, and every race between a command and another cause."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities.operations import SeenCall, WentOn
from activities.operations import operate as send
from activities.runs import Runs
from tests.parts.junk import junk_until_continued
from tests.support import (
    SOON,
    Handle,
    ScriptedPartner,
    call_back,
    count_events,
    failure_of,
    operate,
    progress_of,
    result_of,
    skip_time,
    stage,
    start,
    until,
    until_event,
    waiting,
    working,
)
from workflows.contract import (
    COMMAND_REFUSED,
    OPERATE,
    OUTCOMES,
    Action,
    Answer,
    Applied,
    Command,
    PipelineResult,
    Question,
    Receipt,
    StageCall,
)
from workflows.durations import DAY, HOUR

NO = Answer("failed", code="declined")


async def refusal_of(handle: Handle, action: Action, number: int = 1, **changes: Any) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as raised:
        await operate(handle, action, number, **changes)
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.type == COMMAND_REFUSED
    return raised.value.cause.message


def last_call(partner: ScriptedPartner, run_id: str) -> StageCall:
    return [call for call in partner.calls if call.workflow_id == run_id][-1]


async def until_admitted(real: WorkflowEnvironment, handle: Handle, update_id: str) -> None:
    """Return once the server holds the update: without a worker, its sender hears nothing."""
    reference = UpdateRef(workflow_execution=WorkflowExecution(workflow_id=handle.id), update_id=update_id)
    request = PollWorkflowExecutionUpdateRequest(namespace=real.client.namespace, update_ref=reference)
    async with asyncio.timeout(3 * SOON):
        while True:
            with contextlib.suppress(RPCError):
                await real.client.workflow_service.poll_workflow_execution_update(request)
                return
            await asyncio.sleep(0.02)


async def length_of(handle: Handle) -> int:
    return len([None async for _ in handle.fetch_history_events()])


async def test_a_stage_that_needs_a_person_takes_every_command(real: WorkflowEnvironment) -> None:
    """Four runs, each with a partner that declined: one is called again, the others are settled."""
    partner = ScriptedPartner()
    async with working(real.client, partner):
        runs: dict[str, Handle] = {}
        actions: tuple[Action, ...] = ("call-again", "succeed", "skip", "fail")
        for action in actions:
            runs[action] = await start(real.client, stage(1, on_failure="escalate"), id=action)
            await waiting(runs[action])
            await call_back(runs[action], last_call(partner, action), NO)
            await until(runs[action], 1, lambda known: known.state == "needs_person")
            await operate(runs[action], action, data={"found": 1} if action == "succeed" else {})
        await waiting(runs["call-again"], attempt=2)
        await call_back(runs["call-again"], last_call(partner, "call-again"))
        outcomes = {}
        for completed in ("call-again", "succeed", "skip"):
            one = (await result_of(runs[completed])).outcomes["step-1"]
            outcomes[completed] = (one.status, one.cause, one.data)
        error = await failure_of(runs["fail"])
    assert outcomes == {
        "call-again": ("succeeded", "callback", {}),
        "succeed": ("succeeded", "operator", {"found": 1}),
        "skip": ("skipped", "operator", {}),
    }
    assert (error.type, error.message) == ("StageFailed", "stage 1 step-1: partner partner-1: as agreed")


async def test_a_refused_command_leaves_no_event(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        before = await length_of(handle)
        assert await refusal_of(handle, "call-again", 2) == (
            "stage 2 was not called yet: its first call comes with its turn"
        )
        assert (await refusal_of(handle, "extend", seconds=-1.0)).startswith("cannot extend by -1 s")
        assert (await refusal_of(handle, "skip", attempt=2)).startswith("stage 1 is at call 1 by now, not 2")
        assert await length_of(handle) == before
        await operate(handle, "skip")
        await waiting(handle, 2)
        assert await refusal_of(handle, "skip", id="later") == "stage 1 is settled: skipped by operator"


async def test_a_deadline_can_be_put_off(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        before = (await waiting(handle)).deadline
        applied = await operate(handle, "extend", seconds=DAY)
        shown = await waiting(handle)
        await skip_time(skipping, seconds=HOUR + 60)
        assert (await waiting(handle)).state == "waiting"
        error = await failure_of(handle)
    assert before is not None
    assert shown.deadline == before + DAY
    assert applied.what == "extend by 1 day, by alice"
    assert [(entry.what, entry.why) for entry in shown.ledger] == [(applied.what, "as agreed")]
    assert error.message.endswith("no callback within 3600 s, which operators extended by 1 day")


async def test_a_call_again_gets_a_url_that_lives_long_enough(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_timeout="escalate"))
        await waiting(handle)
        await skip_time(skipping, days=20)
        await operate(handle, "call-again")
        await waiting(handle, attempt=2)
        await call_back(handle, partner.calls[0])
        assert (await result_of(handle)).outcomes["step-1"].attempt == 1
    first, second = partner.calls
    assert second.expires_at - second.issued_at == pytest.approx(first.expires_at - first.issued_at, abs=2)
    assert second.expires_at > first.expires_at


async def test_extending_a_deadline_changes_no_call(skipping: WorkflowEnvironment) -> None:
    """A question about a call, and a repeated call, name the expiry that the call's URL has."""

    async def status(question: Question) -> Answer:
        return Answer("succeeded")

    partner = ScriptedPartner(status=status)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_timeout="escalate"))
        await waiting(handle)
        await operate(handle, "extend", seconds=20 * DAY)
        assert (await result_of(handle)).outcomes["step-1"].cause == "asked"
    [call], [question] = partner.calls, partner.questions
    assert question.call.expires_at == call.expires_at


async def test_a_command_settles_a_stage_before_its_turn(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1), stage(2), stage(3, needs={"x": "step-2.found"}))
        await waiting(handle)
        await operate(handle, "succeed", 2, data={"found": "by hand"})
        await call_back(handle, partner.calls[0])
        await waiting(handle, 3)
        await call_back(handle, partner.calls[1])
        outcomes = (await result_of(handle)).outcomes
        shown = await handle.query(OUTCOMES, result_type=PipelineResult)
        attempts = [known.attempts for known in (await progress_of(handle)).stages]
    assert [call.stage for call in partner.calls] == [1, 3]
    assert partner.calls[1].data == {"x": "by hand"}
    assert outcomes["step-2"].attempt == 0
    assert attempts == [1, 0, 1]
    assert shown.outcomes == outcomes


async def test_a_command_cuts_a_retried_call_short(skipping: WorkflowEnvironment) -> None:
    async def lose_the_answer(call: StageCall) -> Receipt:
        raise ApplicationError("no whole answer", type="PartnerUnclear")

    partner = ScriptedPartner(lose_the_answer)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await asyncio.wait_for(partner.asked.wait(), SOON)
        await operate(handle, "skip")
        assert (await result_of(handle)).outcomes["step-1"].status == "skipped"


# --- races, on the real server


@pytest.mark.parametrize("first", ["command", "callback"])
async def test_a_callback_in_the_task_of_a_command_settles(real: WorkflowEnvironment, first: str) -> None:
    """The worker is away while both are sent, and finds them in one task."""
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
    command = Command("id-1", "succeed", 1, "alice", "as agreed", data={"by": "hand"})
    if first == "callback":
        await call_back(handle, partner.calls[0])
    sending = asyncio.ensure_future(handle.execute_update(OPERATE, command, id=command.id, result_type=Applied))
    await until_admitted(real, handle, command.id)
    if first == "command":
        await call_back(handle, partner.calls[0])
    async with working(real.client, partner):
        answer = (await asyncio.gather(sending, return_exceptions=True))[0]
        await waiting(handle, 2)
        shown = (await progress_of(handle)).stages[0]
    # The server hands a worker the signals of a task before its updates, so the callback wins in either order.
    assert (shown.outcome, shown.cause, shown.ledger_total) == ("succeeded", "callback", 0)
    assert isinstance(answer, WorkflowUpdateFailedError)
    assert str(answer.cause).endswith("stage 1 is settled: succeeded by callback")


async def test_a_last_command_is_applied_while_callbacks_arrive(real: WorkflowEnvironment) -> None:
    """Temporal drops a command that ends the run, if a signal arrives during its task: it is sent again."""
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await waiting(handle)

        async def call_back_often() -> None:
            for _ in range(60):
                await call_back(handle, partner.calls[0], Answer("progress"))

        flood = asyncio.ensure_future(call_back_often())
        async with asyncio.timeout(3 * SOON):
            applied = await send(Runs(real.client), "run", Command("id-1", "succeed", 1, "alice", "as agreed"))
            assert (await result_of(handle)).outcomes["step-1"].cause == "operator"
        await asyncio.gather(flood, return_exceptions=True)  # the run has ended
    assert applied.what == "succeed, by alice"


async def test_of_two_operators_at_once_one_settles(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        both = await asyncio.gather(
            operate(handle, "skip", id="alice-1"),
            operate(handle, "succeed", id="bob-1", actor="bob"),
            return_exceptions=True,
        )
        shown = (await progress_of(handle)).stages[0]
    [applied] = [one for one in both if isinstance(one, Applied)]
    [refused] = [one for one in both if isinstance(one, WorkflowUpdateFailedError)]
    assert isinstance(refused.cause, ApplicationError)
    assert refused.cause.message == f"stage 1 is settled: {shown.outcome} by operator"
    assert [entry.what for entry in shown.ledger] == [applied.what]


async def test_a_success_after_escalating_wins_over_a_later_command(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1, on_timeout="escalate", timeout=1.0), stage(2))
        await until(handle, 1, lambda known: known.state == "needs_person")
        await call_back(handle, partner.calls[0])
        await waiting(handle, 2)
        assert await refusal_of(handle, "fail") == "stage 1 is settled: succeeded by callback"


@pytest.mark.system
async def test_a_command_acts_once_across_continue_as_new(restless: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(restless.client, partner):
        handle = await start(restless.client, stage(1, on_failure="escalate"))
        await waiting(handle)
        await call_back(handle, partner.calls[0], NO)
        before = (await until(handle, 1, lambda known: known.state == "needs_person")).deadline
        await operate(handle, "extend", seconds=DAY)
        await junk_until_continued(restless, handle)
        handle = cast(Handle, restless.client.get_workflow_handle("run", result_type=PipelineResult))
        again = await operate(handle, "extend", seconds=DAY)
        shown = (await progress_of(handle)).stages[0]
        assert (shown.state, shown.code) == ("needs_person", "declined")
        assert [entry.what for entry in shown.ledger][-1] == "extend by 1 day, by alice"
        await call_back(handle, partner.calls[0])
        assert (await result_of(handle)).outcomes["step-1"].status == "succeeded"
    assert again.again
    assert before is not None
    assert shown.deadline == before + DAY


async def test_a_command_is_carried_out_when_a_worker_comes(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
    command = Command("id-1", "skip", 1, "alice", "as agreed")
    sending = asyncio.ensure_future(handle.execute_update(OPERATE, command, id=command.id, result_type=Applied))
    async with working(real.client, partner):
        applied = await asyncio.wait_for(sending, 3 * SOON)
        await waiting(handle, 2)
    assert applied.what == "skip, by alice"


async def test_a_failed_callback_overtakes_a_call_that_is_retried(real: WorkflowEnvironment) -> None:
    async def decline_and_lose_the_answer(call: StageCall) -> Receipt:
        if call.attempt == 1:
            await call_back(real.client.get_workflow_handle("run"), call, NO)
            raise ApplicationError("no whole answer", type="PartnerUnclear")
        return Receipt(answer=Answer("succeeded"))

    async with working(real.client, ScriptedPartner(decline_and_lose_the_answer)):
        handle = await start(real.client, stage(1, on_failure="retry", attempts=2))
        assert (await result_of(handle)).outcomes["step-1"].attempt == 2


@pytest.mark.system
async def test_an_extension_in_the_task_of_the_timer_counts(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1, timeout=2.0))
        await waiting(handle)
    command = Command("id-1", "extend", 1, "alice", "as agreed", seconds=HOUR)
    sending = asyncio.ensure_future(handle.execute_update(OPERATE, command, id=command.id, result_type=Applied))
    await until_event(handle, "timer_fired_event_attributes")
    async with working(real.client, partner):
        await asyncio.wait_for(sending, 3 * SOON)
        await call_back(handle, partner.calls[0])
        assert (await result_of(handle)).outcomes["step-1"].cause == "callback"
    assert await count_events(handle, "timer_started_event_attributes") >= 1


async def test_a_repeated_command_is_for_the_call_that_was_seen(real: WorkflowEnvironment) -> None:
    """It may have been carried out before, so only the run can tell; but it must not end the next call."""
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        first = await waiting(handle)
        seen = SeenCall((await progress_of(handle)).chain_id, 1, first.called_at)
        await operate(handle, "call-again")
        await waiting(handle, attempt=2)
        command = Command("of-the-first-call", "fail", 1, "alice", "as agreed")
        with pytest.raises(WentOn, match="call 2 by now"):
            await send(Runs(real.client), handle.id, command, repeated=True, seen=seen)
        assert (await waiting(handle, attempt=2)).outcome is None


async def test_a_command_for_a_run_that_has_ended_is_refused(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        await operate(handle, "fail")
        with contextlib.suppress(WorkflowFailureError):
            await result_of(handle)
        with pytest.raises(Exception, match=r"(?i)completed|not found"):
            await operate(handle, "skip", id="late")
