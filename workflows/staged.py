"""StagedWorkflow: the base of every workflow that goes through numbered stages.

A subclass says `super().__init__(last_stage=...)` and `await self.stage(...)`; signals, timers, attempts, the
`progress` query and what Temporal's UI shows come from here. Timeouts are decided here and nowhere else.
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
        self._mailbox = Mailbox(workflow.info().first_execution_run_id, last_stage, workflow.patched)
        self._stages: dict[int, Stage] = {}
        self._has_news = False

    # --- what others ask of a run

    @workflow.signal(name=ADVANCE_STAGE)
    def advance_stage(self, *args: Any) -> None:
        """`advance_stage(2)` by hand: every wait up to stage 2 is over. With a callback: that stage is answered.

        Takes anything, for a handler that refuses its arguments blocks the run; the mailbox counts what means nothing.
        """
        if not any(isinstance(arg, Exception) for arg in args):  # as the SDK does, it drops what cannot be decoded
            self._mailbox.receive(args, at=workflow.time())
        self._show_soon()

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
        """The next call of the stage; or the very same again, if the execution before this one was still at it."""
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
        """Make the call, and say whether it may have reached the partner, so that a callback can come.

        A call that no worker has taken up is scheduled again, the very same: an absent worker is no partner's fault.
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
        """Wait for the activity's end. A callback that arrives meanwhile overtakes it; no operator's signal a call."""
        try:
            await workflow.wait_condition(lambda: activity.done() or is_overtaken() or self._should_continue_as_new())
            if not activity.done() and not is_overtaken():
                self.carry_over(self._mailbox.carry())
        finally:
            activity.cancel()
            # Nobody asks for the result of an activity that a callback has overtaken.
            activity.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _read_call(
        self, stage: Stage, record: StageRecord, calling: asyncio.Task[RawValue | None]
    ) -> ActivityError | None:
        """Settle what the call has settled; return why it failed, if it did and the stage is still open."""
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
        """Wait for the stage to be settled until its deadline, which progress puts off up to the cap.

        A partner that can be asked is asked when it says so, and once more when the deadline has passed.
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
        """Wait until the stage is settled or its partner is to be asked, or for so many seconds."""
        self._show()
        ask_due = record.ask_due
        # A callback that lands with the fired timer in one task wins: the caller looks at the record once more.
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: record.outcome is not None or record.ask_due != ask_due or self._should_continue_as_new(),
                timeout=max(seconds, 0.001),
                timeout_summary=f"{stage.number} {stage.name}: callback of {stage.partner}",
            )
        if record.outcome is None and self._should_continue_as_new():
            self.carry_over(self._mailbox.carry())

    async def _ask(self, stage: Stage, record: StageRecord) -> None:
        """Ask the partner how the work stands, unless the stage is settled meanwhile. That it fails proves nothing."""
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
        self._has_news = False
        workflow.set_current_details(details(self._name, self._known_records()))

    def _show_soon(self) -> None:
        """Show once for all signals of one workflow task: there may be thousands, and it has two seconds."""
        if not self._has_news:
            self._has_news = True
            asyncio.get_running_loop().call_soon(self._show)

    def _known_records(self) -> list[tuple[Stage, StageRecord]]:
        """Every stage that was announced or that a signal has touched, in order."""
        numbers = sorted(self._stages.keys() | self._mailbox.touched())
        unnamed = (Stage(number=number, name="", partner="", timeout=0.0) for number in numbers)
        return [(self._stages.get(stage.number, stage), self._mailbox.record(stage.number)) for stage in unnamed]


def _expires_at(stage: Stage, record: StageRecord) -> int:
    """When the tokens of the stage's calls expire, in whole unix seconds."""
    return int((record.opened_at or workflow.time()) + stage.longest_open + TOKEN_SLACK)


def _needs_call(stage: Stage, record: StageRecord) -> bool:
    """An open stage, as long as it has attempts left; and one that an operator has advanced past, once."""
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
