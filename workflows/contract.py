"""What travels between clients, workflows, activities and the receiver, and is recorded in histories.

Every type is a frozen dataclass of JSON-safe fields; times are unix seconds, durations are seconds. A recorded field
is never renamed or removed. A new one has an empty default (null, "", 0, false or nothing in it), so that old histories
and old workers keep reading: they refuse a run with an unknown field that is not empty. Nothing is checked on
construction, for that would run again on old data: `workflows.checking` does it once, where a run begins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from temporalio import activity

ADVANCE_STAGE: Final = "advance_stage"
"""The signal's name, for the workflow that handles it and for everyone who sends it."""

PROGRESS: Final = "progress"
"""The query's name."""

PIPELINE_WORKFLOW: Final = "PipelineWorkflow"
"""The workflow type that runs a `Pipeline`."""

REFUSED: Final = "PartnerRefused"
"""Error type of a call that the partner certainly did not take: the stage fails without waiting for a callback."""

NOT_REACHED: Final = "PartnerNotReached"
"""Error type of a try after which it is sure that no try of this call has reached the partner's work so far."""

LARGEST_OUTCOME: Final = 32 * 1024
"""Bytes of an outcome, as JSON, that travel into a history: it keeps them for good, and its size is limited."""

Status = Literal["succeeded", "failed", "skipped", "advanced"]
Cause = Literal["callback", "answered", "asked", "failed", "timeout", "operator", "cancelled"]
State = Literal["pending", "calling", "waiting", "settled"]
OnTimeout = Literal["fail", "retry", "skip"]

TOKEN_SLACK: Final = 30 * 24 * 3600.0
"""Seconds that a callback token outlives the last moment at which its stage can be open."""


@dataclass(frozen=True)
class Stage:
    """One numbered step of a pipeline: a call to a partner, and the wait for its callback.

    number: 1 for the first stage, counting up by one; the number that `advance_stage` takes.
    name: lower-case words joined by hyphens, unique in the pipeline; later stages refer to it.
    partner: the partner's name in the registry.
    timeout: seconds to wait for a callback, counted from the end of the call.
    on_timeout: what happens then: `fail` ends the run, `retry` calls again with a new URL, `skip` goes on without.
    attempts: how many calls `retry` makes altogether; the last one's timeout ends the run.
    needs: the call's fields, each from `input.FIELD` or from an earlier stage's outcome, `STAGE-NAME.FIELD`.
    call_timeout: seconds for one HTTP request to the partner.
    call_within: seconds in which a call that fails is tried again, with the same idempotency key.
    longest_wait: seconds up to which progress callbacks can put the deadline off; 0 stands for ten timeouts.
    """

    number: int
    name: str
    partner: str
    timeout: float
    on_timeout: OnTimeout = "fail"
    attempts: int = 1
    needs: Mapping[str, str] = field(default_factory=dict)
    call_timeout: float = 30.0
    call_within: float = 3600.0
    longest_wait: float = 0.0

    @property
    def wait_cap(self) -> float:
        """The longest wait of one attempt in seconds, all progress included."""
        return max(self.timeout, self.longest_wait or 10 * self.timeout)

    @property
    def longest_open(self) -> float:
        """The longest time in seconds between the first call of the stage and its settling.

        Asking at a deadline adds minutes to each attempt; `TOKEN_SLACK` covers them.
        """
        return self.attempts * (self.call_within + self.call_timeout + self.wait_cap)


@dataclass(frozen=True)
class Pipeline:
    """A definition: ordered, numbered stages. Plain data; it never grows conditions."""

    name: str
    stages: Sequence[Stage]
    description: str = ""


@dataclass(frozen=True)
class Carried:
    """What an execution hands to the next one of its chain when it continues as new.

    records: each stage's state by its number; `workflows.mailbox` writes and reads them.
    """

    advanced_to: int
    ignored: Mapping[str, int]
    records: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class PipelineRun:
    """The input of a run: the whole definition, so that editing one never touches a run in flight, and its data.

    carried: what an execution of the same chain hands to the next one; nobody else sets it.
    """

    pipeline: Pipeline
    input: Mapping[str, Any] = field(default_factory=dict)
    carried: Carried | None = None


@dataclass(frozen=True)
class StageCall:
    """One attempt's call to a partner. Claims and idempotency key are derived from it; it holds no URL and no secret.

    repeated: an execution before this one has begun the very same call, so that it may have been taken already.
    issued_at and expires_at are whole unix seconds, taken once from the workflow's clock, so that a repeated activity
    sends the same bytes.
    """

    workflow_id: str
    chain_id: str
    stage: int
    name: str
    partner: str
    attempt: int
    issued_at: int
    expires_at: int
    data: Mapping[str, Any] = field(default_factory=dict)
    repeated: bool = False


@dataclass(frozen=True)
class Answer:
    """What a partner says, in our words.

    status: `succeeded` with data, `failed` with code and message, `progress` (still at it), or `ask`: the callback says
        only that there is something to know, and the partner wants to be asked for it.
    """

    status: Literal["succeeded", "failed", "progress", "ask"]
    data: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    message: str = ""

    @property
    def settles(self) -> bool:
        """Whether it can settle a stage. Two of the others may be byte-identical and still mean something new."""
        return self.status in {"succeeded", "failed"}

    @property
    def size(self) -> int:
        """Its bytes as JSON; see `LARGEST_OUTCOME`."""
        return len(json.dumps([self.data, self.code, self.message]))


@dataclass(frozen=True)
class Receipt:
    """The partner's immediate answer to a call.

    reference: the partner's own id of the work, or "".
    key: fingerprint of the key that signed the callback URL.
    answer: the outcome, when the partner gave it at once and no callback is needed.
    askable: the partner can be asked how the work stands, by this reference.
    note: what is wrong with the answer of a partner that took the call, or "".
    """

    reference: str = ""
    key: str = ""
    answer: Answer | None = None
    askable: bool = False
    note: str = ""


@dataclass(frozen=True)
class Question:
    """How does the work stand that this call has started?

    call: the call, without its data. reference: the partner's own id of the work, from the call's receipt.
    """

    call: StageCall
    reference: str


@dataclass(frozen=True)
class Callback:
    """A partner's answer to one call, as the receiver signals it, with those of the token's claims that matter."""

    answer: Answer
    chain_id: str
    attempt: int
    issued_at: int


@dataclass(frozen=True)
class Outcome:
    """How a stage was settled: once, by one cause.

    at: unix seconds.
    attempt: the call that was answered; 0 when no call was made.
    """

    status: Status
    cause: Cause
    at: float
    attempt: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class LedgerEntry:
    """Something that reached a stage and did not settle it: what, why not, and when (unix seconds)."""

    what: str
    why: str
    at: float


@dataclass(frozen=True)
class StageProgress:
    """One stage as `progress` shows it.

    expires_at: when the current call's token expires, in whole unix seconds; 0 while there is none.
    called_at, deadline, settled_at: unix seconds, or None while there is none. note: the last trouble with the call
        or its immediate answer.
    ledger: the first entries; ledger_total counts them all.
    reference: the partner's own id of the current call's work, or "". outcome_attempt: `Outcome.attempt`.
    """

    number: int
    name: str
    partner: str
    state: State
    attempts: int = 0
    called_at: float | None = None
    deadline: float | None = None
    outcome: Status | None = None
    cause: Cause | None = None
    settled_at: float | None = None
    code: str = ""
    message: str = ""
    note: str = ""
    ledger: Sequence[LedgerEntry] = ()
    ledger_total: int = 0
    expires_at: int = 0
    reference: str = ""
    outcome_attempt: int = 0


@dataclass(frozen=True)
class Progress:
    """The answer to the `progress` query.

    last_stage: the highest stage number that there is.
    advanced_to: the highest stage that an operator's signal ended the waits up to; 0 for none.
    ignored: how many signals were ignored altogether, by reason.
    """

    pipeline: str
    chain_id: str
    stages: Sequence[StageProgress]
    advanced_to: int = 0
    last_stage: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PipelineResult:
    """What a finished run returns: each stage's outcome by the stage's name."""

    pipeline: str
    outcomes: Mapping[str, Outcome]


class PartnerActivities(Protocol):
    """What workflows ask of the outside world; `activities.calls` does it."""

    @activity.defn
    async def call_partner(self, call: StageCall) -> Receipt:
        """Ask the partner to do the stage's work and to answer at the callback URL."""
        ...

    @activity.defn
    async def ask_partner(self, question: Question) -> Answer:
        """Ask the partner how the work of a call stands; only after a receipt that says `askable`."""
        ...
