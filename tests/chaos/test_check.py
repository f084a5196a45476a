"""The checks of a chaos run on hand-made evidence: each reports its break, and nothing in a sound run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from activities.callback_urls import Claims
from receiver.deliveries.delivery import Delivery, Fate
from receiver.sandbox.roles import SANDBOX
from tests.chaos.check import broken_invariants, settled_by_callback
from tests.chaos.evidence import Evidence, Kept, Window
from tests.chaos.ledger import Entry, Kind
from tests.chaos.partner import Call
from tests.chaos.plan import Habit
from workflows.contract import ADVANCE_STAGE, Answer, Callback

CLAIMS = Claims("run-1", "chain", 1, 1, "sandbox", 1_790_000_000, 4_000_000_000)
DONE = Answer("succeeded", data={"n": 1})
OTHER = Answer("succeeded", data={"n": 2})
FIRST, SECOND = (Answer("progress", message=f"part {number}") for number in (1, 2))


def payload(value: Any) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())


def history(*answers: Answer, settled_by: Answer | None = DONE) -> WorkflowHistory:
    """A run of one stage that took these callbacks, and ended at 100 s."""
    begun = HistoryEvent(event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
    begun.workflow_execution_started_event_attributes.first_execution_run_id = "chain"
    events = [begun]
    for number, answer in enumerate(answers, start=2):
        event = HistoryEvent(event_id=number, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
        signal = event.workflow_execution_signaled_event_attributes
        signal.signal_name = ADVANCE_STAGE
        callback = asdict(Callback(answer, "chain", 1, CLAIMS.issued_at))
        signal.input.CopyFrom(Payloads(payloads=[payload(1), payload(callback)]))
        events.append(event)
    if settled_by:
        ended = HistoryEvent(event_id=99, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)
        ended.event_time.seconds = 100
        outcome = {"status": "succeeded", "cause": "callback", "attempt": 1, "data": dict(settled_by.data)}
        result = {"pipeline": "chaos", "outcomes": {"step-1": outcome}}
        ended.workflow_execution_completed_event_attributes.result.CopyFrom(Payloads(payloads=[payload(result)]))
        events.append(ended)
    return WorkflowHistory("run-1", events)


def digest(answer: Answer) -> str:
    return hashlib.sha256(repr(answer).encode()).hexdigest()


def entry(answer: Answer = DONE, at: float = 1.0, status: int = 202, kind: Kind = "callback") -> Entry:
    return Entry(kind, CLAIMS, answer, f"run-1/1/{digest(answer)[:16]}", "", at, at + 0.5, status)


def evidence(entries: Sequence[Entry] = (), *answers: Answer, **changes: Any) -> Evidence:
    made = Evidence(entries, [], {"run-1": [history(*(answers or (DONE,)))]})
    return replace(made, **changes)


def checks(found: Evidence) -> list[str]:
    return [sentence.partition(":")[0] for sentence in broken_invariants(found)]


def row(answer: Answer, fate: Fate, reason: str = "", request_id: str = "") -> Kept:
    request = Delivery("01", 1.0, "POST", "/callbacks/", (), b"", 0, digest(answer), workflow_id="run-1", stage=1)
    return Kept(replace(request, attempt=1, verdict="accepted", fate=fate, fate_reason=reason), request_id)


def test_a_sound_run_breaks_nothing() -> None:
    sound = evidence([entry(), entry(at=2.0), entry(at=120.0, kind="again")])
    assert broken_invariants(sound) == []
    assert settled_by_callback(sound, "run-1")
    assert not settled_by_callback(sound, "run-2")


def test_a_2xx_that_is_in_no_history_is_lost() -> None:
    assert checks(evidence([entry(OTHER)])) == ["lost"]
    assert checks(evidence([entry(OTHER, status=0), entry(OTHER, status=503)])) == []


@pytest.mark.parametrize(("reason", "found"), [("the run is finished", []), ("no answer", ["lost"])])
def test_the_store_tells_what_came_too_late(reason: str, found: list[str]) -> None:
    assert checks(evidence([entry(OTHER)], kept=[row(OTHER, Fate.REFUSED, reason)])) == found


@pytest.mark.parametrize("fate", [Fate.PENDING, Fate.PARKED])
def test_a_delivery_that_was_left_is_a_break(fate: Fate) -> None:
    assert checks(evidence([entry()], kept=[row(DONE, fate)])) == ["left_in_the_store"]


def test_a_result_in_two_signals_is_a_break() -> None:
    assert checks(evidence([entry()], DONE, DONE)) == ["doubled"]
    assert checks(evidence([entry(FIRST)], FIRST, FIRST, DONE)) == []


def test_a_delivery_that_two_receivers_send_is_a_break() -> None:
    sent = {"web-1": [(10.0, "id")], "web-2": [(11.0, "id")]}
    once = evidence([entry()], kept=[row(DONE, Fate.TAKEN, request_id="id")], sent=sent)
    assert checks(once) == ["sent_by_two"]
    assert checks(replace(once, windows=[Window("web-1", 9.0, 10.0)])) == []
    assert checks(replace(once, entries=[entry(), entry(at=10.5)])) == []
    assert checks(replace(once, sent={"web-1": [(10.0, "id"), (11.0, "id")]})) == []


@pytest.mark.parametrize("status", [400, 401, 404, 409, 410, 500, 502])
def test_a_refusal_of_a_true_callback_is_a_break(status: int) -> None:
    assert checks(evidence([entry(FIRST, status=status)])) == ["answered_wrongly"]


def test_a_conflict_and_a_closed_run_may_be_refused() -> None:
    assert checks(evidence([entry(), entry(OTHER, at=5.0, status=409, kind="conflict")])) == []
    assert checks(evidence([entry(), entry(OTHER, at=105.0, status=410, kind="conflict")])) == []


@pytest.mark.parametrize(
    ("status", "found"), [(404, []), (401, []), (202, ["answered_wrongly"]), (500, ["answered_wrongly"])]
)
def test_a_forgery_is_refused_and_never_breaks_us(status: int, found: list[str]) -> None:
    assert checks(evidence([entry(OTHER, status=status, kind="forged")])) == found


def test_another_answer_to_the_same_content_breaks() -> None:
    changed = evidence([entry(), entry(OTHER, at=2.0), entry(at=3.0, status=409)], DONE, OTHER)
    assert checks(changed) == ["answered_differently"]


def test_without_a_store_a_reset_run_forgets_what_it_took() -> None:
    changed = evidence([entry(), entry(at=105.0, status=410)])
    assert checks(changed) == ["answered_differently"]
    assert checks(replace(changed, resets={"run-1"})) == []
    assert checks(replace(changed, resets={"run-1"}, kept=[])) == ["answered_differently"]


def test_a_process_that_ends_without_its_store_may_forget() -> None:
    entries = [entry(), entry(OTHER, at=2.0), entry(OTHER, at=30.0, status=409)]
    windows = [Window("store", 0.0, 3.0), Window("web-2", 3.0, 4.0)]
    forgotten = evidence(entries, DONE, OTHER, kept=[row(DONE, Fate.TAKEN)], windows=windows)
    assert checks(forgotten) == []
    assert checks(replace(forgotten, windows=windows[:1])) == ["answered_differently"]
    assert checks(replace(forgotten, windows=windows[1:])) == ["answered_differently"]
    before = [windows[0], Window("web-2", 0.0, 2.0)]
    assert checks(replace(forgotten, windows=before)) == ["answered_differently"]
    assert checks(replace(forgotten, kept=[row(OTHER, Fate.NONE)])) == ["answered_differently"]


def test_callbacks_out_of_order_are_a_break() -> None:
    one_after_the_other = [entry(FIRST, at=1.0), entry(SECOND, at=2.0), entry(DONE, at=3.0)]
    assert checks(evidence(one_after_the_other, FIRST, SECOND, DONE)) == []
    assert checks(evidence(one_after_the_other, SECOND, FIRST, DONE)) == ["out_of_order"]
    at_once = [entry(FIRST, at=1.0), entry(SECOND, at=1.1), entry(DONE, at=3.0)]
    assert checks(evidence(at_once, SECOND, FIRST, DONE)) == []


def test_a_lost_answer_may_have_been_for_a_commit() -> None:
    lost = entry(SECOND, at=0.5, status=0)
    entries = [lost, entry(FIRST, at=1.0), entry(SECOND, at=2.0), entry(DONE, at=3.0)]
    assert checks(evidence(entries, SECOND, FIRST, DONE)) == []


def test_a_result_that_ends_a_run_too_early_has_overtaken() -> None:
    kept = [row(FIRST, Fate.REFUSED, "the run is finished"), row(DONE, Fate.TAKEN)]
    assert checks(evidence([entry(FIRST, at=1.0), entry(DONE, at=2.0)], DONE, kept=kept)) == ["out_of_order"]


def test_order_counts_only_for_what_was_committed() -> None:
    """While the store is away, a callback may overtake an earlier one: that is a known limit."""
    entries = [entry(FIRST, at=1.0), entry(SECOND, at=2.0), entry(DONE, at=3.0)]
    assert checks(evidence(entries, SECOND, FIRST, DONE, kept=[])) == []
    assert checks(evidence(entries, SECOND, FIRST, DONE, windows=[Window("store", 0.0, 1.0)])) == []
    assert checks(evidence(entries, SECOND, FIRST, DONE, windows=[Window("web-1", 0.0, 1.0)])) == ["out_of_order"]


def test_an_outcome_by_a_later_success_is_a_break() -> None:
    entries = [entry(), entry(OTHER, at=1.2)]
    assert checks(evidence(entries, OTHER, DONE)) == ["settled_by_another"]
    assert checks(evidence(entries, DONE, OTHER)) == []


def test_an_outcome_that_changes_is_a_break() -> None:
    first = {"status": "succeeded", "cause": "callback", "at": 1.0, "data": {"n": 1}}

    def outcomes(**changes: Any) -> dict[str, Any]:
        return {"outcomes": {"step-1": {**first, **changes}}}

    provisional = evidence([entry()], before=[("run-1", outcomes())], after={"run-1": outcomes(at=2.0)})
    assert checks(provisional) == []
    changed = replace(provisional, after={"run-1": outcomes(data={"n": 2})})
    assert checks(changed) == ["settled_otherwise"]
    assert checks(replace(changed, resets={"run-1"})) == []


def test_a_call_with_another_key_or_url_is_a_break() -> None:
    call = Call("key", CLAIMS, SANDBOX, Habit(), {"http://x/callbacks/token-1"})
    assert checks(evidence([entry()], calls=[call])) == []
    assert checks(evidence([entry()], calls=[call, replace(call, key="other")])) == ["called_differently"]
    twice = replace(call, urls={"http://x/callbacks/token-1", "http://x/callbacks/token-2"})
    assert checks(evidence([entry()], calls=[twice])) == ["called_differently"]


def test_a_failed_workflow_task_is_a_break() -> None:
    failed = HistoryEvent(event_id=50, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    failed.workflow_task_failed_event_attributes.cause = (
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
    )
    whole = history(DONE)
    with_failure = WorkflowHistory("run-1", [*whole.events[:-1], failed, whole.events[-1]])
    assert checks(evidence([entry()], lineages={"run-1": [with_failure]})) == ["failed_tasks"]


def test_a_secret_in_a_log_or_a_history_is_a_break() -> None:
    assert checks(evidence([entry()], secrets=["key-1"], logs={"web-1": "callback key-1"})) == ["leaked"]
    secret = Answer("progress", message="key-1")
    assert checks(evidence([entry()], secret, DONE, secrets=["key-1"])) == ["leaked"]


def test_a_part_that_does_not_run_at_the_end_is_a_break() -> None:
    assert checks(evidence([entry()], ended=["web-1"])) == ["ended_by_itself"]
