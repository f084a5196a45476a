"""Acting on one listed run, and saying in one of a few words what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from temporalio.service import RPCError

from activities.choosing import ChosenStage
from activities.client import TemporalUnreachable
from activities.operations import CommandUnsure, NoCommands, RefusedByRun, SeenCall, WentOn, cancel_text, operate
from activities.resets import CannotResume, ResumedBefore, StillOpen, resume, was_resumed
from activities.run_errors import NoSuchStage, ProgressUnknown, RunEnded, RunNotFound, WorkerAway
from activities.runs import Runs
from receiver.cli.durations import read_duration
from receiver.cli.pipeline.bulk import STAGE_ACTIONS
from receiver.cli.pipeline.bulk.state import BulkItem, BulkRequest, BulkResult, ResultWord
from workflows.contract import Command

RESULT_BY_ERROR: Final[dict[type[Exception], tuple[ResultWord, str]]] = {
    WentOn: ("passed over", "the stage has gone on"),
    RunEnded: ("passed over", "the run has ended"),
    RunNotFound: ("passed over", "the run is not there any more"),
    ResumedBefore: ("passed over", "the run was resumed or started again"),
    StillOpen: ("passed over", "the run is open"),
    CommandUnsure: ("unsure", "no answer to what was sent"),
    WorkerAway: ("unreached", "no worker answers"),
    TemporalUnreachable: ("unreached", "Temporal cannot be reached"),
    RefusedByRun: ("failed", "the run refused it"),
    CannotResume: ("failed", "it cannot be resumed"),
    NoSuchStage: ("failed", "it has no such stage, or the stage was not called"),
    NoCommands: ("failed", "its worker takes no commands"),
    ProgressUnknown: ("failed", "its worker cannot execute it"),
    RPCError: ("failed", "Temporal refused it"),
}
"""What an error means for a run; the first class that fits. For others: it failed."""


@dataclass(frozen=True)
class Acting:
    """Acts on listed runs. repeated: each may have been acted on before, without its result being written."""

    runs: Runs
    request: BulkRequest
    repeated: bool

    async def act(self, item: BulkItem) -> BulkResult:
        """Act on the run; never raises."""
        try:
            return _result(item, "done", "", await self._do(item))
        except Exception as error:
            found = (of for kind, of in RESULT_BY_ERROR.items() if isinstance(error, kind))
            word, cause = next(found, ("failed", f"unexpected: {type(error).__name__}"))
            if isinstance(error, TemporalUnreachable) and self.request.action not in STAGE_ACTIONS:
                word = "unsure"  # the request may have arrived
            return _result(item, word, cause, str(error))

    async def _do(self, item: BulkItem) -> str:
        match self.request.action:
            case "resume":
                return await self._resume(item)
            case "cancel":
                return await self._cancel(item)
            case "extend" | "call-again" | "skip" | "fail" as action:
                [stage], request = item.run.stages, self.request
                seconds = read_duration(request.duration) if request.duration else 0.0
                id_ = f"bulk-{request.id}-{item.item}"
                command = Command(id_, action, stage.number, request.actor, request.reason, seconds=seconds)
                seen = self._seen(item, stage)
                applied = await operate(self.runs, item.run.workflow_id, command, repeated=self.repeated, seen=seen)
                return applied.what

    def _seen(self, item: BulkItem, stage: ChosenStage) -> SeenCall:
        """The stage as it was listed, so far as the filters are about it."""
        filters = self.request.filters
        by_state = filters.get("state") or filters.get("needs_person")
        by_deadline = filters.get("due") or filters.get("overdue")
        if self.repeated and self.request.action == "extend":
            by_deadline = None  # it may be this very command that has put it off
        return SeenCall(
            item.run.chain_id,
            stage.attempt,
            stage.called_at,
            stage.state if by_state else "",
            stage.deadline if by_deadline else None,
        )

    async def _resume(self, item: BulkItem) -> str:
        id_, execution = item.run.workflow_id, item.run.run_id
        told = f"resumed by {self.request.actor}: {self.request.reason}"
        try:
            resumed = await resume(self.runs, id_, self.request.stage, reason=told, at=time.time(), execution=execution)
        except ResumedBefore:
            if self.repeated and await was_resumed(self.runs, id_, execution, told):
                return "resumed before"
            raise
        first = resumed.again[0]
        return f"goes on from before call {first.attempt} of stage {first.stage} {first.name}"

    async def _cancel(self, item: BulkItem) -> str:
        run, told = item.run, cancel_text(self.request.actor, self.request.reason)
        try:
            if run.stages:
                await self._check_stages(item)
            await self.runs.cancel(run.workflow_id, chain_id=run.chain_id, reason=told)
        except (RunEnded, WentOn):
            if self.repeated and await self.runs.was_cancelled(run.workflow_id, run.chain_id, told):
                return "cancelled before"
            raise
        return "asked to end"

    async def _check_stages(self, item: BulkItem) -> None:
        """Raise `WentOn` unless one of the listed stages is open at the listed call."""
        await self.runs.check_open(item.run.workflow_id)
        progress = await self.runs.progress(item.run.workflow_id)
        gone = [self._seen(item, stage).why_gone(stage.number, progress) for stage in item.run.stages]
        if all(gone):
            raise WentOn(gone[0])


def _result(item: BulkItem, word: ResultWord, cause: str, why: str) -> BulkResult:
    return BulkResult(item.item, word, cause, why, datetime.now(UTC).isoformat(timespec="milliseconds"))
