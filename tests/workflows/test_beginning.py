"""A run may begin with some stages waiting and the others advanced."""

from __future__ import annotations

from dataclasses import asdict

from workflows.beginning import waiting_state
from workflows.contract import Answer, Callback, Stage
from workflows.mailbox import Mailbox

STAGES = [Stage(number, f"stage-{number}", "bank", 60.0) for number in (1, 2, 3)]


def test_a_stage_with_a_call_waits_and_others_are_advanced() -> None:
    mailbox = Mailbox("chain", last_stage=3)
    mailbox.take_over(waiting_state(STAGES, {2: (4, 1000), 3: (1, 1001)}, at=2000.0))
    assert [mailbox.record(number).state for number in (1, 2, 3)] == ["settled", "waiting", "waiting"]
    assert mailbox.record(2).deadline == 2060.0
    mailbox.receive([2, asdict(Callback(Answer("failed"), "chain", 3, 999))], at=2001.0)
    assert mailbox.record(2).state == "waiting"  # it answers an earlier call
    mailbox.receive([2, asdict(Callback(Answer("failed"), "chain", 4, 1000))], at=2002.0)
    assert [record.outcome and record.outcome.status for record in map(mailbox.record, (1, 2, 3))] == [
        "advanced",
        "failed",
        None,
    ]
