"""What a run knows about one stage: its current call, its wait, its outcome, and the one place where it is settled.

A plain object without clock or network. The first cause settles the stage; whatever comes later is kept in its ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from workflows.contract import Answer, Cause, LedgerEntry, Outcome, Receipt, State, Status

LEDGER_LENGTH: Final = 20
"""Entries kept per stage; later ones are only counted, so that no flood of signals grows the run's memory."""

LONGEST_TEXT: Final = 300
"""Characters of a partner's code or message, or of a note, that are kept."""

LATEST: Final = 2.0**40
"""Unix seconds that no clock will show; NaN is not below it either."""

ASK_PAUSE: Final = 1.0
"""Seconds by which the pause grows between two times that a partner is asked because it said so, ..."""

LONGEST_ASK_PAUSE: Final = 60.0
"""... up to so many: however often it says so, a run asks about once a minute."""

CANNOT_BE_ASKED: Final = "the partner cannot be asked"

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
    reference: str = ""
    askable: bool = False
    ask_wanted: bool = False
    asking: bool = False
    asks: int = 0
    asked_at: float = 0.0

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

    @property
    def ask_due(self) -> float | None:
        """When to ask the partner because it said so: at once the first time, and then with growing pauses."""
        # Where it was being asked when the execution before this one ended, nobody has its answer.
        if not (self.askable and (self.ask_wanted or self.asking)):
            return None
        return self.asked_at + min(self.asks * ASK_PAUSE, LONGEST_ASK_PAUSE)

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
        self.reference = ""
        self.askable = False
        self.ask_wanted = False
        self.asking = False
        self.asks = 0
        self.asked_at = 0.0

    def received(self, receipt: Receipt) -> None:
        """Note by which id the partner knows the work, and whether it can be asked about it."""
        self.reference = receipt.reference
        self.askable = receipt.askable
        self.remark(receipt.note)

    def remark(self, note: str) -> None:
        """Keep the last trouble with the current call."""
        self.note = note[:LONGEST_TEXT]

    def returned(self, *, at: float) -> None:
        """Note that the call is over."""
        self.in_call = False
        if self.ask_wanted and not self.askable:
            self.ask_wanted = False
            self.enter("callback ask during the call", CANNOT_BE_ASKED, at=at)

    def ask_requested(self, what: str, answer: Answer, *, at: float) -> None:
        """Note that the partner wants to be asked; any number of such callbacks before it is asked count as one."""
        # During the call it is not known yet whether the partner can be asked.
        self.ask_wanted = self.in_call or self.askable
        self.enter(what, answer.message if self.ask_wanted else CANNOT_BE_ASKED, at=at)

    def ask(self) -> None:
        """Note that the partner is being asked; an "ask me" that comes meanwhile is about something newer."""
        self.ask_wanted = False
        self.asking = True
        self.asks += 1

    def asked(self, answer: Answer, *, at: float) -> None:
        """Take what the partner says when it is asked: the outcome, or that it is still at it."""
        self.asking = False
        self.asked_at = at
        match answer.status:
            case "succeeded" | "failed" as status:
                self.settle(status, "asked", at=at, answer=answer)
            case status:
                self.progressed(at=at)
                self.enter(f"asked: {status}", answer.message, at=at)

    def ask_failed(self, why: str, *, at: float) -> None:
        """Note that the partner was asked and gave no answer: that says nothing about the work."""
        self.asking = False
        self.asked_at = at
        self.enter("asked", f"no answer: {why}", at=at)

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

    def is_sound(self) -> bool:
        """Whether its times and counts are such as this module writes."""
        times = (self.opened_at, self.called_at, self.waiting_since, self.progressed_at, self.asked_at)
        lengths = (
            self.timeout,
            self.wait_cap,
            self.attempt,
            self.ledger_total,
            self.issued_at,
            self.expires_at,
            self.asks,
        )
        return all(number is None or 0 <= number < LATEST for number in (*times, *lengths))
