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
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol

from temporalio import activity

from workflows.durations import DAY, HOUR

ADVANCE_STAGE: Final = "advance_stage"
"""Name of the signal that carries callbacks and operators' advances."""

SENDER_HEADER: Final = "stagehook-sender"
"""Name of the header of this signal that says who sent it by hand, and why: a `SignalSender` as JSON."""

PROGRESS: Final = "progress"
"""Name of the query that shows a run."""

OUTCOMES: Final = "outcomes"
"""Name of the query that shows the outcomes of the settled stages, with their data."""

OPERATE: Final = "operate"
"""Name of the update that carries an operator's command for one stage."""

COMMAND_REFUSED: Final = "CommandRefused"
"""Error type of an update that the run refuses; the message says why. A refused command leaves no event."""

CONTRACT: Final = 1
"""Number of this contract. A release that adds a field or a policy to a run's definition raises it."""

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
State = Literal["pending", "calling", "waiting", "needs_person", "settled"]
Policy = Literal["fail", "retry", "skip", "escalate"]
Action = Literal["extend", "call-again", "succeed", "skip", "fail"]

TOKEN_SLACK: Final = 30 * DAY
"""Seconds between the last moment at which a stage can be open and the expiry of its callback tokens."""

LONGEST_RETRY_PAUSE: Final = HOUR
"""Maximum seconds between two calls of one stage, however often the pause has doubled."""

ESCALATE_WITHIN: Final = 30 * DAY
"""Seconds for which a stage waits for a person, if the stage does not say it."""


TOKEN_VERSIONS: Final = (1, 2)
"""Versions of callback tokens; see `activities.callback_urls`."""


@dataclass(frozen=True)
class Stage:
    """A numbered step of a pipeline: a call to a partner, and the wait for its callback.

    number: 1 for the first stage, 2 for the second and so on; `advance_stage` takes this number.
    name: lower-case words joined by hyphens, unique in the pipeline; later stages refer to it.
    partner: the partner's name in the registry.
    timeout: seconds to wait for a callback, counted from the end of the call.
    on_timeout: the policy for silence: no callback until the deadline, or a partner that could not be reached.
    attempts: the total number of calls that `retry` makes, for both policies together; then the run fails.
    needs: the call's fields; each value is `input.FIELD`, or `STAGE-NAME.FIELD` of an earlier stage's outcome.
    call_timeout: seconds for one HTTP request to the partner.
    call_within: seconds during which a failed call is retried, with the same idempotency key.
    longest_wait: maximum seconds of a wait that progress callbacks prolong; 0 means ten timeouts.
    on_failure: the policy for a partner that answers `failed`, or refuses the call; "" means `fail`.
    retry_pause: seconds before the second call; each later pause is twice as long, up to an hour.
    escalate_within: seconds for which `escalate` waits for a person; 0 means 30 days.
    ask_every: seconds between two questions to a partner that can be asked, while the stage waits; 0 means that it is
        asked only at the deadline, and when a callback says `ask`.

    The policies: `fail` ends the run, `retry` calls again with a new URL, `skip` continues without the partner's
    answer, and `escalate` waits for a person.
    """

    number: int
    name: str
    partner: str
    timeout: float
    on_timeout: Policy = "fail"
    attempts: int = 1
    needs: Mapping[str, str] = field(default_factory=dict)
    call_timeout: float = 30.0
    call_within: float = HOUR
    longest_wait: float = 0.0
    on_failure: Policy | Literal[""] = ""
    retry_pause: float = 0.0
    escalate_within: float = 0.0
    ask_every: float = 0.0

    @property
    def policies(self) -> tuple[Policy, Policy]:
        """The policies for silence and for failure."""
        return self.on_timeout, self.on_failure or "fail"

    @property
    def wait_cap(self) -> float:
        """Maximum wait of one attempt in seconds, including progress."""
        return max(self.timeout, self.longest_wait or 10 * self.timeout)

    @property
    def longest_open(self) -> float:
        """Maximum seconds between the stage's first call and its outcome, unless an operator prolongs it.

        An ask at a deadline adds minutes to each attempt; `TOKEN_SLACK` covers these.
        """
        pauses = sum(self.pause_after(attempt) for attempt in range(1, self.attempts))
        return self.attempts * self._longest_attempt + pauses + self.longest_escalation

    @property
    def longest_last_call(self) -> float:
        """Maximum seconds between the start of the stage's last call and its outcome."""
        return self._longest_attempt + self.longest_escalation

    @property
    def longest_escalation(self) -> float:
        """Maximum seconds for which the stage waits for a person."""
        return (self.escalate_within or ESCALATE_WITHIN) if "escalate" in self.policies else 0.0

    @property
    def _longest_attempt(self) -> float:
        return self.call_within + self.call_timeout + self.wait_cap

    def pause_after(self, attempt: int) -> float:
        """Seconds between the end of this attempt and the next call."""
        # At most 2 ** 30, because a float has an end. An operator's calls can exceed `attempts`.
        return min(self.retry_pause * 2.0 ** min(attempt - 1, 30), LONGEST_RETRY_PAUSE)


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
    commands: the latest commands that operators' updates have applied.
    """

    advanced_to: int
    ignored: Mapping[str, int]
    records: Mapping[str, Mapping[str, Any]]
    commands: Sequence[Applied] = ()


@dataclass(frozen=True)
class Parent:
    """The stage of another run that waits for the end of this run: what a callback for it must name."""

    workflow_id: str
    stage: int
    chain_id: str
    attempt: int
    issued_at: int


@dataclass(frozen=True)
class PipelineRun:
    """The input of a run: its data and the whole definition, so that an edited definition never changes an open run.

    carried: state from the previous execution of the chain; null for a new run, unless a webhook replay begins it.
    contract: number of the contract that the definition needs; see `contract_of`. A worker with an older contract does
        not refuse a run that it cannot read: its workflow task fails, and a newer worker takes the task.
    parent: the stage that this run reports its end to; null for a run that no other run has started.
    token_version: the version of the run's callback tokens, from `TOKEN_VERSIONS`; 0 means 1.
    """

    pipeline: Pipeline
    input: Mapping[str, Any] = field(default_factory=dict)
    carried: Carried | None = None
    contract: int = 0
    parent: Parent | None = None
    token_version: int = 0


def contract_of(pipeline: Pipeline) -> int:
    """The number of the oldest contract that knows every field and policy which the definition uses.

    Workers before contract 1 refuse a run that states a number at all, so a plain definition states none.
    """
    is_plain = all(
        stage.on_timeout != "escalate"
        and not (stage.on_failure or stage.retry_pause or stage.escalate_within or stage.ask_every)
        for stage in pipeline.stages
    )
    return 0 if is_plain else 1


def for_older_workers(pipeline: Pipeline) -> Pipeline:
    """The definition as workers before contract 1 can run it: where it says `escalate`, it says `fail`.

    Other policies that those workers do not know stay, and need contract 1.
    """

    def plain(stage: Stage) -> Stage:
        return replace(
            stage,
            on_timeout="fail" if stage.on_timeout == "escalate" else stage.on_timeout,
            on_failure="" if stage.on_failure in {"escalate", "fail"} else stage.on_failure,
            escalate_within=0.0,
        )

    return replace(pipeline, stages=[plain(stage) for stage in pipeline.stages])


@dataclass(frozen=True)
class StageCall:
    """One attempt's call to a partner. It determines the claims and the idempotency key; it holds no URL or secret.

    repeated: a previous execution began this same call, so the partner may already have accepted it.
    issued_at, expires_at: whole unix seconds, read once from the workflow's clock, so that a repeated activity sends
        the same bytes.
    pipeline: the pipeline's name; for other workflows, the workflow's type.
    definition: digest of the pipeline's definition; "" for other workflows.
    token_version: the version of the callback token, from `TOKEN_VERSIONS`.
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
    pipeline: str = ""
    definition: str = ""
    token_version: int = 1


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
class Command:
    """An operator's command for one open stage: the argument of the update `operate`.

    id: names the command; the same id acts once in a chain.
    action: `extend` puts the deadline off by `seconds`; `call-again` calls the partner again with a new URL; `succeed`
        settles the stage with `data`; `skip` and `fail` settle it without data.
    actor: who commands it, for the ledger.
    reason: why, for the ledger.
    attempt: the call that the operator has seen; the run refuses the command if the stage is at another call by now.
        0 commands the stage at any call.
    """

    id: str
    action: Action
    stage: int
    actor: str
    reason: str
    seconds: float = 0.0
    data: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 0


@dataclass(frozen=True)
class SignalSender:
    """Who sent a signal by hand, and why: the header `SENDER_HEADER` of the signal, for the ledger.

    The signal's arguments cannot hold it: a worker of an earlier version ignores a signal with others.
    """

    actor: str
    reason: str


@dataclass(frozen=True)
class Applied:
    """A command that a run has applied: the answer to the update `operate`, and an entry of the stage's ledger.

    what, why, at: as in `LedgerEntry`.
    again: the command was applied before, by an earlier update with this id.
    """

    id: str
    stage: int
    what: str
    why: str
    at: float
    again: bool = False


@dataclass(frozen=True)
class StageProgress:
    """A stage as `progress` shows it.

    called_at, deadline, settled_at: unix seconds, or None. In the state `needs_person`, the deadline is the person's.
    code, message: of the outcome, or of the trouble that keeps the stage open.
    note: the latest problem with the call or its immediate answer.
    ledger: the first entries, and the operators' latest commands, by time; ledger_total counts all entries.
    expires_at: expiry of the current call's token, in whole unix seconds; 0 without a call.
    reference: the partner's own id of the current call's work, or "".
    outcome_attempt: `Outcome.attempt`.
    calls_again_at: when `retry` calls the partner again, in unix seconds; None if no call is planned.
    attempts_planned: `Stage.attempts`; 0 if the stage is not known by its definition.
    on_timeout, on_failure: the stage's policies, or "".
    trouble: what keeps an open stage from going on, by the cause that an outcome would have; "" if nothing does.
    token_version: the version of the current call's token.
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
    calls_again_at: float | None = None
    attempts_planned: int = 0
    on_timeout: str = ""
    on_failure: str = ""
    trouble: Cause | Literal[""] = ""
    token_version: int = 1


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
    """The result of a finished run, and the answer to the `outcomes` query: the settled stages' outcomes by name."""

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
