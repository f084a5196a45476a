"""Operators' commands: which are refused in which state, what each does, that an id acts once. No server, no clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import pytest

from tests.support import nested
from workflows.checking import LARGEST_DEFINITION, LARGEST_INPUT
from workflows.commands import EXPIRY_MARGIN
from workflows.contract import LARGEST_OUTCOME, Answer, Applied, Carried, Command
from workflows.durations import DAY, HOUR
from workflows.mailbox import COMMANDS_KEPT, Mailbox
from workflows.stage_record import LEDGER_LENGTH, StageRecord

EXPIRES_AT: Final = int(40 * DAY)


def pending(record: StageRecord) -> None:
    pass


def calling(record: StageRecord) -> None:
    record.open(at=0.0)
    record.begin(attempt=1, issued_at=0, at=0.0, expires_at=EXPIRES_AT, on_failure="escalate")


def waiting(record: StageRecord) -> None:
    calling(record)
    record.returned(at=1.0)
    record.wait(at=1.0, timeout=HOUR, cap=HOUR)


def pausing(record: StageRecord) -> None:
    waiting(record)
    record.fail("callback", at=2.0, answer=Answer("failed"))
    record.retry(at=2.0, pause=60.0)


def needing_a_person(record: StageRecord) -> None:
    waiting(record)
    record.fail("callback", at=2.0, answer=Answer("failed"))
    record.escalate(at=2.0, within=DAY)


def without_a_call(record: StageRecord) -> None:
    record.wait(at=0.0)


def settled(record: StageRecord) -> None:
    waiting(record)
    record.settle("succeeded", "callback", at=3.0)


STATES: Final = (pending, calling, waiting, pausing, needing_a_person, without_a_call, settled)
TAKEN: Final = {
    "extend": {waiting, needing_a_person},
    "call-again": {waiting, pausing, needing_a_person},
    "succeed": {pending, calling, waiting, pausing, needing_a_person, without_a_call},
    "skip": {pending, calling, waiting, pausing, needing_a_person, without_a_call},
    "fail": {calling, waiting, pausing, needing_a_person, without_a_call},
}


def command(action: str = "extend", **changes: Any) -> dict[str, Any]:
    seconds = 60.0 if action == "extend" else 0.0
    known = Command("id-1", action, 1, "alice", "the partner is slow", seconds)  # type: ignore[arg-type]
    return {**asdict(known), **changes}


def box_with(state: Callable[[StageRecord], None]) -> Mailbox:
    box = Mailbox("chain", 2)
    state(box.record(1))
    return box


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", TAKEN)
def test_each_command_is_taken_or_refused_in_each_state(action: str, state: Callable[[StageRecord], None]) -> None:
    box = box_with(state)
    before = asdict(box.record(1))
    refusal = box.refusal([command(action)])
    assert asdict(box.record(1)) == before
    assert (refusal == "") == (state in TAKEN[action]), refusal
    assert refusal == "" or refusal.startswith("stage 1 ")


@pytest.mark.parametrize(
    ("action", "status", "data"), [("succeed", "succeeded", {"n": 1}), ("skip", "skipped", {}), ("fail", "failed", {})]
)
def test_a_command_settles_the_stage_by_the_operator(action: str, status: str, data: dict[str, Any]) -> None:
    box = box_with(needing_a_person)
    applied = box.operate([command(action, data=data)], at=5.0)
    outcome = box.record(1).outcome
    assert outcome is not None
    assert (outcome.status, outcome.cause, outcome.data, outcome.at) == (status, "operator", data, 5.0)
    assert applied == Applied("id-1", 1, f"{action}, by alice", "the partner is slow", 5.0)
    assert [(entry.what, entry.why) for entry in box.commands_for(1)] == [(applied.what, applied.why)]
    assert box.commands_for(2) == []


@pytest.mark.parametrize("state", [waiting, needing_a_person])
def test_extend_puts_the_deadline_off(state: Callable[[StageRecord], None]) -> None:
    box = box_with(state)
    before = box.record(1).deadline or 0.0
    box.operate([command(seconds=7200.0)], at=5.0)
    box.operate([command(seconds=60.0, id="id-2")], at=6.0)
    assert box.record(1).deadline == before + 7260.0
    assert box.commands_for(1)[0].what == "extend by 2 hours, by alice"


def test_extend_ends_fifteen_days_before_the_url_expires() -> None:
    box = box_with(waiting)
    most = int(EXPIRES_AT - EXPIRY_MARGIN - (box.record(1).deadline or 0.0))
    assert box.refusal([command(seconds=float(most))]) == ""
    assert box.refusal([command(seconds=most + 1.0)]) == (
        f"cannot extend by {most + 1} s, because the callback URL of call 1 expires: "
        f"extend by at most {most} s, or use call-again for a new URL"
    )
    box.operate([command(seconds=float(most))], at=2.0)
    assert box.refusal([command(id="id-2")]).endswith("expires: use call-again for a new URL")


def test_a_stage_that_has_not_begun_says_so_to_a_long_extension() -> None:
    assert box_with(pending).refusal([command(seconds=20 * DAY)]).startswith("stage 1 is pending")


def test_progress_after_an_extension_does_not_add_it_again() -> None:
    box = box_with(waiting)
    record = box.record(1)
    record.wait(at=1.0, timeout=HOUR, cap=20 * DAY)
    box.operate([command(seconds=3 * DAY)], at=2.0)
    extended = 1.0 + HOUR + 3 * DAY
    record.progressed(at=HOUR)
    assert record.deadline == extended
    record.progressed(at=extended)
    assert record.deadline == extended + HOUR


def test_call_again_makes_the_next_call_due() -> None:
    box = box_with(needing_a_person)
    box.operate([command("call-again")], at=5.0)
    assert box.record(1).call_due
    assert not box.record(1).is_idle
    assert box.refusal([command("call-again", id="id-2")]).startswith("stage 1 is being called")


def test_a_deadline_is_not_extended_once_the_next_call_is_due() -> None:
    box = box_with(needing_a_person)
    box.operate([command("call-again")], at=5.0)
    assert box.refusal([command(id="id-2")]).startswith("stage 1 is about to be called")


def test_a_command_for_an_earlier_call_is_refused() -> None:
    box = box_with(waiting)
    box.record(1).begin(attempt=2, issued_at=9, at=9.0, expires_at=EXPIRES_AT)
    assert box.refusal([command("skip", attempt=1)]) == "stage 1 is at call 2 by now, not 1: look at the run again"
    assert box.refusal([command("skip", attempt=2)]) == ""


def test_an_id_acts_once_even_after_continuing_as_new() -> None:
    box = box_with(waiting)
    first = box.operate([command()], at=5.0)
    for _ in range(2):
        assert box.refusal([command()]) == ""
        again = box.operate([command()], at=6.0)
        assert (again.at, again.again, again.what) == (first.at, True, first.what)
        assert box.record(1).extended == 60.0
        carried = json.loads(json.dumps(asdict(box.carry())))
        box = Mailbox("chain", 2)
        box.take_over(Carried(**{**carried, "commands": [Applied(**done) for done in carried["commands"]]}))
    assert box.refusal([command("skip")]) == "the id 'id-1' was used for another command: use a new id"


def test_the_latest_hundred_commands_are_kept() -> None:
    box = box_with(waiting)
    for n in range(COMMANDS_KEPT + 1):
        box.operate([command(id=f"id-{n}", seconds=1.0)], at=5.0)
    assert len(box.commands) == len(box.carry().commands) == COMMANDS_KEPT == 100
    assert box.commands[0].id == "id-1"
    other = Mailbox("chain", 2)
    other.take_over(Carried(0, {}, {}, [*box.commands, *box.commands]))  # as another client may start a run
    assert len(other.commands) == COMMANDS_KEPT


def test_commands_are_shown_however_full_the_ledger_is() -> None:
    box = box_with(waiting)
    for n in range(2 * LEDGER_LENGTH):
        box.record(1).enter("callback progress of call 1", "", at=float(n))
    box.operate([command()], at=99.0)
    assert [entry.what for entry in box.commands_for(1)] == ["extend by 1 minute, by alice"]


BROKEN: Final = {
    "no argument": ((), "one argument"),
    "two arguments": ((command(), 1), "one argument"),
    "a number": ((2,), "one argument"),
    "no fields": (({},), "not integers"),
    "a stage as text": ((command(stage="1"),), "not integers"),
    "a stage as truth": ((command(stage=True),), "not integers"),
    "an attempt as text": ((command(attempt="1"),), "not integers"),
    "an unknown action": ((command("advance"),), "extend, call-again, succeed, skip, fail"),
    "no reason": ((command(reason="  "),), "reason has 0 characters"),
    "a long reason": ((command(reason="x" * 301),), "reason has 301 characters"),
    "no actor": ((command(actor=""),), "actor has 0 characters"),
    "an id that is not ASCII": ((command(id="Zoë"),), "not ASCII"),
    "a long id": ((command(id="x" * 101),), "id has 101 characters"),
    "a reason as number": ((command(reason=5),), "not a command"),
    "data as list": ((command("succeed", data=[1]),), "not a command"),
    "not a number": ((command(seconds=float("nan")),), "NaN"),
    "a lone surrogate": ((command(reason="\ud800"),), "surrogate"),
    "no such stage": ((command(stage=3),), "no stage 3: the run has stages 1 to 2"),
    "stage nought": ((command(stage=0),), "no stage 0"),
    "a negative extension": ((command(seconds=-1.0),), "above 0"),
    "no extension": ((command(seconds=0.0),), "above 0"),
    "an endless extension": ((command(seconds=1e300),), "above 0"),
    "deep data": ((command("succeed", data={"x": nested(65)}),), "levels deep"),
    "deeper data": ((command("succeed", data={"x": nested(200_000)}),), "NaN"),
    "large data": ((command("succeed", data={"x": "y" * LARGEST_OUTCOME}),), "an outcome has at most"),
}


@pytest.mark.parametrize(("args", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_command_that_cannot_be_is_refused_with_a_sentence(args: tuple[Any, ...], sentence: str) -> None:
    box = box_with(waiting)
    assert sentence in box.refusal(args)
    # A replay under stricter rules applies what an earlier version accepted: nothing may raise.
    box.operate(args, at=5.0)
    json.dumps(asdict(box.carry()))


def test_the_largest_state_fits_into_a_payload() -> None:
    """Temporal takes at most 2 MiB, and would block a run that continues as new with more."""
    box = Mailbox("chain", 50)
    for number in range(1, 51):
        data = {"x": "y" * (LARGEST_OUTCOME - 60)}
        box.record(number).settle("succeeded", "callback", at=1e9, answer=Answer("succeeded", data))
    box.record(1).outcome = None
    waiting(box.record(1))
    for n in range(COMMANDS_KEPT):
        box.operate([command(id=f"{n:0100}", seconds=1.0, actor="é" * 100, reason="é" * 300)], at=1e9)
    assert len(box.commands) == COMMANDS_KEPT
    assert len(json.dumps(asdict(box.carry()))) + LARGEST_INPUT + LARGEST_DEFINITION <= 2 * 1024 * 1024


def test_a_refusal_leaves_no_trace() -> None:
    box = Mailbox("chain", 2)
    box.refusal([command(stage=2)])
    assert box.touched() == set()
    assert box.received == 0
