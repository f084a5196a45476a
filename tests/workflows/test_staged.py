"""A run calls its stages in order, and callbacks, operators, answers and time settle each."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import WorkflowEnvironment

from tests.support import (
    QUEUE,
    SOON,
    ScriptedPartner,
    call_back,
    failure_of,
    progress_of,
    result_of,
    skip_time,
    stage,
    start,
    until,
    waiting,
    working,
)
from tests.workflows.classes import SideBySide
from workflows.contract import (
    ADVANCE_STAGE,
    NOT_REACHED,
    REFUSED,
    Answer,
    Callback,
    Receipt,
    StageCall,
)

DAY = 24 * 3600.0


async def test_callbacks_settle_stages_and_later_stages_use_their_data(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(
            skipping.client,
            stage(1, needs={"who": "input.name"}),
            stage(2, needs={"ref": "step-1.found"}),
            given={"name": "ada"},
        )
        await waiting(handle, 1)
        await call_back(handle, partner.calls[0], Answer("succeeded", data={"found": 7}))
        await waiting(handle, 2)
        await call_back(handle, partner.calls[1], Answer("succeeded", data={"done": True}))
        result = await result_of(handle)
    assert [call.data for call in partner.calls] == [{"who": "ada"}, {"ref": 7}]
    assert result.outcomes["step-2"].data == {"done": True}
    assert {outcome.cause for outcome in result.outcomes.values()} == {"callback"}


async def test_a_hand_signal_ends_waits_up_to_its_stage_and_no_call(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1), stage(2), stage(3))
        await waiting(handle, 1)
        await handle.signal(ADVANCE_STAGE, 2)
        await waiting(handle, 3)
        progress = await progress_of(handle)
    assert [(stage.outcome, stage.cause) for stage in progress.stages[:2]] == [("advanced", "operator")] * 2
    assert [call.stage for call in partner.calls] == [1, 2, 3]
    assert progress.advanced_to == 2


async def test_a_hand_signal_does_not_cut_off_a_call(skipping: WorkflowEnvironment) -> None:
    """It ends waits: the partner is asked, however the operator hurries."""
    release = asyncio.Event()

    async def slow(call: StageCall) -> Receipt:
        await release.wait()
        return Receipt(answer=Answer("succeeded", data={"late": 1}))

    partner = ScriptedPartner(slow)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await asyncio.wait_for(partner.asked.wait(), SOON)
        await handle.signal(ADVANCE_STAGE, 1)
        await until(handle, 1, lambda stage: stage.outcome == "advanced")
        release.set()
        result = await result_of(handle)
        ledger = (await progress_of(handle)).stages[0].ledger
    assert (result.outcomes["step-1"].status, result.outcomes["step-1"].data) == ("advanced", {})
    assert [entry.what for entry in ledger] == ["succeeded by answered"]


async def test_a_timeout_fails_the_run_and_names_stage_and_partner(skipping: WorkflowEnvironment) -> None:
    async with working(skipping.client, ScriptedPartner()):
        handle = await start(skipping.client, stage(1, timeout=14 * DAY))
        error = await failure_of(handle)
    assert error.type == "StageTimedOut"
    assert "step-1" in error.message
    assert "partner-1" in error.message
    assert error.details[0] == {"stage": 1, "name": "step-1", "partner": "partner-1", "cause": "timeout"}


async def test_retry_calls_with_other_claims_up_to_its_attempts(
    skipping: WorkflowEnvironment,
) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_timeout="retry", attempts=3))
        error = await failure_of(handle)
    assert error.type == "StageTimedOut"
    assert [call.attempt for call in partner.calls] == [1, 2, 3]
    assert len({call.issued_at for call in partner.calls}) == 3
    assert len({call.expires_at for call in partner.calls}) == 1


async def test_an_earlier_attempts_success_counts_in_an_open_stage(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_timeout="retry", attempts=2))
        await waiting(handle)
        await skip_time(skipping, seconds=3700)
        await waiting(handle, attempt=2)
        await call_back(handle, partner.calls[0])
        outcome = (await result_of(handle)).outcomes["step-1"]
        [shown] = (await progress_of(handle)).stages
    assert (outcome.status, outcome.cause, outcome.attempt) == ("succeeded", "callback", 1)
    # Who would take the work back must see that the reference is not that of the call which was answered.
    assert (shown.outcome_attempt, shown.attempts, shown.reference) == (1, 2, "work-2")


async def test_a_failure_on_an_earlier_attempt_goes_to_the_ledger_only(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_timeout="retry", attempts=2))
        await waiting(handle)
        await skip_time(skipping, seconds=3700)
        await waiting(handle, attempt=2)
        await call_back(handle, partner.calls[0], Answer("failed", code="old"))
        await call_back(handle, partner.calls[1])
        assert (await result_of(handle)).outcomes["step-1"].status == "succeeded"
        ledger = (await progress_of(handle)).stages[0].ledger
    assert [(entry.what, entry.why) for entry in ledger] == [
        ("call 1 failed by timeout", "no callback within 3600 s; calling again"),
        ("callback failed of call 1", "answers another call"),
    ]


async def test_skip_goes_on_without_the_stage(skipping: WorkflowEnvironment) -> None:
    async with working(skipping.client, ScriptedPartner()):
        handle = await start(skipping.client, stage(1, on_timeout="skip"))
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert (outcome.status, outcome.cause, outcome.data) == ("skipped", "timeout", {})


async def test_a_stage_without_a_skipped_ones_data_ends_the_run(
    skipping: WorkflowEnvironment,
) -> None:
    async with working(skipping.client, ScriptedPartner()):
        handle = await start(skipping.client, stage(1, on_timeout="skip"), stage(2, needs={"x": "step-1.found"}))
        error = await failure_of(handle)
    assert error.type == "MissingData"
    assert error.message == "stage 2 step-2 needs step-1.found: stage step-1 skipped without it"


async def test_a_failed_callback_ends_the_run_with_the_partners_words(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("failed", code="no_match", message="not that person"))
        error = await failure_of(handle)
    assert error.type == "StageFailed"
    assert error.message == "stage 1 step-1: partner partner-1: no_match: not that person"


async def test_an_immediate_answer_needs_no_callback(skipping: WorkflowEnvironment) -> None:
    async def answer(call: StageCall) -> Receipt:
        return Receipt(answer=Answer("succeeded", data={"at": "once"}))

    async with working(skipping.client, ScriptedPartner(answer)):
        outcome = (await result_of(await start(skipping.client, stage(1)))).outcomes["step-1"]
    assert (outcome.cause, outcome.data) == ("answered", {"at": "once"})


async def test_a_callback_settles_a_stage_whose_call_is_still_retried(skipping: WorkflowEnvironment) -> None:
    async def lose_the_answer(call: StageCall) -> Receipt:
        raise ApplicationError("no whole answer", type="PartnerUnclear")

    partner = ScriptedPartner(lose_the_answer)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await asyncio.wait_for(partner.asked.wait(), SOON)
        await call_back(handle, partner.calls[0])
        assert (await result_of(handle)).outcomes["step-1"].cause == "callback"


async def test_a_callback_counts_after_the_call_has_failed_for_good(skipping: WorkflowEnvironment) -> None:
    """The partner may have taken a call whose answer was lost."""

    async def unclear(call: StageCall) -> Receipt:
        raise ApplicationError("answered 409", type="PartnerUnclear", non_retryable=True)

    partner = ScriptedPartner(unclear)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        assert (await waiting(handle)).note == "answered 409"
        await call_back(handle, partner.calls[0])
        assert (await result_of(handle)).outcomes["step-1"].cause == "callback"


async def test_an_unclear_call_ends_by_the_timeout_policy(
    skipping: WorkflowEnvironment,
) -> None:
    async def unclear(call: StageCall) -> Receipt:
        raise ApplicationError("partner partner-1 answered 500", type="PartnerUnclear")

    async with working(skipping.client, ScriptedPartner(unclear)):
        error = await failure_of(await start(skipping.client, stage(1, call_within=60.0)))
    assert error.type == "StageTimedOut"
    assert "partner partner-1 answered 500" in error.message


@pytest.mark.parametrize(
    ("policy", "status"), [({}, "failed"), ({"on_timeout": "skip"}, "skipped")], ids=["fail", "skip"]
)
async def test_a_partner_that_surely_was_not_reached_is_not_waited_for(
    skipping: WorkflowEnvironment, policy: dict[str, Any], status: str
) -> None:
    """No callback can come: the policy decides at once, not after days."""

    async def away(call: StageCall) -> Receipt:
        raise ApplicationError("partner partner-1 could not be reached", type=NOT_REACHED)

    async with working(skipping.client, ScriptedPartner(away)):
        handle = await start(skipping.client, stage(1, timeout=DAY, call_within=60.0, **policy))
        with contextlib.suppress(WorkflowFailureError):
            await result_of(handle)
        settled = (await progress_of(handle)).stages[0]
    assert (settled.outcome, settled.cause) == (status, "failed")
    assert settled.message == "partner partner-1 could not be reached"
    assert settled.settled_at is not None
    assert settled.called_at is not None
    assert settled.settled_at - settled.called_at < 120


async def test_data_that_no_call_can_carry_ends_the_run(skipping: WorkflowEnvironment) -> None:
    needs = {f"field-{n}": "input.big" for n in range(6)}
    async with working(skipping.client, ScriptedPartner()):
        handle = await start(skipping.client, stage(1, needs=needs), given={"big": "x" * 200_000})
        assert (await failure_of(handle)).type == "CallTooLarge"


async def test_a_refused_call_fails_the_stage_at_once(skipping: WorkflowEnvironment) -> None:
    async def refuse(call: StageCall) -> Receipt:
        raise ApplicationError("partner partner-1 answered 422: no such bank", type=REFUSED, non_retryable=True)

    async with working(skipping.client, ScriptedPartner(refuse)):
        handle = await start(skipping.client, stage(1))
        error = await failure_of(handle)
        assert (await progress_of(handle)).stages[0].cause == "failed"
    assert error.type == "StageFailed"
    assert error.message.endswith("422: no such bank")


async def test_a_callback_before_the_first_workflow_task_is_kept(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    handle = await start(skipping.client, stage(1), stage(2))
    early = Callback(Answer("succeeded", data={"early": 1}), handle.first_execution_run_id or "", 1, 1)
    await handle.signal(ADVANCE_STAGE, args=[1, early])
    async with working(skipping.client, partner):
        await waiting(handle, 2)
        progress = await progress_of(handle)
    assert progress.stages[0].cause == "callback"
    assert [call.stage for call in partner.calls] == [2]


async def test_progress_callbacks_put_the_deadline_off_up_to_the_cap(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, timeout=100.0, longest_wait=250.0))
        began = await waiting(handle)
        for _ in range(3):
            await skip_time(skipping, seconds=80)
            await call_back(handle, partner.calls[0], Answer("progress", message="still at it"))
        deadline = (await progress_of(handle)).stages[0].deadline
        await failure_of(handle)
        settled_at = (await progress_of(handle)).stages[0].settled_at
    assert began.deadline is not None
    assert deadline == pytest.approx(began.deadline + 150, abs=5)
    assert settled_at == pytest.approx(deadline, abs=5)


async def test_cancelling_a_run_is_its_open_stages_cause(skipping: WorkflowEnvironment) -> None:
    async with working(skipping.client, ScriptedPartner()):
        handle = await start(skipping.client, stage(1))
        await waiting(handle)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as raised:
            await result_of(handle)
        assert isinstance(raised.value.cause, CancelledError)
        assert (await progress_of(handle)).stages[0].cause == "cancelled"


async def test_stages_can_run_side_by_side(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner, [SideBySide]):
        handle = await skipping.client.start_workflow(SideBySide.run, id="both", task_queue=QUEUE)
        await waiting(handle, 1)  # type: ignore[arg-type]
        await waiting(handle, 2)  # type: ignore[arg-type]
        for call in partner.calls:
            await call_back(handle, call)  # type: ignore[arg-type]
        assert await asyncio.wait_for(handle.result(), SOON) == ["succeeded", "succeeded"]
