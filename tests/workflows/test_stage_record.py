"""One stage's state, without a run."""

from __future__ import annotations

from workflows.contract import Answer, Receipt
from workflows.stage_record import ASK_PAUSE, LONGEST_ASK_PAUSE, StageRecord


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
