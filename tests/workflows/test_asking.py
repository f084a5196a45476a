"""When a partner is asked how its work stands, and what its answer does, on the time-skipping server."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.worker import WORKFLOWS, workflow_runner
from tests.parts.junk import junk_until_continued
from tests.parts.one_queue import OneQueue
from tests.support import (
    QUEUE,
    SOON,
    Handle,
    ScriptedPartner,
    call_back,
    count_events,
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
from workflows.contract import ADVANCE_STAGE, Answer, Question, Receipt, StageCall
from workflows.stage_record import CANNOT_BE_ASKED


def partner_that_says(*answers: Answer | ApplicationError) -> ScriptedPartner:
    """A partner that can be asked and says one after the other; the last one again and again."""
    said = list(answers)

    async def status(question: Question) -> Answer:
        answer = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(answer, ApplicationError):
            raise answer
        return answer

    return ScriptedPartner(status=status)


def away(*, for_good: bool = False) -> ApplicationError:
    """No answer: the question is asked again, unless the partner is away for good."""
    return ApplicationError("partner partner-1 answered 500", type="PartnerNotAsked", non_retryable=for_good)


async def ledger_of(handle: Handle) -> list[tuple[str, str]]:
    return [(entry.what, entry.why) for entry in (await progress_of(handle)).stages[0].ledger]


async def test_an_ask_me_callback_settles_by_the_partners_answer(
    skipping: WorkflowEnvironment,
) -> None:
    partner = partner_that_says(Answer("succeeded", {"found": 7}))
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("ask"))
        outcome = (await result_of(handle)).outcomes["step-1"]
        ledger = await ledger_of(handle)
    assert (outcome.status, outcome.cause, outcome.data, outcome.attempt) == ("succeeded", "asked", {"found": 7}, 1)
    assert ledger == [("callback ask of call 1", "")]
    [question] = partner.questions
    assert (question.reference, question.call) == ("work-1", partner.calls[0])


async def test_the_question_leaves_out_the_calls_data(skipping: WorkflowEnvironment) -> None:
    partner = partner_that_says(Answer("succeeded"))
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, needs={"who": "input.who"}), given={"who": "ada"})
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("ask"))
        await result_of(handle)
    assert (partner.calls[0].data, partner.questions[0].call.data) == ({"who": "ada"}, {})


async def test_a_failure_by_asking_ends_the_run_in_the_partners_words(
    skipping: WorkflowEnvironment,
) -> None:
    partner = partner_that_says(Answer("failed", code="no_match", message="not that person"))
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("ask"))
        error = await failure_of(handle)
    assert error.message == "stage 1 step-1: partner partner-1: no_match: not that person"
    assert error.details[0]["cause"] == "asked"


async def test_a_partner_still_at_work_extends_the_deadline(skipping: WorkflowEnvironment) -> None:
    partner = partner_that_says(Answer("progress", message="queued"), Answer("succeeded"))
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, timeout=100.0))
        began = await waiting(handle)
        await skip_time(skipping, seconds=80)
        await call_back(handle, partner.calls[0], Answer("ask"))
        asked = await until(handle, 1, lambda stage: stage.ledger_total == 2)
        assert (await result_of(handle)).outcomes["step-1"].cause == "asked"
    assert [(entry.what, entry.why) for entry in asked.ledger][1] == ("asked: progress", "queued")
    assert asked.deadline == pytest.approx((began.deadline or 0) + 80, abs=5)


async def test_a_passed_deadline_asks_before_the_policy(skipping: WorkflowEnvironment) -> None:
    partner = partner_that_says(Answer("succeeded", {"late": 1}))
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert (outcome.cause, outcome.data, len(partner.questions)) == ("asked", {"late": 1}, 1)


async def test_a_partner_always_at_work_is_waited_for_up_to_the_cap(skipping: WorkflowEnvironment) -> None:
    partner = partner_that_says(Answer("progress"))
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, timeout=100.0, longest_wait=250.0))
        error = await failure_of(handle)
        settled = (await progress_of(handle)).stages[0]
    assert error.type == "StageTimedOut"
    assert len(partner.questions) == 3
    assert (settled.settled_at or 0) - (settled.called_at or 0) == pytest.approx(250, abs=10)


async def test_the_policy_calls_again_after_asking_in_vain(skipping: WorkflowEnvironment) -> None:
    partner = partner_that_says(away())
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, timeout=60.0, on_timeout="retry", attempts=2))
        error = await failure_of(handle)
        ledger = await ledger_of(handle)
    assert error.type == "StageTimedOut"
    assert [call.attempt for call in partner.calls] == [1, 2]
    assert {question.reference for question in partner.questions} == {"work-1", "work-2"}
    asked = ("asked", "no answer: partner partner-1 answered 500")
    assert ledger == [asked, ("call 1 failed by timeout", "no callback within 60 s; calling again"), asked]


async def test_a_failed_question_leaves_the_stage_waiting(skipping: WorkflowEnvironment) -> None:
    partner = partner_that_says(away())
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, timeout=7200.0))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("ask"))
        await skip_time(skipping, seconds=600)
        asked = await until(handle, 1, lambda stage: stage.ledger_total == 2)
        assert (asked.state, asked.ledger[1].what) == ("waiting", "asked")
        await call_back(handle, partner.calls[0])
        assert (await result_of(handle)).outcomes["step-1"].cause == "callback"


async def test_ask_me_of_a_partner_that_cannot_be_asked_is_only_kept(skipping: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("ask"))
        kept = await until(handle, 1, lambda stage: stage.ledger_total == 1)
        await call_back(handle, partner.calls[0])
        await result_of(handle)
    assert (kept.state, kept.ledger[0].why) == ("waiting", CANNOT_BE_ASKED)
    assert partner.questions == []


@pytest.mark.parametrize("askable", [True, False])
async def test_an_ask_me_during_the_call_waits_for_its_receipt(skipping: WorkflowEnvironment, *, askable: bool) -> None:
    release = asyncio.Event()

    async def slow(call: StageCall) -> Receipt:
        await release.wait()
        return Receipt("late-reference", askable=askable)

    async def status(question: Question) -> Answer:
        return Answer("succeeded", {"asked": question.reference})

    partner = ScriptedPartner(slow, status)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await asyncio.wait_for(partner.asked.wait(), SOON)
        await call_back(handle, partner.calls[0], Answer("ask"))
        release.set()
        if askable:
            assert (await result_of(handle)).outcomes["step-1"].data == {"asked": "late-reference"}
        else:
            kept = await until(handle, 1, lambda stage: stage.ledger_total == 2)
            assert kept.ledger[1].why == CANNOT_BE_ASKED


async def test_a_callback_overtakes_asking(skipping: WorkflowEnvironment) -> None:
    begun = asyncio.Event()

    async def hang(question: Question) -> Answer:
        begun.set()
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    partner = ScriptedPartner(status=hang)
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("ask"))
        await asyncio.wait_for(begun.wait(), SOON)
        await call_back(handle, partner.calls[0], Answer("succeeded", {"n": 1}))
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert (outcome.cause, outcome.data) == ("callback", {"n": 1})


async def test_many_ask_me_callbacks_ask_few_times_with_growing_pauses(skipping: WorkflowEnvironment) -> None:
    partner = partner_that_says(Answer("progress"))
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, timeout=7200.0))
        await waiting(handle)
        for _ in range(30):
            await call_back(handle, partner.calls[0], Answer("ask"))
        await until(handle, 1, lambda stage: stage.ledger_total >= 31)
        await skip_time(skipping, seconds=120)
        progress = (await progress_of(handle)).stages[0]
        await handle.signal(ADVANCE_STAGE, 1)
    assert progress.state == "waiting"
    assert 1 < len(partner.questions) <= 3


async def test_an_ask_me_for_an_earlier_call_is_only_kept(skipping: WorkflowEnvironment) -> None:
    partner = partner_that_says(away(for_good=True), Answer("succeeded"))
    partner_calls = partner.calls
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1, timeout=3600.0, on_timeout="retry", attempts=2))
        await waiting(handle)
        await skip_time(skipping, seconds=3700)
        await waiting(handle, attempt=2)
        asked = len(partner.questions)
        await call_back(handle, partner_calls[0], Answer("ask"))
        await until(handle, 1, lambda stage: stage.ledger_total >= 2)
        assert len(partner.questions) == asked
        await call_back(handle, partner_calls[1])
        assert (await result_of(handle)).outcomes["step-1"].cause == "callback"


async def test_a_worker_that_does_not_know_the_activity_fails_no_run(skipping: WorkflowEnvironment) -> None:
    """An older one beside a newer one: what it cannot do, the policy decides."""
    partner = partner_that_says(Answer("succeeded"))
    older = Worker(
        skipping.client,
        task_queue=QUEUE,
        workflows=WORKFLOWS,
        activities=[partner.call_partner],
        interceptors=[OneQueue()],
        workflow_runner=workflow_runner(),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    )
    async with older:
        handle = await start(skipping.client, stage(1, on_timeout="skip"))
        outcome = (await result_of(handle)).outcomes["step-1"]
        ledger = await ledger_of(handle)
    assert (outcome.status, outcome.cause) == ("skipped", "timeout")
    assert ledger[0][0] == "asked"
    assert await count_events(handle, "workflow_task_failed_event_attributes") == 0


@pytest.mark.system
async def test_a_run_that_continues_as_new_while_asking_asks_again(restless: WorkflowEnvironment) -> None:
    answering, begun = asyncio.Event(), asyncio.Event()

    async def status(question: Question) -> Answer:
        begun.set()
        if not answering.is_set():
            raise away()
        return Answer("succeeded", {"ref": question.reference})

    partner = ScriptedPartner(status=status)
    async with working(restless.client, partner):
        handle = await start(restless.client, stage(1))
        await waiting(handle)
        await call_back(handle, partner.calls[0], Answer("ask"))
        await asyncio.wait_for(begun.wait(), SOON)
        await junk_until_continued(restless, handle)
        answering.set()
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert (outcome.cause, outcome.data) == ("asked", {"ref": "work-1"})
    assert Counter(call.attempt for call in partner.calls) == {1: 1}
