"""The mailbox as a plain object: no server, no clock."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import pytest

from tests.support import nested
from workflows.contract import Answer, Callback
from workflows.mailbox import Mailbox
from workflows.nesting import MOST_LEVELS
from workflows.reading import SHALLOW_CALLBACKS
from workflows.stage_record import LEDGER_LENGTH

CHAIN = "chain-1"


def mailbox(last_stage: int = 3) -> Mailbox:
    box = Mailbox(CHAIN, last_stage)
    box.record(1).begin(attempt=1, issued_at=100, at=100.0)
    return box


def callback(
    status: Literal["succeeded", "failed", "progress"] = "succeeded",
    *,
    chain: str = CHAIN,
    attempt: int = 1,
    issued_at: int = 100,
    **data: Any,
) -> dict[str, Any]:
    return asdict(Callback(Answer(status, data=data), chain, attempt, issued_at))


def test_the_first_cause_wins_and_the_second_is_kept() -> None:
    box = mailbox()
    box.receive([1, callback(n=1)], at=101.0)
    box.receive([1], at=102.0)
    box.receive([1, callback(n=2)], at=103.0)
    outcome = box.record(1).outcome
    assert outcome is not None
    assert (outcome.status, outcome.cause, outcome.at, outcome.data) == ("succeeded", "callback", 101.0, {"n": 1})
    assert [entry.why for entry in box.record(1).ledger] == ["closed: succeeded by callback"]


def test_a_hand_signal_settles_every_open_stage_up_to_its_number() -> None:
    box = mailbox()
    box.receive([2], at=101.0)
    assert [box.record(n).outcome is not None for n in (1, 2, 3)] == [True, True, False]


def test_the_number_never_moves_backwards() -> None:
    box = mailbox()
    box.receive([2], at=101.0)
    box.receive([1], at=102.0)
    box.receive([2], at=103.0)
    assert box.advanced_to == 2
    assert box.ignored == {"already advanced": 2}


@pytest.mark.parametrize("is_patched", [True, False])
def test_deep_data_is_ignored_except_in_a_run_that_took_it(*, is_patched: bool) -> None:
    """A replay of a run that has recorded such an outcome must come to it again."""
    box = Mailbox(CHAIN, 3, lambda name: is_patched and name == SHALLOW_CALLBACKS)
    box.record(1).begin(attempt=1, issued_at=100, at=100.0)
    box.receive([1, callback(deep=nested(MOST_LEVELS + 1))], at=101.0)
    assert box.ignored == ({"unreadable callback": 1} if is_patched else {})
    assert (box.record(1).outcome is None) is is_patched


def test_null_as_second_argument_is_a_signal_by_hand() -> None:
    """Clients of other languages send it for an argument that is left out."""
    box = mailbox()
    box.receive([1, None], at=101.0)
    assert box.advanced_to == 1


def test_after_a_reset_the_replaced_calls_failure_is_ignored() -> None:
    """The same attempt number was called twice; issued_at tells the two apart."""
    box = mailbox()
    box.receive([1, callback("failed", issued_at=50)], at=101.0)
    assert box.record(1).outcome is None
    box.receive([1, callback("succeeded", issued_at=50)], at=102.0)
    assert box.record(1).state == "settled"


def test_a_failure_that_comes_before_any_call_does_not_count() -> None:
    box = Mailbox(CHAIN, 1)
    box.receive([1, callback("failed")], at=1.0)
    assert (box.record(1).outcome, box.record(1).ledger_total) == (None, 1)


def test_progress_of_an_earlier_call_puts_nothing_off() -> None:
    box = mailbox()
    box.record(1).wait(at=110.0, timeout=10.0, cap=100.0)
    box.receive([1, callback("progress", attempt=2)], at=115.0)
    assert box.record(1).deadline == 120.0
    box.receive([1, callback("progress")], at=115.0)
    assert box.record(1).deadline == 125.0


def test_the_ledger_is_bounded_and_counts_on() -> None:
    box = mailbox()
    for n in range(LEDGER_LENGTH + 30):
        box.receive([1, callback(n=n)], at=float(n))
    record = box.record(1)
    assert len(record.ledger) == LEDGER_LENGTH
    assert record.ledger_total == LEDGER_LENGTH + 29


def test_what_is_ignored_is_counted_under_reasons_of_ours() -> None:
    box = mailbox()
    for n in range(100):
        box.receive([f"junk-{n}"], at=1.0)
        box.receive([1, f"junk-{n}"], at=1.0)
    assert box.ignored == {"no such stage": 100, "unreadable callback": 100}


@pytest.mark.parametrize("args", [[], [1, 2, 3], [None], [float("nan")], [{"a": 1}, {"a": 1}], [[]], [1, [callback()]]])
def test_whatever_is_received_nothing_is_raised_or_settled(args: list[Any]) -> None:
    box = mailbox()
    box.receive(args, at=1.0)
    assert box.record(1).outcome is None
    assert sum(box.ignored.values()) == 1
