"""Activity results that no workflow can use: the stage waits with a note, also where an earlier version was stuck."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowHistory
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from activities.worker import WORKFLOWS
from receiver.telling.stories import Teller
from tests.support import (
    ScriptedPartner,
    call_back,
    count_events,
    failure_of,
    progress_of,
    result_of,
    stage,
    start,
    until,
    until_event,
    waiting,
    working,
)
from tests.workflows.classes import LastSeen, TrustingPipeline
from tests.workflows.record_histories import FOLDER
from workflows.contract import ADVANCE_STAGE, Answer, Question, StageCall

pytestmark = pytest.mark.system


def nested(levels: int) -> dict[str, Any]:
    return {"deeper": nested(levels - 1)} if levels else {}


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"code": 1042}, "Answer.code is an int: return text"),
    ({"message": None}, "Answer.message is null: return text"),
    ({"message": {"text": "bad"}}, "Answer.message is a dict: return text"),
    ({"data": []}, "Answer.data is a list: return a JSON object"),
    ({"data": None}, "Answer.data is null: return a JSON object"),
    ({"data": {"score": float("nan")}}, "Answer holds NaN, infinity or a lone surrogate"),
    ({"data": {"score": float("inf")}}, "Answer holds NaN, infinity or a lone surrogate"),
    ({"data": nested(600)}, "Answer is nested more than 64 levels deep"),
    ({"code": "\ud83d"}, "Answer.code holds NaN, infinity or a lone surrogate"),
    ({"data": {"\ud83d": 1}}, "Answer holds NaN, infinity or a lone surrogate"),
    ({"status": "done"}, "not a valid Answer"),
    ({"status": ["failed"]}, "not a valid Answer"),
]


def broken(changes: dict[str, Any]) -> dict[str, Any]:
    """An answer as JSON, with one part that is wrong."""
    return {"status": "failed", "data": {}, "code": "", "message": "", **changes}


class RawPartner(ScriptedPartner):
    """A partner whose activities return whatever the test says, as an earlier version's did."""

    def __init__(self, receipt: Any, status: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self.receipt, self._said = receipt, status

    @activity.defn(name="call_partner")
    async def call_partner(self, call: StageCall) -> Any:
        self.calls.append(call)
        return self.receipt

    @activity.defn(name="ask_partner")
    async def ask_partner(self, question: Question) -> Any:
        self.questions.append(question)
        assert self._said is not None
        return self._said()


async def test_a_stage_waits_with_a_note_on_a_broken_immediate_answer(skipping: WorkflowEnvironment) -> None:
    partner = RawPartner(None)
    async with working(skipping.client, partner):
        for number, (changes, flaw) in enumerate(BROKEN):
            partner.receipt = {"reference": "w-1", "key": "", "answer": broken(changes), "askable": False}
            handle = await start(skipping.client, stage(1), id=f"run-{number}")
            seen = await waiting(handle)
            await call_back(handle, partner.calls[-1])
            assert (await result_of(handle)).outcomes["step-1"].cause == "callback"
            assert flaw in seen.note
            assert seen.note.startswith("partner partner-1 answered, but its answer cannot be used: ")
            assert seen.reference == "w-1"
            assert await count_events(handle, "workflow_task_failed_event_attributes") == 0
            assert len(partner.calls) == number + 1


BROKEN_RECEIPTS: list[tuple[Any, str]] = [
    (None, "expected a Receipt, got null"),
    ([], "expected a Receipt, got a list"),
    ("w-1", "expected a Receipt, got a str"),
    ({"reference": 12345, "askable": True}, "Receipt.reference is an int: return text"),
    ({"reference": "\ud83d", "askable": True}, "Receipt.reference holds NaN, infinity or a lone surrogate"),
    ({"reference": "w-1", "note": 7}, "Receipt.note is an int: return text"),
    ({"reference": "w-1", "answer": "yes"}, "expected an Answer, got a str"),
]


async def test_a_stage_waits_with_a_note_on_a_broken_receipt(skipping: WorkflowEnvironment) -> None:
    partner = RawPartner(None)
    async with working(skipping.client, partner):
        for number, (receipt, flaw) in enumerate(BROKEN_RECEIPTS, 1):
            partner.receipt = receipt
            handle = await start(skipping.client, stage(1, timeout=60.0), id=f"run-{number}")
            assert flaw in (await waiting(handle)).note
            teller = Teller(handle.id, is_open=True, outcomes={}, now=0.0)
            [shown] = teller.stories(await progress_of(handle))
            error = await failure_of(handle)
            assert shown.startswith("stage 1 step-1: called partner-1 at ")
            assert "; trouble with this call: partner partner-1 answered, but its answer cannot be used: " in shown
            assert flaw in shown
            assert (error.type, len(partner.calls), partner.questions) == ("StageTimedOut", number, [])
            assert flaw in error.message


async def test_a_broken_status_is_no_answer(skipping: WorkflowEnvironment) -> None:
    said: list[Any] = []
    partner = RawPartner({"reference": "w-1", "askable": True}, lambda: said.pop(0))
    async with working(skipping.client, partner):
        for number, (changes, flaw) in enumerate([*BROKEN, ({}, "")]):
            said += [broken(changes) if flaw else None, {"status": "succeeded", "data": {"found": 7}}]
            handle = await start(skipping.client, stage(1), id=f"run-{number}")
            await waiting(handle)
            await call_back(handle, partner.calls[-1], Answer("ask"))
            asked = await until(handle, 1, lambda stage: stage.ledger_total == 2)
            outcome = (await result_of(handle)).outcomes["step-1"]
            assert (asked.state, outcome.cause, outcome.data) == ("waiting", "asked", {"found": 7})
            why = asked.ledger[1].why
            assert why.startswith("no answer: partner partner-1 answered, but its answer cannot be used: ")
            assert (flaw or "expected an Answer, got null") in why
            assert await count_events(handle, "workflow_task_failed_event_attributes") == 0


async def test_the_partner_of_a_broken_answer_is_asked_at_the_deadline(skipping: WorkflowEnvironment) -> None:
    receipt = {"reference": "w-1", "askable": True, "answer": broken({"code": 1042})}
    partner = RawPartner(receipt, lambda: {"status": "succeeded"})
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        assert (await result_of(handle)).outcomes["step-1"].cause == "asked"
    assert [question.reference for question in partner.questions] == ["w-1"]


async def test_a_deeply_nested_callback_is_ignored(skipping: WorkflowEnvironment) -> None:
    """A run that took it could not write down its result."""
    partner = RawPartner({"reference": "w-1"})
    async with working(skipping.client, partner):
        handle = await start(skipping.client, stage(1))
        await waiting(handle)
        call = partner.calls[0]
        claims = {"chain_id": call.chain_id, "attempt": call.attempt, "issued_at": call.issued_at}
        deep = {"answer": {"status": "succeeded", "data": nested(600)}, **claims}
        await handle.signal(ADVANCE_STAGE, args=[1, deep])
        await call_back(handle, call, Answer("succeeded", nested(60)))
        assert (await result_of(handle)).outcomes["step-1"].data == nested(60)
        assert (await progress_of(handle)).ignored == {"unreadable callback": 1}


@pytest.mark.timeout(120)
async def test_a_run_stuck_on_a_broken_answer_goes_on_in_this_version(
    skipping: WorkflowEnvironment,
) -> None:
    partner = RawPartner({"reference": "w-1", "answer": broken({"code": 1042})})
    async with working(skipping.client, partner, [TrustingPipeline]):
        handle = await start(skipping.client, stage(1))
        await until_event(handle, "workflow_task_failed_event_attributes")
    async with working(skipping.client, partner, WORKFLOWS):
        # The server gives out a task that has failed n times after some 2^n seconds.
        waits = await until(handle, 1, lambda stage: stage.state == "waiting", within=60.0)
        assert "Answer.code is an int" in waits.note
        await call_back(handle, partner.calls[0])
        assert (await result_of(handle, within=60.0)).outcomes["step-1"].cause == "callback"
    assert len(partner.calls) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("stuck-on-an-answered-code", "Answer.code is an int: return text"),
        ("stuck-on-an-asked-message", "Answer.message is null: return text"),
    ],
)
async def test_a_recorded_run_that_was_stuck_waits_with_its_cause(name: str, says: str) -> None:
    replayer = Replayer(workflows=[LastSeen], workflow_runner=UnsandboxedWorkflowRunner())
    history = WorkflowHistory.from_json("recorded", (FOLDER / f"{name}.json").read_text())
    assert (await replayer.replay_workflow(history)).replay_failure is None
    [seen] = LastSeen.progress_of_the_last_run.stages
    assert seen.state == "waiting"
    assert says in " ".join([seen.note, *(entry.why for entry in seen.ledger)])
