"""A run and other runs: a child run whose end settles a stage of its parent."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from workflows.contract import (
    ADVANCE_STAGE,
    LARGEST_OUTCOME,
    Answer,
    Callback,
    Outcome,
    Parent,
    PipelineRun,
    Receipt,
    Stage,
    StageCall,
)
from workflows.finding import is_findable, start_attributes
from workflows.nesting import is_deeper
from workflows.stage_record import StageRecord
from workflows.stage_run import Execution, StageRun

LONGEST_PARENT_ID: Final = 400
LONGEST_STAGE_NAME: Final = 100
"""Characters kept of a parent's id and of a stage's name in a child's id, which Temporal limits to 1,000."""


class ChildStageRun(StageRun):
    """Runs a stage whose work is another run: each attempt starts a child, which calls back when it ends.

    child: the child's workflow type and input.
    """

    def __init__(self, stage: Stage, record: StageRecord, execution: Execution, child: tuple[str, PipelineRun]) -> None:
        super().__init__(stage, record, execution)
        self._child_type, self._child_run = child

    async def _make(self, call: StageCall) -> bool:
        """Start the child. A child with this id is that of a call which the previous execution had not finished."""
        parent = Parent(call.workflow_id, call.stage, call.chain_id, call.attempt, call.issued_at)
        pipeline, attributes = self._child_run.pipeline.name, workflow.info().typed_search_attributes
        if self._record.is_call_over:  # a call to repeat, whose stage was settled meanwhile
            return True
        child_id = _child_id(call)
        with contextlib.suppress(WorkflowAlreadyStartedError):
            child = await workflow.start_child_workflow(
                self._child_type,
                replace(self._child_run, parent=parent),
                id=child_id,
                # A run that was reset may begin its call in the same second as before: a child that failed runs again,
                # and one that completed has called back.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                # A parent that continues as new would end its children.
                parent_close_policy=ParentClosePolicy.ABANDON,
                static_summary=f"{call.stage} {call.name[:LONGEST_STAGE_NAME]}: a child",
                memo={"pipeline": pipeline},
                search_attributes=start_attributes(pipeline) if is_findable(attributes) else None,
            )
            # The child reports its end by a callback; asyncio would warn of a failure that is never retrieved.
            child.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._record.received(Receipt(reference=child_id))
        return True


def _child_id(call: StageCall) -> str:
    """An id of the child's run: the same for a call that is repeated, and another one for each call."""
    parent = call.workflow_id
    if len(parent) > LONGEST_PARENT_ID:
        digest = hashlib.sha256(parent.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        parent = f"{parent[:LONGEST_PARENT_ID]}~{digest}"
    return f"{parent}/{call.stage}-{call.name[:LONGEST_STAGE_NAME]}/{call.issued_at}-{call.attempt}"


async def report_to(parent: Parent, answer: Answer) -> None:
    """Tell the parent how this run ended. A parent that has ended itself hears nothing."""
    callback = Callback(answer, parent.chain_id, parent.attempt, parent.issued_at)
    handle: workflow.ExternalWorkflowHandle[Any] = workflow.get_external_workflow_handle(parent.workflow_id)
    with contextlib.suppress(FailureError):
        await asyncio.shield(asyncio.ensure_future(handle.signal(ADVANCE_STAGE, args=[parent.stage, callback])))


def success_of(outcomes: Mapping[str, Outcome]) -> Answer:
    """The answer of a run that completed: each stage's data by its name, if that is small enough for an outcome."""
    answer = Answer("succeeded", {name: outcome.data for name, outcome in outcomes.items()})
    if is_deeper(answer.data) or answer.size > LARGEST_OUTCOME:
        return Answer("succeeded", message="the outcomes are too large, or nested too deeply")
    return answer


def failure_of(error: BaseException) -> Answer:
    """The answer of a run that failed or was cancelled."""
    if isinstance(error, ApplicationError):
        return Answer("failed", code=error.type or "", message=error.message)
    return Answer("failed", code=type(error).__name__)


async def reporting(parent: Parent | None, run: Callable[[], Any]) -> Any:
    """Await the run, and report its end to the parent, if it has one."""
    try:
        result = await run()
    except (FailureError, asyncio.CancelledError) as error:
        if parent:
            await report_to(parent, failure_of(error))
        raise
    if parent:
        await report_to(parent, success_of(result.outcomes))
    return result
