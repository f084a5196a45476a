"""The state of one stage: its current call, wait and outcome. `StageRecord.settle` is the only place that settles it.

The record has no clock and no network. The first cause settles the stage; the ledger keeps whatever arrives later.
A failure or a silence that need not end the stage is kept as `Trouble`, and `workflows.policies` decides it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from workflows.contract import Answer, Cause, LedgerEntry, Outcome, Policy, Receipt, State, Status

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

SHORTEST_ASK_EVERY: Final = 1.0
"""Minimum seconds between two questions of `Stage.ask_every`: each question is an activity in the run's history."""

CANNOT_BE_ASKED: Final = "the partner cannot be asked"

NO_ANSWER: Final = Answer(status="failed")
"""Placeholder for stages that are settled without an answer from the partner."""


@dataclass(frozen=True)
class Trouble:
    """Why the stage's current call did not succeed, while the stage is still open.

    is_silence: the partner was silent, or could not be reached; otherwise it answered `failed`, or refused the call.
    at: unix seconds.
    """

    cause: Cause
    is_silence: bool
    at: float
    attempt: int
    code: str = ""
    message: str = ""

    @property
    def text(self) -> str:
        """The partner's code and message, or the cause."""
        return ": ".join(part for part in (self.code, self.message) if part) or self.cause


@dataclass
class StageRecord:
    """The current call, wait and outcome of a stage. Times are unix seconds.

    on_failure: the stage's policy for an answer that says `failed`, noted when the call begins; "" means `fail`.
    trouble: why the call did not succeed; the stage stays open, and later failures of the call change nothing.
    pause_until: end of the pause before the next call.
    escalated_at: since when the stage waits for a person.
    extended: seconds by which operators have put off the current deadline.
    extended_to: the earliest moment of the deadline, by operators' commands.
    call_due: the next call is due, by the policy `retry` or by an operator's command.
    prolonged: an operator has put off a deadline or called again, so the stage may be open longer than planned.
    """

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
    on_failure: Policy | Literal[""] = ""
    trouble: Trouble | None = None
    pause_until: float | None = None
    escalated_at: float | None = None
    escalate_within: float = 0.0
    extended: float = 0.0
    call_due: bool = False
    prolonged: bool = False
    ask_every: float = 0.0
    token_version: int = 1
    extended_to: float = 0.0

    @property
    def state(self) -> State:
        """The stage's state: pending, calling, waiting, needs_person or settled."""
        if self.outcome is not None:
            return "settled"
        if self.escalated_at is not None:
            return "needs_person"
        if self.waiting_since is not None or self.pause_until is not None:
            return "waiting"
        return "pending" if self.called_at is None else "calling"

    @property
    def deadline(self) -> float | None:
        """End of the current wait; None without a wait, or if the wait has no end.

        The wait for a callback ends a timeout after its start or after the last progress, up to the cap.
        """
        if self.pause_until is not None:
            return self.pause_until
        if self.escalated_at is not None:
            return max(self.escalated_at + self.escalate_within, self.extended_to)
        if self.waiting_since is None or self.timeout is None:
            return None
        put_off = max(self.waiting_since, self.progressed_at) + self.timeout
        return max(min(put_off, self.waiting_since + self.wait_cap), self.extended_to)

    @property
    def is_undecided(self) -> bool:
        """Whether the call is in trouble, and the stage's policy has not decided yet how the stage goes on."""
        is_held = self.pause_until is not None or self.escalated_at is not None
        return self.outcome is None and self.trouble is not None and not is_held and not self.call_due

    @property
    def is_idle(self) -> bool:
        """Whether the stage is open, and no call is due: it waits, or its policy decides."""
        return self.outcome is None and not self.call_due

    @property
    def is_over(self) -> bool:
        """Whether the current wait or ask is over: the stage is settled or in trouble, or its next call is due."""
        return not self.is_idle or self.is_undecided

    @property
    def is_call_over(self) -> bool:
        """Whether the current call is over. The signal `advance_stage` ends waits only, not a call."""
        return self.is_over and not (self.outcome is not None and self.outcome.status == "advanced")

    @property
    def ask_due(self) -> float | None:
        """When to ask the partner before the deadline, or None.

        If a callback said `ask`: the first time at once, later after growing pauses. Otherwise as often as the stage
        says; see `Stage.ask_every`.
        """
        if not self.askable:
            return None
        # `asking` is still set if the previous execution ended during an ask. Its answer is lost, so ask again.
        if self.ask_wanted or self.asking:
            return self.asked_at + min(self.asks * ASK_PAUSE, LONGEST_ASK_PAUSE)
        if not self.ask_every or self.waiting_since is None:
            return None
        # A definition cannot say less than a second, but carried state of another client could.
        return max(self.waiting_since, self.asked_at) + max(self.ask_every, SHORTEST_ASK_EVERY)

    def open(self, *, at: float) -> None:
        """Record the start of the stage's turn; does nothing if the stage is already open."""
        self.opened_at = self.opened_at or at

    def begin(
        self,
        *,
        attempt: int,
        issued_at: int,
        at: float,
        expires_at: int = 0,
        on_failure: Policy | Literal[""] = "",
        token_version: int = 1,
    ) -> None:
        """Record the start of a call. From now on a failed callback counts only if it answers this call."""
        self.in_call = True
        self.token_version = token_version
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
        self.on_failure = on_failure
        self.trouble = None
        self.pause_until = None
        self.escalated_at = None
        self.extended = 0.0
        self.extended_to = 0.0
        self.call_due = False

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
        self.asks += self.ask_wanted or not self.ask_every
        self.ask_wanted = False
        self.asking = True

    def asked(self, answer: Answer, *, at: float) -> None:
        """Record the answer to an ask: it settles the stage, or says that the work is in progress."""
        self.asking = False
        self.asked_at = at
        match answer.status:
            case "succeeded":
                self.settle("succeeded", "asked", at=at, answer=answer)
            case "failed":
                self.fail("asked", at=at, answer=answer)
            case status:
                self.progressed(at=at)
                entry = LedgerEntry(f"asked: {status}", answer.message[:LONGEST_TEXT], at)
                # A stage that asks every minute would fill its ledger with one and the same answer.
                if not (self.ask_every and self.ledger and replace(self.ledger[-1], at=at) == entry):
                    self.enter(entry.what, entry.why, at=at)

    def ask_failed(self, why: str, *, at: float) -> None:
        """Record an ask without an answer, which says nothing about the work."""
        self.asking = False
        self.asked_at = at
        self.enter("asked", f"no answer: {why}", at=at)

    def wait(self, *, at: float, timeout: float | None = None, cap: float = 0.0, ask_every: float = 0.0) -> None:
        """Record the start of a wait: `timeout` seconds, with progress up to `cap`; without a timeout, for ever."""
        self.waiting_since = at
        self.timeout = timeout
        self.wait_cap = cap
        self.ask_every = ask_every

    def progressed(self, *, at: float) -> None:
        """Record that the partner is still working."""
        self.progressed_at = at

    def fail(self, cause: Cause, *, at: float, answer: Answer) -> None:
        """Record that the partner says `failed`, or refused the call: it settles the stage, or is trouble to decide."""
        if self.on_failure in {"", "fail"} and self.trouble is None and not self.call_due:
            self.settle("failed", cause, at=at, answer=answer)
        else:
            self._enter_trouble(cause, is_silence=False, at=at, answer=answer)

    def fall_silent(self, cause: Cause, message: str, *, at: float) -> None:
        """Record that the callback did not arrive in time, or that the call did not reach the partner."""
        self._enter_trouble(cause, is_silence=True, at=at, answer=Answer("failed", message=message))

    def _enter_trouble(self, cause: Cause, *, is_silence: bool, at: float, answer: Answer) -> None:
        if self.outcome is not None or self.trouble is not None or self.call_due:
            # Example: the stage waits for a person after a timeout, or an operator has just commanded another call, and
            # then the partner calls back `failed`.
            said = ": ".join(part for part in (answer.code, answer.message) if part)
            self.enter(f"failed by {cause}", self.closed or said, at=at)
            return
        code, message = answer.code[:LONGEST_TEXT], answer.message[:LONGEST_TEXT]
        self.trouble = Trouble(cause, is_silence, at, self.attempt, code, message)

    def retry(self, *, at: float, pause: float) -> None:
        """Plan the next call, after a pause in seconds."""
        self.call_due = not pause
        self.pause_until = at + pause if pause else None

    def end_pause(self) -> None:
        """Record that the pause before the next call is over."""
        self.pause_until = None
        self.call_due = True

    def call_again(self) -> None:
        """Record an operator's command to call the partner again now."""
        self.end_pause()
        self.prolonged = True

    def escalate(self, *, at: float, within: float) -> None:
        """Record that the stage waits for a person, at most `within` seconds."""
        self.escalated_at = at
        self.escalate_within = within
        self.extended = 0.0
        self.extended_to = 0.0

    def extend(self, seconds: float) -> None:
        """Record an operator's command to put off the deadline. Later progress does not put it off further."""
        self.extended_to = (self.deadline or 0.0) + seconds
        self.extended += seconds
        self.prolonged = True

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
        times = (
            self.opened_at,
            self.called_at,
            self.waiting_since,
            self.progressed_at,
            self.asked_at,
            self.pause_until,
            self.escalated_at,
        )
        lengths = (
            self.timeout,
            self.wait_cap,
            self.attempt,
            self.ledger_total,
            self.issued_at,
            self.expires_at,
            self.asks,
            self.escalate_within,
            self.extended,
            self.extended_to,
            self.ask_every,
            self.token_version,
        )
        return all(number is None or 0 <= number < FAR_FUTURE for number in (*times, *lengths))
