"""StagedWorkflow: the base class of workflows that run numbered stages.

A subclass calls `super().__init__(last_stage=...)` and `await self.stage(...)`. The base class provides signals,
timers, attempts, the `progress` query and the text in Temporal's UI. Only this module decides timeouts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.contract import (
    ADVANCE_STAGE,
    PROGRESS,
    REFUSED,
    TOKEN_SLACK,
    Answer,
    Carried,
    Cause,
    Outcome,
    Progress,
    Question,
    Stage,
    StageCall,
    Status,
)
from workflows.failures import failure_text, last_failure, was_never_reached, was_never_started
from workflows.mailbox import Mailbox
from workflows.reading import Broken, read_answer, read_receipt
from workflows.scheduling import start_asking, start_call
from workflows.stage_record import StageRecord
from workflows.views import details, stage_progress

LARGEST_CALL: Final = 1024 * 1024
"""Maximum bytes of a call's data, as JSON. Above 2 MiB Temporal would block the run instead of failing it."""

SIGNALS_PER_EXECUTION: Final = 2_000
"""An execution continues as new after this many signals. Each signal may add a workflow task; the history still stays
far below its limit of 51,200 events."""


class StageFailed(ApplicationError):
    """A stage that failed or timed out; it fails the run. Details: the stage's number, name, partner and cause."""

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

    last_stage: the highest stage number that `advance_stage` accepts.
    name: the pipeline's name in `progress` and the UI; by default the workflow type.
    """

    def __init__(self, last_stage: int, name: str = "") -> None:
        self._name = name or workflow.info().workflow_type
        self._mailbox = Mailbox(workflow.info().first_execution_run_id, last_stage, workflow.patched)
        self._stages: dict[int, Stage] = {}
        self._has_news = False

    # --- signals and queries

    @workflow.signal(name=ADVANCE_STAGE)
    def advance_stage(self, *args: Any) -> None:
        """Advance past a stage, or receive the callback for a stage.

        `advance_stage(2)`, sent by an operator, ends every wait up to stage 2. `advance_stage(2, callback)` answers
        stage 2. The handler accepts any arguments, because a handler that raises blocks the run; the mailbox counts
        invalid signals.
        """
        if not any(isinstance(arg, Exception) for arg in args):  # drop a signal that cannot be decoded, as the SDK does
            self._mailbox.receive(args, at=workflow.time())
        self._show_soon()

    @workflow.signal(dynamic=True)
    def _misnamed(self, name: str, args: Sequence[RawValue]) -> None:
        """Count signals with an unknown name, so that `progress` reveals a misspelt name."""
        self._mailbox.receive_misnamed()

    @workflow.query(name=PROGRESS)
    def progress(self) -> Progress:
        """Return the state, attempts, deadline, outcome, cause and ledger of every stage."""
        return Progress(
            pipeline=self._name,
            chain_id=self._mailbox.chain_id,
            stages=[stage_progress(stage, record) for stage, record in self._known_records()],
            advanced_to=self._mailbox.advanced_to,
            last_stage=self._mailbox.last_stage,
            ignored=dict(self._mailbox.ignored),
        )

    # --- for subclasses

    async def stage(self, stage: Stage, data: Mapping[str, Any] | None = None) -> Outcome:
        """Call the stage's partner, wait for its callback, and return the outcome.

        data: the call's fields. Raises `StageFailed` if the outcome is `failed`. If an early callback has settled the
        stage, its partner is not called. If an operator has advanced past the stage, its partner is called, but the
        run does not wait for a callback.
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
        """Wait until a signal settles stage number `stage`; there is no call and no timeout."""
        if not 1 <= stage <= self._mailbox.last_stage:
            raise ValueError(f"no signal can settle stage {stage} of {self._mailbox.last_stage}")
        record = self._mailbox.record(stage)
        record.wait(at=workflow.time())
        self._show()
        await workflow.wait_condition(lambda: record.outcome is not None)
        return _settled(record)

    def carry_over(self, carried: Carried) -> NoReturn:
        """End this execution with `workflow.continue_as_new`; the next execution passes `carried` to `take_over`.

        Override this if the subclass's input can hold `carried`. A subclass that does not override it runs on as one
        execution until Temporal's limits end it.
        """
        raise NotImplementedError

    def take_over(self, carried: Carried) -> None:
        """Continue where the previous execution ended: settled stages stay settled, an open stage calls or waits again.

        Raises ValueError if no execution can have carried these values.
        """
        self._mailbox.take_over(carried)

    def announce(self, *stages: Stage) -> None:
        """Make `progress` show stages before their turn."""
        self._stages.update({stage.number: stage for stage in stages})

    # --- running a stage

    async def _run_attempts(self, stage: Stage, record: StageRecord, data: Mapping[str, Any]) -> Outcome:
        record.open(at=workflow.time())
        if record.state == "waiting":  # carried over from the previous execution
            await self._wait(stage, record)
        while record.in_call or _needs_call(stage, record):
            reached = await self._call(stage, record, self._begin(stage, record, data))
            record.returned(at=workflow.time())
            if reached and record.outcome is None:
                record.wait(timeout=stage.timeout, cap=stage.wait_cap, at=workflow.time())
                await self._wait(stage, record)
        if record.outcome is None:
            self._give_up(stage, record)
        return _settled(record)

    def _begin(self, stage: Stage, record: StageRecord, data: Mapping[str, Any]) -> StageCall:
        """Begin the stage's next call, or repeat the call that the previous execution had not finished."""
        if len(json.dumps(data)) > LARGEST_CALL:
            what = f"stage {stage.number} {stage.name}: its call would have more than {LARGEST_CALL} bytes of data"
            raise ApplicationError(what, type="CallTooLarge", non_retryable=True)
        repeated, now = record.in_call, workflow.time()
        if not repeated:
            attempt, expires_at = record.attempt + 1, _expires_at(stage, record)
            record.begin(attempt=attempt, issued_at=int(now), expires_at=expires_at, at=now)
        self._show()
        return replace(self._current_call(stage, record), data=data, repeated=repeated)

    def _current_call(self, stage: Stage, record: StageRecord) -> StageCall:
        return StageCall(
            workflow_id=workflow.info().workflow_id,
            chain_id=self._mailbox.chain_id,
            stage=stage.number,
            name=stage.name,
            partner=stage.partner,
            attempt=record.attempt,
            issued_at=record.issued_at,
            expires_at=_expires_at(stage, record),
        )

    async def _call(self, stage: Stage, record: StageRecord, call: StageCall) -> bool:
        """Make the call; return whether the partner may have received it, and so may send a callback.

        A call that no worker has started is scheduled again unchanged: a missing worker is not the partner's failure.
        """
        while True:
            calling = start_call(stage, call)
            await self._until_over(calling, lambda: _called_back(record))
            failure = self._read_call(stage, record, calling) if calling.done() else None
            if failure is None:
                return True
            if not was_never_started(failure):
                return not was_never_reached(failure)

    async def _until_over(self, activity: asyncio.Task[Any], is_overtaken: Callable[[], bool]) -> None:
        """Wait for the activity; cancel it when `is_overtaken`, or to continue as new.

        A callback cuts a call short; an operator's signal does not. Any outcome cuts an ask short.
        """
        try:
            await workflow.wait_condition(lambda: activity.done() or is_overtaken() or self._should_continue_as_new())
            if not activity.done() and not is_overtaken():
                self.carry_over(self._mailbox.carry())
        finally:
            activity.cancel()
            # Retrieve the exception of an overtaken activity: asyncio warns if an exception is never retrieved.
            activity.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _read_call(
        self, stage: Stage, record: StageRecord, calling: asyncio.Task[RawValue | None]
    ) -> ActivityError | None:
        """Record the call's receipt; settle the stage if the immediate answer or a refusal does.

        Returns the failure if the call failed without settling the stage.
        """
        try:
            receipt, flaw = read_receipt(calling.result())
        except ActivityError as error:
            last = last_failure(error)
            if last and last.type == REFUSED:
                record.settle("failed", "failed", at=workflow.time(), answer=Answer("failed", message=last.message))
                return None
            record.remark(failure_text(error, "the call"))
            return error
        record.received(replace(receipt, note=_unusable(stage, flaw)) if flaw else receipt)
        match receipt.answer:
            case Answer(status="succeeded" | "failed" as status):
                record.settle(status, "answered", at=workflow.time(), answer=receipt.answer)
        return None

    async def _wait(self, stage: Stage, record: StageRecord) -> None:
        """Wait until the stage is settled or its deadline passes. Progress puts the deadline off, up to the cap.

        If the partner can be asked, ask it when a callback says `ask`, and again when the deadline has passed.
        """
        while record.outcome is None:
            deadline, ask_due = record.deadline or 0.0, record.ask_due
            left = (deadline if ask_due is None else min(deadline, ask_due)) - workflow.time()
            if left > 0:
                await self._wait_once(stage, record, left)
                continue
            if record.askable:
                await self._ask(stage, record)
            if (record.deadline or 0.0) <= workflow.time():
                return

    async def _wait_once(self, stage: Stage, record: StageRecord, seconds: float) -> None:
        """Wait until the stage is settled, an ask becomes due, or `seconds` have passed."""
        self._show()
        ask_due = record.ask_due
        # A callback in the same workflow task as the fired timer wins: the caller checks the record again.
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: record.outcome is not None or record.ask_due != ask_due or self._should_continue_as_new(),
                timeout=max(seconds, 0.001),
                timeout_summary=f"{stage.number} {stage.name}: callback of {stage.partner}",
            )
        if record.outcome is None and self._should_continue_as_new():
            self.carry_over(self._mailbox.carry())

    async def _ask(self, stage: Stage, record: StageRecord) -> None:
        """Ask the partner for the work's status, unless the stage is settled meanwhile.

        A failed ask proves nothing about the work.
        """
        record.ask()
        asking = start_asking(stage, Question(self._current_call(stage, record), record.reference))
        await self._until_over(asking, lambda: record.outcome is not None)
        if asking.done():
            try:
                record.asked(read_answer(asking.result()), at=workflow.time())
            except ActivityError as error:
                record.ask_failed(failure_text(error, "asking"), at=workflow.time())
            except Broken as error:
                record.ask_failed(_unusable(stage, error), at=workflow.time())
        self._show()

    def _should_continue_as_new(self) -> bool:
        """Whether to continue as new: Temporal accepts at most 10,000 signals per execution."""
        heavy = self._mailbox.received >= SIGNALS_PER_EXECUTION or workflow.info().is_continue_as_new_suggested()
        return heavy and type(self).carry_over is not StagedWorkflow.carry_over

    def _give_up(self, stage: Stage, record: StageRecord) -> None:
        """Settle by `on_timeout`: the callback did not arrive, or the last call did not reach the partner."""
        waited = record.deadline is not None
        silence = f"no callback within {stage.timeout:g} s"
        message = f"{silence} ({record.note})" if waited and record.note else silence if waited else record.note
        status: Status = "skipped" if stage.on_timeout == "skip" else "failed"
        cause: Cause = "timeout" if waited else "failed"
        record.settle(status, cause, at=workflow.time(), answer=Answer("failed", message=message))

    def _show(self) -> None:
        self._has_news = False
        workflow.set_current_details(details(self._name, self._known_records()))

    def _show_soon(self) -> None:
        """Show once for all signals of a workflow task: there may be thousands, and a task has two seconds."""
        if not self._has_news:
            self._has_news = True
            asyncio.get_running_loop().call_soon(self._show)

    def _known_records(self) -> list[tuple[Stage, StageRecord]]:
        """Every stage that was announced or that has a record, by number."""
        numbers = sorted(self._stages.keys() | self._mailbox.touched())
        unnamed = (Stage(number=number, name="", partner="", timeout=0.0) for number in numbers)
        return [(self._stages.get(stage.number, stage), self._mailbox.record(stage.number)) for stage in unnamed]


def _expires_at(stage: Stage, record: StageRecord) -> int:
    """Expiry of the stage's callback tokens, in whole unix seconds."""
    return int((record.opened_at or workflow.time()) + stage.longest_open + TOKEN_SLACK)


def _needs_call(stage: Stage, record: StageRecord) -> bool:
    """Whether to call: the stage is open with attempts left, or an operator advanced past it before its first call."""
    if record.outcome is None:
        return record.attempt < stage.attempts
    return record.outcome.cause == "operator" and record.attempt == 0


def _unusable(stage: Stage, flaw: object) -> str:
    return f"partner {stage.partner} answered, but its answer cannot be used: {flaw}"


def _called_back(record: StageRecord) -> bool:
    return record.outcome is not None and record.outcome.cause == "callback"


def _settled(record: StageRecord) -> Outcome:
    if record.outcome is None:
        raise AssertionError("asked for the outcome of an open stage")
    return record.outcome
