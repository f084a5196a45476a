"""StageRun: one stage on its way to its outcome, through calls, waits, questions and its policy's decisions.

Only this module waits. `workflows.policies` decides what a silence or a failure means, and `StageRecord.settle` writes
every outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.contract import REFUSED, TOKEN_SLACK, Answer, Outcome, Question, Stage, StageCall
from workflows.failures import failure_text, last_failure, was_never_reached, was_never_started
from workflows.policies import decide
from workflows.reading import Broken, read_answer, read_receipt
from workflows.scheduling import start_asking, start_call
from workflows.stage_record import StageRecord

LARGEST_CALL: Final = 1024 * 1024
"""Maximum bytes of a call's data, as JSON. Above 2 MiB Temporal would block the run instead of failing it."""


@dataclass(frozen=True)
class Execution:
    """What a stage needs of the workflow execution that it runs in.

    chain_id: the run's chain.
    pipeline, definition, token_version: as in `StageCall`; the token version is for new calls.
    show: shows the stages in Temporal's UI.
    find: writes the search attributes by which operators find the run.
    find_put_off: writes them if the deadline that they hold is too early.
    is_long: whether the execution should end here, and continue as new.
    continue_as_new: ends the execution; every stage's record continues in the next one.
    """

    chain_id: str
    pipeline: str
    definition: str
    token_version: int
    show: Callable[[], None]
    find: Callable[[], None]
    find_put_off: Callable[[], None]
    is_long: Callable[[], bool]
    continue_as_new: Callable[[], NoReturn]


class StageRun:
    """Runs one stage.

    record: what has happened so far: nothing for a new stage, more if an earlier execution began it, or if signals or
    commands came before the stage's turn.
    """

    def __init__(self, stage: Stage, record: StageRecord, execution: Execution) -> None:
        self._stage = stage
        self._record = record
        self._execution = execution

    async def run(self, data: Mapping[str, Any]) -> Outcome:
        """Return the stage's outcome; `data` is the call's fields."""
        record = self._record
        record.open(at=workflow.time())
        while record.outcome is None or _needs_call(record):
            if _needs_call(record):
                await self._call(self._begin(data))
            await self._see_through()
        if record.escalated_at is not None:  # the stage no longer needs a person
            self._execution.find()
        return record.outcome

    async def _see_through(self) -> None:
        """Wait until the stage is settled or its next call is due; the stage's policy decides what goes wrong."""
        while self._record.is_idle:
            if not self._record.is_undecided:
                await self._wait()
            if self._record.is_idle:
                decide(self._stage, self._record, at=workflow.time())
                self._execution.show()
                if self._record.state == "needs_person":
                    self._execution.find()

    # --- calling

    def _begin(self, data: Mapping[str, Any]) -> StageCall:
        """Begin the stage's next call, or repeat the call that the previous execution had not finished."""
        stage, record = self._stage, self._record
        if len(json.dumps(data)) > LARGEST_CALL:
            what = f"stage {stage.number} {stage.name}: its call would have more than {LARGEST_CALL} bytes of data"
            raise ApplicationError(what, type="CallTooLarge", non_retryable=True)
        repeated, now = record.in_call, workflow.time()
        if not repeated:
            record.begin(
                attempt=record.attempt + 1,
                issued_at=int(now),
                expires_at=_expires_at(stage, record),
                at=now,
                on_failure=stage.on_failure,
                token_version=self._execution.token_version,
            )
            self._execution.find()
        self._execution.show()
        return replace(self._current_call(), data=data, repeated=repeated)

    def _current_call(self) -> StageCall:
        stage, record = self._stage, self._record
        return StageCall(
            workflow_id=workflow.info().workflow_id,
            chain_id=self._execution.chain_id,
            stage=stage.number,
            name=stage.name,
            partner=stage.partner,
            attempt=record.attempt,
            issued_at=record.issued_at,
            expires_at=record.expires_at or _expires_at(stage, record),
            pipeline=self._execution.pipeline,
            definition=self._execution.definition,
            token_version=record.token_version,
        )

    async def _call(self, call: StageCall) -> None:
        """Make the call, and record what its end means: a wait for the callback, an answer, or trouble."""
        stage, record = self._stage, self._record
        was_reached = await self._make(call)
        now = workflow.time()
        record.returned(at=now)
        if record.is_over:
            return
        if was_reached:
            record.wait(timeout=stage.timeout, cap=stage.wait_cap, ask_every=stage.ask_every, at=now)
        else:
            record.fall_silent("failed", record.note, at=now)

    async def _make(self, call: StageCall) -> bool:
        """Make the call; return whether the partner may have received it, and so may send a callback.

        A call that no worker has started is scheduled again unchanged: a missing worker is not the partner's failure.
        """
        while True:
            calling = start_call(self._stage, call)
            await self._until_over(calling, lambda: self._record.is_call_over)
            failure = self._read_call(calling) if calling.done() else None
            if failure is None:
                return True
            if not was_never_started(failure):
                return not was_never_reached(failure)

    def _read_call(self, calling: asyncio.Task[RawValue | None]) -> ActivityError | None:
        """Record the call's receipt, and what the immediate answer or a refusal says about the stage.

        Returns the failure if the call failed without an answer.
        """
        record = self._record
        try:
            receipt, flaw = read_receipt(calling.result())
        except ActivityError as error:
            last = last_failure(error)
            if last and last.type == REFUSED:
                record.fail("failed", at=workflow.time(), answer=Answer("failed", message=last.message))
                return None
            record.remark(failure_text(error, "the call"))
            return error
        record.received(replace(receipt, note=self._unusable(flaw)) if flaw else receipt)
        match receipt.answer:
            case Answer(status="succeeded"):
                record.settle("succeeded", "answered", at=workflow.time(), answer=receipt.answer)
            case Answer(status="failed"):
                record.fail("answered", at=workflow.time(), answer=receipt.answer)
        return None

    async def _until_over(self, activity: asyncio.Task[Any], is_overtaken: Callable[[], bool]) -> None:
        """Wait for the activity; cancel it when `is_overtaken`, or to continue as new."""
        execution = self._execution
        try:
            await workflow.wait_condition(lambda: activity.done() or is_overtaken() or execution.is_long())
            if not activity.done() and not is_overtaken():
                execution.continue_as_new()
        finally:
            activity.cancel()
            # Retrieve the exception of an overtaken activity: asyncio warns if an exception is never retrieved.
            activity.add_done_callback(lambda done: done.cancelled() or done.exception())

    # --- waiting

    async def _wait(self) -> None:
        """Wait for a callback, a person or the end of a pause, until something ends the wait or its deadline passes.

        Progress and operators put the deadline off. If the partner can be asked, ask it when that is due, and again
        when the deadline has passed.
        """
        record = self._record
        while not record.is_over:
            deadline, ask_due = record.deadline or 0.0, record.ask_due
            left = (deadline if ask_due is None else min(deadline, ask_due)) - workflow.time()
            if left > 0:
                await self._wait_once(left)
                continue
            if record.askable and not _is_pause_over(record):
                await self._ask()
            if (record.deadline or 0.0) <= workflow.time():
                return

    async def _wait_once(self, seconds: float) -> None:
        """Wait until the wait is over, an ask becomes due, or `seconds` have passed."""
        record, execution = self._record, self._execution
        execution.show()
        execution.find_put_off()
        ask_due = record.ask_due
        # A callback in the same workflow task as the fired timer wins: the caller checks the record again.
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: record.is_over or record.ask_due != ask_due or execution.is_long(),
                timeout=max(seconds, 0.001),
                timeout_summary=f"{self._stage.number} {self._stage.name}: {self._awaited()}",
            )
        if not record.is_over and execution.is_long():
            execution.continue_as_new()

    async def _ask(self) -> None:
        """Ask the partner for the work's status, unless the wait is over meanwhile.

        A failed ask proves nothing about the work.
        """
        record = self._record
        record.ask()
        asking = start_asking(self._stage, Question(self._current_call(), record.reference))
        await self._until_over(asking, lambda: record.is_over)
        if asking.done():
            try:
                record.asked(read_answer(asking.result()), at=workflow.time())
            except ActivityError as error:
                record.ask_failed(failure_text(error, "asking"), at=workflow.time())
            except Broken as error:
                record.ask_failed(self._unusable(error), at=workflow.time())
        self._execution.show()

    def _awaited(self) -> str:
        """What the stage waits for, in the summary of its timer."""
        record, partner = self._record, self._stage.partner
        if record.pause_until is not None:
            return f"pause before call {record.attempt + 1} of {partner}"
        return "a person" if record.state == "needs_person" else f"callback of {partner}"

    def _unusable(self, flaw: object) -> str:
        return f"partner {self._stage.partner} answered, but its answer cannot be used: {flaw}"


def _expires_at(stage: Stage, record: StageRecord) -> int:
    """Expiry of the next call's callback token, in whole unix seconds."""
    now = workflow.time()
    planned = int((record.opened_at or now) + stage.longest_open + TOKEN_SLACK)
    # Example: a stage with one attempt of an hour. Two weeks later an operator calls the partner again.
    return max(planned, int(now + stage.longest_last_call + TOKEN_SLACK)) if record.prolonged else planned


def _needs_call(record: StageRecord) -> bool:
    """Whether to call: the stage is open and its call is due, or an operator advanced past it before its first call."""
    if record.outcome is not None:
        return record.in_call or (record.outcome.status == "advanced" and record.attempt == 0)
    return record.in_call or record.call_due or record.attempt == 0


def _is_pause_over(record: StageRecord) -> bool:
    return record.pause_until is not None and record.pause_until <= workflow.time()
