"""One stage's state, without a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workflows.contract import Answer, LedgerEntry, Receipt, Stage
from workflows.stage_record import ASK_PAUSE, LONGEST_ASK_PAUSE, StageRecord, Trouble
from workflows.views import stage_progress


def test_the_pauses_between_asks_grow_up_to_a_minute() -> None:
    """However often the partner says so."""
    record = StageRecord()
    record.begin(attempt=1, issued_at=1, at=1.0)
    record.received(Receipt(reference="work-1", askable=True))
    record.returned(at=1.0)
    pauses = []
    for n in range(200):
        at = 1000.0 * n
        record.ask_requested("callback ask of call 1", Answer("ask"), at=at)
        assert record.ask_due is not None
        pauses.append(record.ask_due - record.asked_at)
        record.ask()
        record.asked(Answer("progress"), at=at)
    assert pauses == [min(ASK_PAUSE * n, LONGEST_ASK_PAUSE) for n in range(200)]
    assert pauses[-1] == LONGEST_ASK_PAUSE == 60.0


def test_questions_by_the_clock_do_not_delay_those_by_callbacks() -> None:
    record = StageRecord()
    record.begin(attempt=1, issued_at=1, at=1.0)
    record.received(Receipt(reference="work-1", askable=True))
    record.returned(at=1.0)
    record.wait(at=1.0, timeout=3600.0, cap=3600.0, ask_every=60.0)
    for n in range(1, 30):
        assert record.ask_due == 1.0 + 60.0 * n
        record.ask()
        record.asked(Answer("progress"), at=1.0 + 60.0 * n)
    record.ask_requested("callback ask of call 1", Answer("ask"), at=2000.0)
    assert record.ask_due == record.asked_at


def test_an_ask_whose_answer_was_lost_is_asked_again() -> None:
    """The execution that began it has continued as new, so only the record tells of it."""
    record = StageRecord()
    record.begin(attempt=1, issued_at=1, at=1.0)
    record.received(Receipt(reference="work-1", askable=True))
    record.returned(at=1.0)
    record.wait(at=1.0, timeout=3600.0, cap=3600.0)
    record.ask_requested("callback ask of call 1", Answer("ask"), at=2.0)
    record.ask()
    assert record.ask_due == ASK_PAUSE
    record.ask_failed("gone", at=3.0)
    assert record.ask_due is None


def test_a_ledger_is_shown_in_the_order_of_time() -> None:
    record = StageRecord()
    record.enter("callback progress of call 1", "", at=1.0)
    record.enter("callback progress of call 1", "", at=3.0)
    shown = stage_progress(Stage(1, "step", "partner", 60.0), record, [LedgerEntry("skip, by alice", "as agreed", 2.0)])
    assert [entry.at for entry in shown.ledger] == [1.0, 2.0, 3.0]
    assert shown.ledger_total == 3


def test_a_call_begins_without_what_belonged_to_the_last_call() -> None:
    """An old extension would put off the new call's deadline; an old reference would be asked about."""
    kept = StageRecord(opened_at=1.0, ledger_total=3, timeout=60.0, wait_cap=90.0, escalate_within=5.0, prolonged=True)
    used = replace(
        kept,
        attempt=1,
        issued_at=1,
        expires_at=2,
        called_at=1.0,
        note="a note",
        waiting_since=2.0,
        progressed_at=3.0,
        reference="work-1",
        askable=True,
        ask_wanted=True,
        asking=True,
        asks=4,
        asked_at=4.0,
        on_failure="skip",
        trouble=Trouble("timeout", True, 5.0, 1),
        pause_until=6.0,
        escalated_at=7.0,
        extended=100.0,
        extended_to=1000.0,
        call_due=True,
    )
    used.begin(attempt=2, issued_at=20, at=20.0, expires_at=30, on_failure="retry", token_version=2)
    began: dict[str, Any] = {"attempt": 2, "issued_at": 20, "expires_at": 30, "called_at": 20.0, "token_version": 2}
    assert used == replace(kept, **began, in_call=True, on_failure="retry")


def test_a_wait_for_a_person_ends_by_its_own_time() -> None:
    """However far an operator has put off the deadline of the callback before."""
    record = StageRecord()
    record.begin(attempt=1, issued_at=1, at=1.0)
    record.returned(at=1.0)
    record.wait(at=1.0, timeout=60.0, cap=60.0)
    record.extend(1000.0)
    assert record.deadline == 1061.0
    record.escalate(at=5.0, within=10.0)  # the partner has said `failed`
    assert (record.deadline, record.extended) == (15.0, 0.0)
