"""Every policy against every way in which a call does not succeed, on the time-skipping server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any, Final

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from tests.support import (
    Handle,
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
from workflows.contract import (
    ESCALATE_WITHIN,
    LONGEST_RETRY_PAUSE,
    NOT_REACHED,
    REFUSED,
    Answer,
    Policy,
    Question,
    Receipt,
    Stage,
    StageCall,
)
from workflows.durations import DAY, HOUR, MINUTE
from workflows.policies import decide
from workflows.stage_record import StageRecord

POLICIES: Final[tuple[Policy, ...]] = ("fail", "retry", "skip", "escalate")
TROUBLES: Final = {
    "silent": ("on_timeout", "timeout"),
    "unreachable": ("on_timeout", "failed"),
    "declining": ("on_failure", "callback"),
    "answering": ("on_failure", "answered"),
    "asked": ("on_failure", "asked"),
    "refusing": ("on_failure", "failed"),
}
"""How a partner behaves, by its name: the policy that decides, and the cause of the outcome."""

NO: Final = Answer("failed", code="declined", message="not that person")


def partner_in_trouble() -> ScriptedPartner:
    """Plays every partner of `TROUBLES`, each known by its name."""

    async def answer(call: StageCall) -> Receipt:
        match call.partner:
            case "unreachable":
                raise ApplicationError("no route", type=NOT_REACHED)
            case "refusing":
                raise ApplicationError("answered 422", type=REFUSED, non_retryable=True)
            case "answering":
                return Receipt(answer=NO)
        return Receipt(reference="work", askable=call.partner == "asked")

    async def status(question: Question) -> Answer:
        return NO

    return ScriptedPartner(answer, status)


async def decline(handle: Handle, partner: ScriptedPartner, attempt: int = 1) -> None:
    """Call back `failed` once the stage waits: the time-skipping server stands still for a call that is overtaken."""
    await waiting(handle, attempt=attempt)
    calls = [call for call in partner.calls if (call.workflow_id, call.attempt) == (handle.id, attempt)]
    await call_back(handle, calls[0], NO)


async def outcome_of(handle: Handle) -> tuple[Any, ...]:
    with contextlib.suppress(WorkflowFailureError):
        await result_of(handle)
    settled = (await progress_of(handle)).stages[0]
    return settled.outcome, settled.cause, settled.attempts


@pytest.mark.timeout(120)
async def test_each_policy_decides_each_trouble(skipping: WorkflowEnvironment) -> None:
    partner = partner_in_trouble()
    expected, handles = {}, {}
    async with working(skipping.client, partner):
        for policy in POLICIES:
            for trouble, (decided_by, cause) in TROUBLES.items():
                other = "on_timeout" if decided_by == "on_failure" else "on_failure"
                policies = {decided_by: policy, other: "fail" if policy == "skip" else "skip"}
                attempts = 2 if policy == "retry" else 1
                run_id = f"{trouble}-{policy}"
                one = stage(1, partner=trouble, call_within=5.0, attempts=attempts, **policies)
                handles[run_id] = await start(skipping.client, one, id=run_id)
                expected[run_id] = ("skipped" if policy == "skip" else "failed", cause, attempts)
                if trouble == "declining":
                    for attempt in range(1, attempts + 1):
                        await decline(handles[run_id], partner, attempt)
        assert {run_id: await outcome_of(handle) for run_id, handle in handles.items()} == expected


async def test_a_stage_that_escalates_waits_thirty_days(skipping: WorkflowEnvironment) -> None:
    async with working(skipping.client, ScriptedPartner()):
        handle = await start(skipping.client, stage(1, on_timeout="escalate"))
        await waiting(handle)
        await skip_time(skipping, seconds=HOUR + 60)
        shown = await until(handle, 1, lambda known: known.state == "needs_person")
        error = await failure_of(handle)
    assert shown.deadline is not None
    assert shown.called_at is not None
    assert shown.deadline - shown.called_at == pytest.approx(HOUR + ESCALATE_WITHIN, abs=5)
    assert [(entry.what, entry.why) for entry in shown.ledger] == [
        ("call 1 failed by timeout", "no callback within 3600 s; waiting for a person"),
    ]
    assert error.type == "StageTimedOut"
    assert "no person settled it within 30 days" in error.message


async def test_a_late_success_settles_a_stage_that_needs_a_person(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_timeout="retry", on_failure="escalate", attempts=2))
        await waiting(handle)
        await skip_time(skipping, seconds=HOUR + 60)
        await waiting(handle, attempt=2)
        await call_back(handle, partner.calls[1], NO)
        await until(handle, 1, lambda known: known.state == "needs_person")
        await call_back(handle, partner.calls[1], NO)
        await call_back(handle, partner.calls[0])
        outcome = (await result_of(handle)).outcomes["step-1"]
        ledger = (await progress_of(handle)).stages[0].ledger
    assert (outcome.status, outcome.cause, outcome.attempt) == ("succeeded", "callback", 1)
    assert [(entry.what, entry.why) for entry in ledger[1:]] == [
        ("call 2 failed by callback", "declined: not that person; waiting for a person"),
        ("failed by callback", "declined: not that person"),
    ]


async def test_a_person_can_take_as_long_as_the_stage_says(skipping: WorkflowEnvironment) -> None:
    partner = partner_in_trouble()
    async with working(skipping.client, partner):
        one = stage(1, partner="answering", on_failure="escalate", escalate_within=2 * HOUR)
        handle = await start(skipping.client, one)
        error = await failure_of(handle)
    assert error.message.endswith("declined: not that person; no person settled it within 2 hours")


async def test_the_pauses_between_calls_double(skipping: WorkflowEnvironment) -> None:
    partner = partner_in_trouble()
    async with working(skipping.client, partner):
        one = stage(1, partner="declining", on_failure="retry", attempts=4, retry_pause=600.0)
        handle = await start(skipping.client, one)
        for attempt in range(1, 5):
            await decline(handle, partner, attempt)
            await skip_time(skipping, seconds=one.pause_after(attempt))
        error = await failure_of(handle)
    times = [call.issued_at for call in partner.calls]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses == [pytest.approx(seconds, abs=5) for seconds in (600, 1200, 2400)]
    assert error.message == "stage 1 step-1: partner declining: declined: not that person"
    assert len({call.expires_at for call in partner.calls}) == 1


async def test_a_success_ends_the_pause(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_failure="retry", attempts=2, retry_pause=HOUR))
        await waiting(handle)
        await call_back(handle, partner.calls[0], NO)
        paused = await until(handle, 1, lambda known: known.calls_again_at is not None)
        assert (paused.state, paused.message, paused.attempts) == ("waiting", "not that person", 1)
        await call_back(handle, partner.calls[0])
        assert (await result_of(handle)).outcomes["step-1"].status == "succeeded"
    assert len(partner.calls) == 1


async def test_the_end_of_a_pause_asks_nothing(skipping: WorkflowEnvironment) -> None:
    """The call is over, whatever became of its work: the next call is due."""

    async def status(question: Question) -> Answer:
        return Answer("progress")

    partner = ScriptedPartner(status=status)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_failure="retry", attempts=2, retry_pause=60.0))
        await decline(handle, partner)
        await skip_time(skipping, seconds=70)
        await waiting(handle, attempt=2)
        await call_back(handle, partner.calls[1])
        await result_of(handle)
    assert partner.questions == []


async def test_a_partner_is_asked_as_often_as_the_stage_says(skipping: WorkflowEnvironment) -> None:
    said = [Answer("progress", message="in review")] * 5 + [Answer("succeeded")]

    async def status(question: Question) -> Answer:
        return said.pop(0)

    partner = ScriptedPartner(status=status)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, timeout=DAY, ask_every=10 * MINUTE))
        outcome = (await result_of(handle)).outcomes["step-1"]
        shown = (await progress_of(handle)).stages[0]
    assert (outcome.status, outcome.cause) == ("succeeded", "asked")
    assert shown.called_at is not None
    assert outcome.at - shown.called_at == pytest.approx(HOUR, abs=30)
    # The ledger does not repeat an answer.
    assert [(entry.what, entry.why) for entry in shown.ledger] == [("asked: progress", "in review")]


async def test_an_ask_callback_is_answered_while_a_person_is_needed(skipping: WorkflowEnvironment) -> None:
    said = [Answer("failed", code="declined"), Answer("succeeded")]

    async def status(question: Question) -> Answer:
        return said.pop(0)

    partner = ScriptedPartner(status=status)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_failure="escalate"))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("ask"))
        await until(handle, 1, lambda known: known.state == "needs_person")
        await call_back(handle, partner.calls[0], Answer("ask"))
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert (outcome.status, outcome.cause) == ("succeeded", "asked")


async def test_a_failed_callback_cuts_a_retried_call_short(skipping: WorkflowEnvironment) -> None:
    first = asyncio.Event()

    async def lose_the_answer(call: StageCall) -> Receipt:
        if call.attempt == 1:
            first.set()
            raise ApplicationError("no whole answer", type="PartnerUnclear")
        return Receipt(answer=Answer("succeeded"))

    partner = ScriptedPartner(lose_the_answer)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, on_failure="retry", attempts=2))
        await first.wait()
        await call_back(handle, partner.calls[0], NO)
        assert (await result_of(handle)).outcomes["step-1"].attempt == 2


# --- without a server


def in_trouble(one: Stage, attempt: int = 1) -> StageRecord:
    record = StageRecord()
    record.open(at=0.0)
    record.begin(attempt=attempt, issued_at=0, at=0.0, on_failure=one.on_failure)
    record.returned(at=0.0)
    record.wait(at=0.0, timeout=one.timeout, cap=one.wait_cap)
    return record


def test_no_pause_is_longer_than_an_hour() -> None:
    one = stage(1, on_failure="retry", attempts=100, retry_pause=60.0)
    assert one.pause_after(1) == 60.0
    assert one.pause_after(7) == LONGEST_RETRY_PAUSE == HOUR
    assert one.pause_after(5_000) == HOUR


def test_tokens_outlive_pauses_and_escalation() -> None:
    times = {"timeout": 100.0, "longest_wait": 100.0, "call_within": 10.0, "call_timeout": 5.0}
    retried = stage(1, on_failure="retry", attempts=3, retry_pause=60.0, **times)
    assert retried.longest_open == 3 * 115.0 + 60.0 + 120.0
    assert stage(1, on_timeout="escalate", **times).longest_open == 115.0 + ESCALATE_WITHIN
    assert stage(1, on_failure="escalate", escalate_within=DAY, **times).longest_open == 115.0 + DAY


def test_a_decision_settles_nothing_that_is_settled() -> None:
    one = stage(1)
    record = in_trouble(one)
    record.settle("succeeded", "callback", at=1.0)
    decide(one, record, at=2.0)
    assert record.outcome is not None
    assert (record.outcome.status, record.outcome.at) == ("succeeded", 1.0)


def test_an_operators_extension_is_named_in_the_outcome() -> None:
    one = stage(1, timeout=60.0)
    record = in_trouble(one)
    record.extend(120.0)
    assert record.deadline == 180.0
    decide(one, record, at=180.0)
    assert record.outcome is not None
    assert record.outcome.message == "no callback within 60 s, which operators extended by 2 minutes"
