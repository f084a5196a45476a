"""The state of one stage: its current call, wait and outcome. `StageRecord.settle` is the only place that settles it.

The record has no clock and no network. The first cause settles the stage; the ledger keeps whatever arrives later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from workflows.contract import Answer, Cause, LedgerEntry, Outcome, Receipt, State, Status

LEDGER_LENGTH: Final = 20
"""Entries kept per stage. Later entries are only counted, so that a flood of signals cannot grow the run's memory."""

LONGEST_TEXT: Final = 300
"""Characters kept of a partner's code, message or id of the work, of a note, or of an exception's text."""

FAR_FUTURE: Final = 2.0**40
"""Unix seconds in the far future. A valid time is below this; NaN is not below any number."""

ASK_PAUSE: Final = 1.0
"""Seconds by which the pause grows with each ask that a callback has requested."""

LONGEST_ASK_PAUSE: Final = 60.0
"""Maximum pause in seconds: however many callbacks say `ask`, a run asks about once a minute."""

CANNOT_BE_ASKED: Final = "the partner cannot be asked"

NO_ANSWER: Final = Answer(status="failed")
"""Placeholder for stages that are settled without an answer from the partner."""


@dataclass
class StageRecord:
    """The current call, wait and outcome of a stage. Times are unix seconds."""

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
        """The stage's state: pending, calling, waiting or settled."""
        if self.outcome is not None:
            return "settled"
        if self.waiting_since is not None:
            return "waiting"
        return "pending" if self.called_at is None else "calling"

    @property
    def deadline(self) -> float | None:
        """End of the current wait: a timeout after its start or after the last progress, up to the cap; or None."""
        if self.waiting_since is None or self.timeout is None:
            return None
        put_off = max(self.waiting_since, self.progressed_at) + self.timeout
        return min(put_off, self.waiting_since + self.wait_cap)

    @property
    def ask_due(self) -> float | None:
        """When to ask, if a callback said `ask`: the first time at once, later after growing pauses; otherwise None."""
        # `asking` is still set if the previous execution ended during an ask. Its answer is lost, so ask again.
        if not (self.askable and (self.ask_wanted or self.asking)):
            return None
        return self.asked_at + min(self.asks * ASK_PAUSE, LONGEST_ASK_PAUSE)

    def open(self, *, at: float) -> None:
        """Record the start of the stage's turn; does nothing if the stage is already open."""
        self.opened_at = self.opened_at or at

    def begin(self, *, attempt: int, issued_at: int, at: float, expires_at: int = 0) -> None:
        """Record the start of a call. From now on a failed callback counts only if it answers this call."""
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
        """Record the partner's reference, whether the partner can be asked about the work, and the receipt's note."""
        self.reference = receipt.reference
        self.askable = receipt.askable
        self.remark(receipt.note)

    def remark(self, note: str) -> None:
        """Keep the latest problem with the current call."""
        self.note = note[:LONGEST_TEXT]

    def returned(self, *, at: float) -> None:
        """Record the end of the call. Drop an ask requested during it if the partner cannot be asked."""
        self.in_call = False
        if self.ask_wanted and not self.askable:
            self.ask_wanted = False
            self.enter("callback ask during the call", CANNOT_BE_ASKED, at=at)

    def ask_requested(self, what: str, answer: Answer, *, at: float) -> None:
        """Record a callback that says `ask`. Any number of these before the next ask cause a single ask."""
        # During the call we do not know yet whether the partner can be asked, so keep the request; see `returned`.
        self.ask_wanted = self.in_call or self.askable
        self.enter(what, answer.message if self.ask_wanted else CANNOT_BE_ASKED, at=at)

    def ask(self) -> None:
        """Record the start of an ask. An `ask` callback that arrives meanwhile is about newer state: ask again."""
        self.ask_wanted = False
        self.asking = True
        self.asks += 1

    def asked(self, answer: Answer, *, at: float) -> None:
        """Record the answer to an ask: it settles the stage, or says that the work is in progress."""
        self.asking = False
        self.asked_at = at
        match answer.status:
            case "succeeded" | "failed" as status:
                self.settle(status, "asked", at=at, answer=answer)
            case status:
                self.progressed(at=at)
                self.enter(f"asked: {status}", answer.message, at=at)

    def ask_failed(self, why: str, *, at: float) -> None:
        """Record an ask without an answer, which says nothing about the work."""
        self.asking = False
        self.asked_at = at
        self.enter("asked", f"no answer: {why}", at=at)

    def wait(self, *, at: float, timeout: float | None = None, cap: float = 0.0) -> None:
        """Record the start of a wait: `timeout` seconds, with progress up to `cap`; without a timeout, for ever."""
        self.waiting_since = at
        self.timeout = timeout
        self.wait_cap = cap

    def progressed(self, *, at: float) -> None:
        """Record that the partner is still working."""
        self.progressed_at = at

    def settle(
        self, status: Status, cause: Cause, *, at: float, attempt: int | None = None, answer: Answer = NO_ANSWER
    ) -> None:
        """Settle the stage. If it is already settled, enter the late cause in the ledger instead.

        attempt: the call that was answered, if it is not the current call.
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
        """How the stage was closed, for its ledger; "" if it is open."""
        return f"closed: {self.outcome.status} by {self.outcome.cause}" if self.outcome else ""

    def enter(self, what: str, why: str, *, at: float) -> None:
        """Add to the ledger something that did not settle the stage."""
        self.ledger_total += 1
        if len(self.ledger) < LEDGER_LENGTH:
            self.ledger.append(LedgerEntry(what, why[:LONGEST_TEXT], at))

    def is_sound(self) -> bool:
        """Whether all times and counts are in the range that this module writes."""
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
        return all(number is None or 0 <= number < FAR_FUTURE for number in (*times, *lengths))
