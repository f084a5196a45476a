"""Operators' commands for one stage: reading them, when they are refused, and what they do.

A refused command comes back as a sentence that says what to do, and leaves no event in the history. Pure functions over
the stage's record: the workflow passes the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from workflows.contract import LARGEST_OUTCOME, Action, Answer, Command, SignalSender
from workflows.durations import DAY, describe
from workflows.nesting import MOST_LEVELS, is_deeper
from workflows.reading import Broken, convert, is_sound
from workflows.stage_record import LONGEST_TEXT, StageRecord

LONGEST_COMMAND_NAME: Final = 100
"""Maximum characters of a command's id and actor."""

EXPIRY_MARGIN: Final = 15 * DAY
"""Seconds between the latest deadline that `extend` can set and the expiry of the call's token: the partner's last
callback must not arrive at an expired URL."""


class CommandRefused(Exception):
    """A command that cannot be read; the message is a sentence for the operator."""


def read_command(args: Sequence[Any]) -> Command:
    """Read the arguments of an `operate` update; raises `CommandRefused`."""
    if len(args) != 1 or not isinstance(args[0], Mapping):
        raise CommandRefused("operate takes one argument, a command as a JSON object")
    value = args[0]
    if not is_sound(value):
        raise CommandRefused("the command holds NaN, infinity or a lone surrogate: send what JSON and UTF-8 can hold")
    if type(value.get("stage")) is not int or type(value.get("attempt", 0)) is not int:
        raise CommandRefused("the command's stage and attempt are not integers")
    try:
        command = convert(Command, value)
    except Broken:
        known = ", ".join(get_args(Action))
        raise CommandRefused(f"not a command: send id, action ({known}), stage, actor and reason") from None
    for name, text, most in (
        ("id", command.id, LONGEST_COMMAND_NAME),
        ("actor", command.actor, LONGEST_COMMAND_NAME),
        ("reason", command.reason, LONGEST_TEXT),
    ):
        if not text.strip() or len(text) > most:
            raise CommandRefused(f"the command's {name} has {len(text.strip())} characters: use 1 to {most}")
    if not command.id.isascii():
        raise CommandRefused("the command's id has characters that are not ASCII: use letters, digits and hyphens")
    return command


def read_sender(value: object) -> SignalSender | None:
    """Read the sender of a signal; None if the value is not one, as other clients may send anything."""
    if not isinstance(value, Mapping) or is_deeper(value) or not is_sound(value):
        return None
    actor, reason = value.get("actor"), value.get("reason")
    if not isinstance(actor, str) or not isinstance(reason, str) or not 0 < len(actor) <= LONGEST_COMMAND_NAME:
        return None
    return SignalSender(actor, reason[:LONGEST_TEXT])


def text_of(command: Command) -> str:
    """The command in a stage's ledger, such as `extend by 2 hours, by alice`."""
    seconds = f" by {describe(command.seconds)}" if command.action == "extend" else ""
    return f"{command.action}{seconds}, by {command.actor}"


def why_refused(command: Command, record: StageRecord) -> str:
    """Why the stage cannot take the command, as a sentence; "" if it can."""
    if record.outcome is not None:
        return f"stage {command.stage} is settled: {record.outcome.status} by {record.outcome.cause}"
    if command.attempt and command.attempt != record.attempt:
        return f"stage {command.stage} is at call {record.attempt} by now, not {command.attempt}: look at the run again"
    match command.action:
        case "extend":
            return _extend_refusal(command, record)
        case "call-again":
            return _call_refusal(command, record)
        case "succeed":
            return _data_refusal(command)
        case "fail" if record.state == "pending":
            return f"stage {command.stage} has not begun: wait for its turn, skip it, or cancel the run"
    return ""


def apply(command: Command, record: StageRecord, *, at: float) -> None:
    """Do what the command says. It never raises, whatever state the record has."""
    match command.action:
        case "extend":
            record.extend(command.seconds)
        case "call-again":
            record.call_again()
        case "succeed":
            record.settle("succeeded", "operator", at=at, answer=Answer("succeeded", command.data))
        case "skip":
            record.settle("skipped", "operator", at=at, answer=Answer("failed", message=command.reason))
        case "fail":
            record.settle("failed", "operator", at=at, answer=Answer("failed", message=command.reason))


def _extend_refusal(command: Command, record: StageRecord) -> str:
    if record.call_due:
        return f"stage {command.stage} is about to be called: a deadline is extended while the stage waits"
    if record.pause_until is not None:
        return f"stage {command.stage} waits for its next call: use call-again, or extend the deadline of that call"
    if record.deadline is None:
        what = "has no deadline" if record.state == "waiting" else f"is {record.state}"
        return f"stage {command.stage} {what}: a deadline is extended while the stage waits"
    if not 0 < command.seconds < record.expires_at + EXPIRY_MARGIN:
        return f"cannot extend by {command.seconds:.15g} s: use a number of seconds above 0"
    if (left := record.expires_at - EXPIRY_MARGIN - record.deadline) < command.seconds:
        way_out = f"extend by at most {int(left)} s, or use call-again" if left >= 1 else "use call-again"
        what = f"cannot extend by {command.seconds:.15g} s"
        return f"{what}, because the callback URL of call {record.attempt} expires: {way_out} for a new URL"
    return ""


def _call_refusal(command: Command, record: StageRecord) -> str:
    if record.in_call or record.call_due:
        return f"stage {command.stage} is being called: wait until call {record.attempt} has ended"
    if not record.attempt:
        why = "it waits without a call" if record.state == "waiting" else "its first call comes with its turn"
        return f"stage {command.stage} was not called yet: {why}"
    return ""


def _data_refusal(command: Command) -> str:
    if is_deeper(command.data):
        return f"the data is nested more than {MOST_LEVELS} levels deep"
    if (size := Answer("succeeded", command.data).size) > LARGEST_OUTCOME:
        return f"the data has {size} bytes as JSON: an outcome has at most {LARGEST_OUTCOME}"
    return ""
