"""StagedWorkflow: the base of every workflow that goes through numbered stages.

A subclass says `super().__init__(last_stage=...)` and `await self.stage(...)`; signals, timers, attempts, the
`progress` query and what Temporal's UI shows come from here. Timeouts are decided here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NoReturn

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as TimeoutFailure

from workflows.contract import (
    ADVANCE_STAGE,
    NOT_REACHED,
    PROGRESS,
    REFUSED,
    TOKEN_SLACK,
    Answer,
    Carried,
    Cause,
    Outcome,
    PartnerActivities,
    Progress,
    Receipt,
    Stage,
    StageCall,
    Status,
)
from workflows.mailbox import Mailbox, StageRecord
from workflows.views import details, stage_progress

CALL_RETRIES: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=5),
)

LARGEST_CALL: Final = 1024 * 1024
"""Bytes of a call's data, as JSON: Temporal takes 2 MiB, and would block the run instead of failing it."""

SIGNALS_PER_EXECUTION: Final = 2_000
"""After so many an execution continues as new. Each brings its workflow task along, so the history stays far from its
own limit of 51,200 events too."""


class StageFailed(ApplicationError):
    """A stage that failed or timed out, and with it the run. Its details are the stage's number, name and partner."""

    def __init__(self, stage: Stage, outcome: Outcome) -> None:
        reason = ": ".join(part for part in (outcome.code, outcome.message) if part) or outcome.cause
        super().__init__(
            f"stage {stage.number} {stage.name}: partner {stage.partner}: {reason}",
            {"stage": stage.number, "name": stage.name, "partner": stage.partner, "cause": outcome.cause},
            type="StageTimedOut" if outcome.cause == "timeout" else "StageFailed",
            non_retryable=True,
        )
        self.outcome = outcome


class StagedWorkflow:
    """Base class of staged workflows.

    last_stage: the highest stage number; `advance_stage` takes no higher one.
    name: what `progress` and the UI call the pipeline.
    """

    def __init__(self, last_stage: int, name: str = "") -> None:
        self._name = name or workflow.info().workflow_type
        self._mailbox = Mailbox(workflow.info().first_execution_run_id, last_stage)
        self._stages: dict[int, Stage] = {}

    # --- what others ask of a run

    @workflow.signal(name=ADVANCE_STAGE)
    def advance_stage(self, *args: Any) -> None:
        """`advance_stage(2)` by hand: every wait up to stage 2 is over. With a callback: that stage is answered.

        Takes anything, for a handler that refuses its arguments blocks the run; the mailbox counts what means nothing.
        """
        self._mailbox.receive(args, at=workflow.time())
        self._show()

    @workflow.signal(dynamic=True)
    def _misnamed(self, name: str, args: Sequence[RawValue]) -> None:
        """Count signals of other names, so that a misspelt one is seen in `progress`."""
        self._mailbox.receive_misnamed()

    @workflow.query(name=PROGRESS)
    def progress(self) -> Progress:
        """Every stage: state, attempts, deadline, outcome, cause, and what did not settle it."""
        return Progress(
            pipeline=self._name,
            chain_id=self._mailbox.chain_id,
            stages=[stage_progress(stage, record) for stage, record in self._known_records()],
            advanced_to=self._mailbox.advanced_to,
            last_stage=self._mailbox.last_stage,
            ignored=dict(self._mailbox.ignored),
        )

    # --- what a subclass awaits

    async def stage(self, stage: Stage, data: Mapping[str, Any] | None = None) -> Outcome:
        """Call the stage's partner, wait for its callback, and return how the stage was settled.

        data: the call's fields. Raises `StageFailed` when the outcome is a failure. A stage that was settled by an
        early callback is not called; one that an operator has advanced past is called, but not waited for.
        """
        self.announce(stage)
        record = self._mailbox.record(stage.number)
        try:
            outcome = await self._run_attempts(stage, record, data or {})
        except asyncio.CancelledError:
            record.settle("failed", "cancelled", at=workflow.time())
            self._show()
            raise
        self._show()
        if outcome.status == "failed":
            raise StageFailed(stage, outcome)
        return outcome

    async def advanced(self, stage: int) -> Outcome:
        """Wait, without a partner or a timer, until stage number `stage` is settled by a signal."""
        if not 1 <= stage <= self._mailbox.last_stage:
            raise ValueError(f"no signal can settle stage {stage} of {self._mailbox.last_stage}")
        record = self._mailbox.record(stage)
        record.wait(at=workflow.time())
        self._show()
        await workflow.wait_condition(lambda: record.outcome is not None)
        return _settled(record)

    def carry_over(self, carried: Carried) -> NoReturn:
        """End this execution with `workflow.continue_as_new`; the next one calls `take_over` with what is carried.

        For subclasses whose input can hold it. One that does not override this goes on for as long as Temporal allows.
        """
        raise NotImplementedError

    def take_over(self, carried: Carried) -> None:
        """Go on where the execution before this one was: settled stages stay so, an open one is called or waits on.

        Raises ValueError for what no execution can have carried.
        """
        self._mailbox.take_over(carried)

    def announce(self, *stages: Stage) -> None:
        """Let `progress` show stages before their turn."""
        self._stages.update({stage.number: stage for stage in stages})

    # --- how a stage goes

    async def _run_attempts(self, stage: Stage, record: StageRecord, data: Mapping[str, Any]) -> Outcome:
        record.open(at=workflow.time())
        if record.state == "waiting":  # carried over from the execution before this one
            await self._wait(stage, record)
        while record.in_call or _is_to_be_called(stage, record):
            reached = await self._call(stage, record, self._begin(stage, record, data))
            record.returned()
            if reached and record.outcome is None:
                record.wait(timeout=stage.timeout, cap=stage.wait_cap, at=workflow.time())
                await self._wait(stage, record)
        if record.outcome is None:
            self._give_up(stage, record)
        return _settled(record)

    def _begin(self, stage: Stage, record: StageRecord, data: Mapping[str, Any]) -> StageCall:
        """The next call of the stage; or the very same again, if the execution before this one was still at it."""
        if len(json.dumps(data)) > LARGEST_CALL:
            what = f"stage {stage.number} {stage.name}: its call would have more than {LARGEST_CALL} bytes of data"
            raise ApplicationError(what, type="CallTooLarge", non_retryable=True)
        now = workflow.time()
        call = StageCall(
            workflow_id=workflow.info().workflow_id,
            chain_id=self._mailbox.chain_id,
            stage=stage.number,
            name=stage.name,
            partner=stage.partner,
            attempt=record.attempt if record.in_call else record.attempt + 1,
            issued_at=record.issued_at if record.in_call else int(now),
            expires_at=int((record.opened_at or now) + stage.longest_open + TOKEN_SLACK),
            data=data,
            repeated=record.in_call,
        )
        if not record.in_call:
            record.begin(attempt=call.attempt, issued_at=call.issued_at, expires_at=call.expires_at, at=now)
        self._show()
        return call

    async def _call(self, stage: Stage, record: StageRecord, call: StageCall) -> bool:
        """Make the call, and say whether it may have reached the partner, so that a callback can come.

        A call that no worker has taken up is scheduled again, the very same: an absent worker is no partner's fault.
        """
        while True:
            calling = workflow.start_activity_method(
                PartnerActivities.call_partner,
                call,
                start_to_close_timeout=timedelta(seconds=stage.call_timeout),
                schedule_to_close_timeout=timedelta(seconds=stage.call_within),
                retry_policy=CALL_RETRIES,
                summary=f"{stage.number} {stage.name}: call {call.attempt} of {stage.partner}",
            )
            await self._until_over(record, calling)
            failure = self._read_call(record, calling) if calling.done() else None
            if failure is None:
                return True
            if not _was_never_started(failure):
                return not _was_never_reached(failure)

    async def _until_over(self, record: StageRecord, calling: asyncio.Task[Receipt]) -> None:
        """Wait for the call's end; a callback that arrives meanwhile ends it, an operator's signal does not."""
        try:
            await workflow.wait_condition(lambda: calling.done() or _called_back(record) or self._is_long())
            if not calling.done() and not _called_back(record):
                self.carry_over(self._mailbox.carry())
        finally:
            calling.cancel()
            # Nobody asks for the result of a call that a callback has overtaken.
            calling.add_done_callback(lambda call: call.cancelled() or call.exception())

    def _read_call(self, record: StageRecord, calling: asyncio.Task[Receipt]) -> ActivityError | None:
        """Settle what the call has settled; return why it failed, if it did and the stage is still open."""
        try:
            receipt = calling.result()
        except ActivityError as error:
            last = _last_failure(error)
            message = last.message if last else f"the call was given up: {error.cause or error}"
            if last and last.type == REFUSED:
                record.settle("failed", "failed", at=workflow.time(), answer=Answer("failed", message=message))
                return None
            record.note = message
            return error
        if receipt.answer is not None and receipt.answer.status != "progress":
            record.settle(receipt.answer.status, "answered", at=workflow.time(), answer=receipt.answer)
        return None

    async def _wait(self, stage: Stage, record: StageRecord) -> None:
        """Wait for the stage to be settled until its deadline, which progress callbacks put off up to the cap."""
        while record.outcome is None and (left := (record.deadline or 0) - workflow.time()) > 0:
            self._show()
            # A callback that lands with the fired timer in one task wins: the loop looks at the record once more.
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: record.outcome is not None or self._is_long(),
                    timeout=max(left, 0.001),
                    timeout_summary=f"{stage.number} {stage.name}: callback of {stage.partner}",
                )
            if record.outcome is None and self._is_long():
                self.carry_over(self._mailbox.carry())

    def _is_long(self) -> bool:
        """Whether to continue as new: Temporal takes 10,000 signals per execution, and no more."""
        heavy = self._mailbox.received >= SIGNALS_PER_EXECUTION or workflow.info().is_continue_as_new_suggested()
        return heavy and type(self).carry_over is not StagedWorkflow.carry_over

    def _give_up(self, stage: Stage, record: StageRecord) -> None:
        """Settle by the stage's policy: the callback did not come, or the partner could not even be asked."""
        waited = record.deadline is not None
        silence = f"no callback within {stage.timeout:g} s"
        message = f"{silence} ({record.note})" if waited and record.note else silence if waited else record.note
        status: Status = "skipped" if stage.on_timeout == "skip" else "failed"
        cause: Cause = "timeout" if waited else "failed"
        record.settle(status, cause, at=workflow.time(), answer=Answer("failed", message=message))

    def _show(self) -> None:
        workflow.set_current_details(details(self._name, self._known_records()))

    def _known_records(self) -> list[tuple[Stage, StageRecord]]:
        """Every stage that was announced or that a signal has touched, in order."""
        numbers = sorted(self._stages.keys() | self._mailbox.touched())
        unnamed = (Stage(number=number, name="", partner="", timeout=0.0) for number in numbers)
        return [(self._stages.get(stage.number, stage), self._mailbox.record(stage.number)) for stage in unnamed]


def _is_to_be_called(stage: Stage, record: StageRecord) -> bool:
    """An open stage, as long as it has attempts left; and one that an operator has advanced past, once."""
    if record.outcome is None:
        return record.attempt < stage.attempts
    return record.outcome.cause == "operator" and record.attempt == 0


def _called_back(record: StageRecord) -> bool:
    return record.outcome is not None and record.outcome.cause == "callback"


def _settled(record: StageRecord) -> Outcome:
    if record.outcome is None:
        raise AssertionError("asked for the outcome of an open stage")
    return record.outcome


def _was_never_started(error: ActivityError) -> bool:
    cause = error.cause
    return isinstance(cause, TimeoutFailure) and cause.type == TimeoutType.SCHEDULE_TO_START


def _was_never_reached(error: ActivityError) -> bool:
    """Whether no try can have been taken. A timeout proves nothing: the try that it ended was under way."""
    return isinstance(error.cause, ApplicationError) and error.cause.type == NOT_REACHED


def _last_failure(error: ActivityError) -> ApplicationError | None:
    """What the partner or its network said last; a timeout wraps the failure of the try before."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ApplicationError):
        cause = cause.__cause__
    return cause
