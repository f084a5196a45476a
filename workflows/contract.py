"""The types that clients, workflows, activities and the receiver exchange, and that histories record.

Every type is a frozen dataclass of JSON-safe fields. Times are unix seconds; durations are seconds.

A recorded field is never renamed or removed. A new field has an empty default (null, "", 0, false, or an empty list or
object), so that it can be read from old histories and by old workers: an old worker refuses a run with an unknown field
that is not empty. Constructors check nothing, because a check would run again on old data. `workflows.checking` checks
once, where a run begins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from temporalio import activity

from workflows.durations import DAY, HOUR

ADVANCE_STAGE: Final = "advance_stage"
"""Name of the signal that carries callbacks and operators' advances."""

PROGRESS: Final = "progress"
"""Name of the query that shows a run."""

PIPELINE_WORKFLOW: Final = "PipelineWorkflow"
"""Workflow type that runs a `Pipeline`."""

REFUSED: Final = "PartnerRefused"
"""Error type of a call that the partner certainly did not accept: the stage fails without waiting for a callback."""

NOT_REACHED: Final = "PartnerNotReached"
"""Error type of a failed try, if the partner cannot have accepted this or any earlier try of the call."""

LARGEST_OUTCOME: Final = 32 * 1024
"""Maximum bytes of an outcome, as JSON: a history keeps the outcome for good, and the history's size is limited."""

Status = Literal["succeeded", "failed", "skipped", "advanced"]
Cause = Literal["callback", "answered", "asked", "failed", "timeout", "operator", "cancelled"]
State = Literal["pending", "calling", "waiting", "settled"]
OnTimeout = Literal["fail", "retry", "skip"]

TOKEN_SLACK: Final = 30 * DAY
"""Seconds between the last moment at which a stage can be open and the expiry of its callback tokens."""


@dataclass(frozen=True)
class Stage:
    """A numbered step of a pipeline: a call to a partner, and the wait for its callback.

    number: 1 for the first stage, 2 for the second and so on; `advance_stage` takes this number.
    name: lower-case words joined by hyphens, unique in the pipeline; later stages refer to it.
    partner: the partner's name in the registry.
    timeout: seconds to wait for a callback, counted from the end of the call.
    on_timeout: `fail` ends the run, `retry` calls again with a new URL, `skip` continues without the callback.
    attempts: the total number of calls that `retry` makes; the timeout of the last call ends the run.
    needs: the call's fields; each value is `input.FIELD`, or `STAGE-NAME.FIELD` of an earlier stage's outcome.
    call_timeout: seconds for one HTTP request to the partner.
    call_within: seconds during which a failed call is retried, with the same idempotency key.
    longest_wait: maximum seconds of a wait that progress callbacks prolong; 0 means ten timeouts.
    """

    number: int
    name: str
    partner: str
    timeout: float
    on_timeout: OnTimeout = "fail"
    attempts: int = 1
    needs: Mapping[str, str] = field(default_factory=dict)
    call_timeout: float = 30.0
    call_within: float = HOUR
    longest_wait: float = 0.0

    @property
    def wait_cap(self) -> float:
        """Maximum wait of one attempt in seconds, including progress."""
        return max(self.timeout, self.longest_wait or 10 * self.timeout)

    @property
    def longest_open(self) -> float:
        """Maximum seconds between the stage's first call and its outcome.

        An ask at a deadline adds minutes to each attempt; `TOKEN_SLACK` covers these.
        """
        return self.attempts * (self.call_within + self.call_timeout + self.wait_cap)


@dataclass(frozen=True)
class Pipeline:
    """A definition: ordered, numbered stages. It is plain data, and never gets conditions."""

    name: str
    stages: Sequence[Stage]
    description: str = ""


@dataclass(frozen=True)
class Carried:
    """State that an execution passes to the next execution of its chain when it continues as new.

    records: each stage's state by stage number; `workflows.mailbox` writes and reads these.
    """

    advanced_to: int
    ignored: Mapping[str, int]
    records: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class PipelineRun:
    """The input of a run: its data and the whole definition, so that an edited definition never changes an open run.

    carried: state from the previous execution of the chain; null for a new run, unless a webhook replay begins it.
    """

    pipeline: Pipeline
    input: Mapping[str, Any] = field(default_factory=dict)
    carried: Carried | None = None


@dataclass(frozen=True)
class StageCall:
    """One attempt's call to a partner. It determines the claims and the idempotency key; it holds no URL or secret.

    repeated: a previous execution began this same call, so the partner may already have accepted it.
    issued_at, expires_at: whole unix seconds, read once from the workflow's clock, so that a repeated activity sends
        the same bytes.
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
    """What a partner says, in Stagehook's words.

    status: `succeeded` with data; `failed` with code and message; `progress`, the work goes on; or `ask`, the callback
        only says that there is news, and the partner expects us to ask for it.
    """

    status: Literal["succeeded", "failed", "progress", "ask"]
    data: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    message: str = ""

    @property
    def settles(self) -> bool:
        """Whether the answer can settle a stage. `progress` and `ask` cannot; two identical ones are two events."""
        return self.status in {"succeeded", "failed"}

    @property
    def size(self) -> int:
        """Size as JSON in bytes; see `LARGEST_OUTCOME`."""
        return len(json.dumps([self.data, self.code, self.message]))


@dataclass(frozen=True)
class Receipt:
    """The partner's immediate answer to a call.

    reference: the partner's own id of the work, or "".
    key: fingerprint of the key that signed the callback URL.
    answer: the partner's answer, if it came at once and no callback is needed.
    askable: the partner can be asked for the work's status, by this reference.
    note: what is wrong with the response of a partner that accepted the call, or "".
    """

    reference: str = ""
    key: str = ""
    answer: Answer | None = None
    askable: bool = False
    note: str = ""


@dataclass(frozen=True)
class Question:
    """A question to a partner: what is the status of the work that this call started?

    call: the call, without its data.
    reference: the partner's own id of the work, from the call's receipt.
    """

    call: StageCall
    reference: str


@dataclass(frozen=True)
class Callback:
    """A partner's answer to one call, as the receiver signals it, with the token's claims that identify the call."""

    answer: Answer
    chain_id: str
    attempt: int
    issued_at: int


@dataclass(frozen=True)
class Outcome:
    """How a stage was settled: once, by a single cause.

    at: unix seconds.
    attempt: the call that was answered; 0 if there was no call.
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
    """Something that reached a stage without settling it: what, why not, and when (unix seconds)."""

    what: str
    why: str
    at: float


@dataclass(frozen=True)
class StageProgress:
    """A stage as `progress` shows it.

    called_at, deadline, settled_at: unix seconds, or None.
    note: the latest problem with the call or its immediate answer.
    ledger: the first entries; ledger_total counts all entries.
    expires_at: expiry of the current call's token, in whole unix seconds; 0 without a call.
    reference: the partner's own id of the current call's work, or "".
    outcome_attempt: `Outcome.attempt`.
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

    last_stage: the run's highest stage number.
    advanced_to: the highest stage that an operator has advanced past; 0 if none.
    ignored: the number of ignored signals by reason.
    """

    pipeline: str
    chain_id: str
    stages: Sequence[StageProgress]
    advanced_to: int = 0
    last_stage: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PipelineResult:
    """The result of a finished run: each stage's outcome by stage name."""

    pipeline: str
    outcomes: Mapping[str, Outcome]


class PartnerActivities(Protocol):
    """The activities that workflows call; `activities.calls` implements them."""

    @activity.defn
    async def call_partner(self, call: StageCall) -> Receipt:
        """Ask the partner to do the stage's work and to answer at the callback URL."""
        ...

    @activity.defn
    async def ask_partner(self, question: Question) -> Answer:
        """Ask the partner for the status of a call's work; only after a receipt with `askable`."""
        ...
