"""Reads signals and operators' commands into the stages' records.

The mailbox has no clock and no network: the workflow passes it every signal with the time. No signal and no command
makes it raise, because an exception in a handler would block the run for ever.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from temporalio.converter import value_to_type

from workflows.commands import CommandRefused, apply, read_command, text_of, why_refused
from workflows.contract import Answer, Applied, Callback, Carried, LedgerEntry, Outcome, SignalSender
from workflows.nesting import is_deeper
from workflows.reading import SHALLOW_CALLBACKS, Broken, convert, is_sound
from workflows.stage_record import LONGEST_TEXT, StageRecord

CARRIED_LEDGER: Final = 5
"""Ledger entries per stage carried to the next execution; with the largest outcomes and input they fit into 2 MiB."""

CARRIED_TEXT: Final = 60
"""Bytes, as JSON, of the texts of each command that are carried to the next execution."""

COMMANDS_KEPT: Final = 100
"""Commands kept per chain, so that the id of each acts once, also after the run has continued as new."""


class Mailbox:
    """Holds every stage's record, and applies `advance_stage` signals and `operate` updates to the records.

    chain_id: the run's chain; callbacks issued for another chain are ignored.
    last_stage: the highest stage number of the run.
    received: the number of signals and commands that this execution has handled.
    commands: the latest commands of the chain, the oldest first.
    patched: tells whether a named change applies to this run, like `workflow.patched`.
    """

    def __init__(self, chain_id: str, last_stage: int, patched: Callable[[str], bool] = lambda name: True) -> None:
        self.chain_id = chain_id
        self.last_stage = last_stage
        self.advanced_to = 0
        self.ignored: Counter[str] = Counter()
        self.received = 0
        self.commands: list[Applied] = []
        self._patched = patched
        self._records: dict[int, StageRecord] = {}

    def carry(self) -> Carried:
        """Return what the next execution of the chain needs."""
        records = {str(number): asdict(record) for number, record in self._records.items()}
        for record in records.values():
            record["ledger"] = record["ledger"][:CARRIED_LEDGER]
        commands = [replace(done, what=_cut(done.what), why=_cut(done.why)) for done in self.commands]
        return Carried(self.advanced_to, dict(self.ignored), records, commands)

    def take_over(self, carried: Carried) -> None:
        """Restore what the previous execution carried; raises ValueError if no execution can have carried it."""
        if not all(number.isdigit() and self._is_stage(int(number)) for number in carried.records):
            raise ValueError("records of unknown stages")
        if not 0 <= carried.advanced_to <= self.last_stage or not all(n >= 0 for n in carried.ignored.values()):
            raise ValueError("counts out of range")
        for number, written in carried.records.items():
            record: StageRecord = value_to_type(StageRecord, written)
            if not record.is_sound():
                raise ValueError(f"an unsound record of stage {number}")
            self._records[int(number)] = record
        self.advanced_to = carried.advanced_to
        self.commands = list(carried.commands)[-COMMANDS_KEPT:]
        self.ignored = Counter(carried.ignored)

    def record(self, stage: int) -> StageRecord:
        """Return the stage's record; creates an empty record if there is none yet."""
        return self._records.setdefault(stage, StageRecord())

    def touched(self) -> set[int]:
        """The numbers of the stages that have a record."""
        return set(self._records)

    def ignore(self, reason: str) -> None:
        """Count an ignored signal by reason. The reason is a fixed text of this module, never the sender's text."""
        self.ignored[reason] += 1

    def receive_misnamed(self) -> None:
        """Count a signal with an unknown name."""
        self.received += 1
        self.ignore("unknown signal name")

    def receive(self, args: Sequence[Any], *, at: float, sender: SignalSender | None = None) -> None:
        """Apply the arguments of an `advance_stage` signal, whatever they are. sender: as the signal's header says.

        `[2]` and `[2, None]` advance past stage 2; `[2, {...}]` is a callback for stage 2; anything else is ignored.
        """
        self.received += 1
        match args:
            case [stage] | [stage, None]:
                self._receive_by_hand(stage, at, sender)
            case [stage, callback]:
                self._receive_callback(stage, callback, at)
            case _:
                self.ignore("wrong number of arguments")

    def refusal(self, args: Sequence[Any]) -> str:
        """Why the arguments of an `operate` update are refused, as a sentence; "" if they are not."""
        try:
            command = read_command(args)
        except CommandRefused as refused:
            return str(refused)
        if not self._is_stage(command.stage):
            return f"no stage {command.stage}: the run has stages 1 to {self.last_stage}"
        if applied := self._applied(command.id):
            same = (applied.stage, _cut(applied.what)) == (command.stage, _cut(text_of(command)))
            return "" if same else f"the id {command.id!r} was used for another command: use a new id"
        # Not `self.record`: a replay does not repeat this check, so it must leave no trace.
        return why_refused(command, self._records.get(command.stage, StageRecord()))

    def operate(self, args: Sequence[Any], *, at: float) -> Applied:
        """Apply a command that was not refused. A command that was applied before acts only once."""
        self.received += 1
        try:
            command = read_command(args)
        except CommandRefused as refused:
            # A replay, in which this version's rules are stricter than those that accepted the command.
            return Applied("", 0, "refused", str(refused), at)
        if applied := self._applied(command.id):
            return replace(applied, again=True)
        applied = Applied(command.id, command.stage, text_of(command), command.reason, at)
        if self._is_stage(command.stage):
            apply(command, self.record(command.stage), at=at)
            self.commands = [*self.commands, applied][-COMMANDS_KEPT:]
        return applied

    def commands_for(self, stage: int) -> list[LedgerEntry]:
        """The latest commands for the stage, as entries of its ledger."""
        return [LedgerEntry(done.what, done.why, done.at) for done in self.commands if done.stage == stage]

    def _applied(self, command_id: str) -> Applied | None:
        return next((applied for applied in self.commands if applied.id == command_id), None)

    def _is_stage(self, stage: Any) -> bool:
        # In Python a bool is an int, but `true` is not a stage number.
        return type(stage) is int and 1 <= stage <= self.last_stage

    def _receive_by_hand(self, stage: Any, at: float, sender: SignalSender | None) -> None:
        if not self._is_stage(stage):
            self.ignore("no such stage")
        elif stage <= self.advanced_to:
            self.ignore("already advanced")
        else:
            self.advanced_to = stage
            for number in range(1, stage + 1):
                record = self.record(number)
                if record.outcome is None:
                    record.settle("advanced", "operator", at=at)
                    if sender:
                        record.enter(f"advance, by {sender.actor}", sender.reason, at=at)

    def _receive_callback(self, stage: Any, value: Any, at: float) -> None:
        callback = self._read_callback(value)
        if not self._is_stage(stage):
            self.ignore("no such stage")
        elif callback is None:
            self.ignore("unreadable callback")
        elif callback.chain_id != self.chain_id:
            self.ignore("another run's callback")
        elif is_deeper(callback.answer.data) and self._patched(SHALLOW_CALLBACKS):
            # Neither the run's result nor a later call could be encoded with such data, so the run would block.
            self.ignore("unreadable callback")
        else:
            self._judge(self.record(stage), callback, at)

    def _read_callback(self, value: Any) -> Callback | None:
        """Read a signal's second argument strictly; return None if it is not a callback."""
        if not isinstance(value, Mapping) or type(value.get("attempt")) is not int or not is_sound(value):
            return None
        try:
            return convert(Callback, value)
        except Broken:
            return None

    def _judge(self, record: StageRecord, callback: Callback, at: float) -> None:
        # Example: call 1 timed out, and call 2 is waiting. A late `succeeded` of call 1 settles the stage. A late
        # `failed` or `progress` of call 1 only enters the ledger, because call 2 is still open.
        answer = callback.answer
        what = f"callback {answer.status} of call {callback.attempt}"
        # After a reset, two calls can have the same attempt number; `issued_at` differs.
        answers_this_call = (callback.attempt, callback.issued_at) == (record.attempt, record.issued_at)
        if record.outcome is not None:
            again = record.outcome.cause == "callback" and _same(answer, record.outcome)
            record.enter(what, "duplicate" if again else record.closed, at=at)
        elif answer.status == "succeeded":
            record.settle("succeeded", "callback", at=at, attempt=callback.attempt, answer=answer)
        elif not answers_this_call:
            record.enter(what, "answers another call", at=at)
        elif answer.status == "failed":
            record.fail("callback", at=at, answer=answer)
        elif answer.status == "ask":
            record.ask_requested(what, answer, at=at)
        else:
            record.progressed(at=at)
            record.enter(what, answer.message, at=at)


def _cut(text: str) -> str:
    """The beginning of the text that fits into `CARRIED_TEXT` bytes of JSON."""
    while len(json.dumps(text)) > CARRIED_TEXT:
        text = text[:-1]
    return text


def _same(answer: Answer, outcome: Outcome) -> bool:
    said = (answer.status, answer.data, answer.code[:LONGEST_TEXT], answer.message[:LONGEST_TEXT])
    return said == (outcome.status, outcome.data, outcome.code, outcome.message)
