"""What a run has heard about its stages, and the one place where a stage is settled.

A plain object without clock or network: the workflow hands it every signal and every end of a wait, each with its
moment, and asks it for outcomes. The first valid cause settles a stage; whatever comes later is kept in the stage's
ledger. Nothing that is received makes it raise, for an exception in a signal handler would block the run for ever.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from temporalio.converter import value_to_type

from workflows.contract import Answer, Callback, Carried, Cause, LedgerEntry, Outcome, State, Status

LEDGER_LENGTH: Final = 20
"""Entries kept per stage; later ones are only counted, so that no flood of signals grows the run's memory."""

LONGEST_TEXT: Final = 300
"""Characters of a partner's code or message that are kept."""

CARRIED_LEDGER: Final = 5
"""Entries per stage that are carried on: with the largest outcomes and input they still fit into 2 MiB."""

LATEST: Final = 2.0**40
"""Unix seconds that no clock will show; NaN is not below it either."""

NO_ANSWER: Final = Answer(status="failed")
"""Stands for the partner's answer where a stage is settled without one."""


@dataclass
class StageRecord:
    """One stage of this run: its current call, its wait, its outcome. Times are unix seconds."""

    opened_at: float | None = None
    attempt: int = 0
    issued_at: int = 0
    expires_at: int = 0
    in_call: bool = False
    called_at: float | None = None
    note: str = ""
    outcome: Outcome | None = None
    ledger: list[LedgerEntry] = field(default_factory=list)
    ledger_total: int = 0
    waiting_since: float | None = None
    progressed_at: float = 0.0
    timeout: float | None = None
    wait_cap: float = 0.0

    @property
    def state(self) -> State:
        """Where the stage is."""
        if self.outcome is not None:
            return "settled"
        if self.waiting_since is not None:
            return "waiting"
        return "pending" if self.called_at is None else "calling"

    @property
    def deadline(self) -> float | None:
        """When the current wait ends: a timeout after it began or after the last progress, up to its cap."""
        if self.waiting_since is None or self.timeout is None:
            return None
        put_off = max(self.waiting_since, self.progressed_at) + self.timeout
        return min(put_off, self.waiting_since + self.wait_cap)

    def open(self, *, at: float) -> None:
        """Note that the stage's turn has come; a stage that is open already stays as it is."""
        self.opened_at = self.opened_at or at

    def begin(self, *, attempt: int, issued_at: int, at: float, expires_at: int = 0) -> None:
        """Note that a call begins; from now on a failure counts only if it answers this very call."""
        self.in_call = True
        self.attempt = attempt
        self.issued_at = issued_at
        self.expires_at = expires_at
        self.called_at = at
        self.note = ""
        self.waiting_since = None
        self.progressed_at = 0.0

    def returned(self) -> None:
        """Note that the call is over."""
        self.in_call = False

    def wait(self, *, at: float, timeout: float | None = None, cap: float = 0.0) -> None:
        """Note that the stage is waited for: `timeout` seconds, up to `cap` with progress; without one, for ever."""
        self.waiting_since = at
        self.timeout = timeout
        self.wait_cap = cap

    def progressed(self, *, at: float) -> None:
        """Note that the partner is still at it."""
        self.progressed_at = at

    def settle(
        self, status: Status, cause: Cause, *, at: float, attempt: int | None = None, answer: Answer = NO_ANSWER
    ) -> None:
        """Settle the stage, unless it is settled already: then the ledger keeps what came too late.

        attempt: the call that was answered, when it is not the current one.
        """
        if self.outcome is not None:
            self.enter(f"{status} by {cause}", self.closed, at=at)
            return
        self.outcome = Outcome(
            status=status,
            cause=cause,
            at=at,
            attempt=self.attempt if attempt is None else attempt,
            data=answer.data,
            code=answer.code[:LONGEST_TEXT],
            message=answer.message[:LONGEST_TEXT],
        )

    @property
    def closed(self) -> str:
        """Why a settled stage takes nothing more, for its ledger."""
        return f"closed: {self.outcome.status} by {self.outcome.cause}" if self.outcome else ""

    def enter(self, what: str, why: str, *, at: float) -> None:
        """Keep what did not settle the stage."""
        self.ledger_total += 1
        if len(self.ledger) < LEDGER_LENGTH:
            self.ledger.append(LedgerEntry(what, why[:LONGEST_TEXT], at))


class Mailbox:
    """Every stage's record, and the reading of `advance_stage` signals into them.

    chain_id: the run's chain; callbacks issued for any other are ignored.
    last_stage: the highest stage number that exists.
    received: how many signals this execution has handled.
    """

    def __init__(self, chain_id: str, last_stage: int) -> None:
        self.chain_id = chain_id
        self.last_stage = last_stage
        self.advanced_to = 0
        self.ignored: Counter[str] = Counter()
        self.received = 0
        self._records: dict[int, StageRecord] = {}

    def carry(self) -> Carried:
        """Everything that the next execution of the same chain must know."""
        records = {str(number): asdict(record) for number, record in self._records.items()}
        for record in records.values():
            record["ledger"] = record["ledger"][:CARRIED_LEDGER]
        return Carried(self.advanced_to, dict(self.ignored), records)

    def take_over(self, carried: Carried) -> None:
        """Go on with what the execution before this one has carried; raises ValueError if that cannot have been."""
        if not all(number.isdigit() and self._is_stage(int(number)) for number in carried.records):
            raise ValueError("records of stages that there are not")
        if not 0 <= carried.advanced_to <= self.last_stage or not all(n >= 0 for n in carried.ignored.values()):
            raise ValueError("counts that there cannot be")
        for number, written in carried.records.items():
            record: StageRecord = value_to_type(StageRecord, written)
            if not _is_sound(record):
                raise ValueError(f"an unsound record of stage {number}")
            self._records[int(number)] = record
        self.advanced_to = carried.advanced_to
        self.ignored = Counter(carried.ignored)

    def record(self, stage: int) -> StageRecord:
        """The stage's record; an untouched one if nothing is known of it."""
        return self._records.setdefault(stage, StageRecord())

    def touched(self) -> set[int]:
        """The stages that something is known of."""
        return set(self._records)

    def ignore(self, reason: str) -> None:
        """Note a reason to ignore a signal. It is one of ours, never the sender's text."""
        self.ignored[reason] += 1

    def receive_misnamed(self) -> None:
        """Count a signal of an unknown name."""
        self.received += 1
        self.ignore("unknown signal name")

    def receive(self, args: Sequence[Any], *, at: float) -> None:
        """Take the arguments of one `advance_stage` signal, whatever they are."""
        self.received += 1
        match args:
            case [stage] | [stage, None]:
                self._receive_by_hand(stage, at)
            case [stage, callback]:
                self._receive_callback(stage, callback, at)
            case _:
                self.ignore("wrong number of arguments")

    def _is_stage(self, stage: Any) -> bool:
        # bool is an int to Python, but `true` is no stage number.
        return type(stage) is int and 1 <= stage <= self.last_stage

    def _receive_by_hand(self, stage: Any, at: float) -> None:
        if not self._is_stage(stage):
            self.ignore("no such stage")
        elif stage <= self.advanced_to:
            self.ignore("already advanced")
        else:
            self.advanced_to = stage
            for number in range(1, stage + 1):
                if self.record(number).outcome is None:
                    self.record(number).settle("advanced", "operator", at=at)

    def _receive_callback(self, stage: Any, value: Any, at: float) -> None:
        callback = _read_callback(value)
        if not self._is_stage(stage):
            self.ignore("no such stage")
        elif callback is None:
            self.ignore("unreadable callback")
        elif callback.chain_id != self.chain_id:
            self.ignore("another run's callback")
        else:
            self._judge(self.record(stage), callback, at)

    def _judge(self, record: StageRecord, callback: Callback, at: float) -> None:
        answer = callback.answer
        what = f"callback {answer.status} of call {callback.attempt}"
        # After a reset the same attempt number was called twice; issued_at tells the two calls apart.
        answers_this_call = (callback.attempt, callback.issued_at) == (record.attempt, record.issued_at)
        if record.outcome is not None:
            again = record.outcome.cause == "callback" and _same(answer, record.outcome)
            record.enter(what, "duplicate" if again else record.closed, at=at)
        elif answer.status == "succeeded":
            record.settle("succeeded", "callback", at=at, attempt=callback.attempt, answer=answer)
        elif not answers_this_call:
            record.enter(what, "answers another call", at=at)
        elif answer.status == "failed":
            record.settle("failed", "callback", at=at, answer=answer)
        else:
            record.progressed(at=at)
            record.enter(what, answer.message, at=at)


def _is_sound(record: StageRecord) -> bool:
    """Whether the record's times and counts are such as this module writes."""
    times = (record.opened_at, record.called_at, record.waiting_since, record.progressed_at)
    lengths = (
        record.timeout,
        record.wait_cap,
        record.attempt,
        record.ledger_total,
        record.issued_at,
        record.expires_at,
    )
    return all(number is None or 0 <= number < LATEST for number in (*times, *lengths))


def _same(answer: Answer, outcome: Outcome) -> bool:
    said = (answer.status, answer.data, answer.code[:LONGEST_TEXT], answer.message[:LONGEST_TEXT])
    return said == (outcome.status, outcome.data, outcome.code, outcome.message)


def _read_callback(value: Any) -> Callback | None:
    """Read a signal's second argument strictly; None if it is no callback."""
    if not isinstance(value, Mapping) or type(value.get("attempt")) is not int:
        return None
    try:
        # The data travels on into activities and query answers: NaN and lone surrogates would fail there.
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        callback: Callback = value_to_type(Callback, value)
    except Exception:
        # The converter promises TypeError, and raises what constructors and comparisons raise besides.
        return None
    return callback
