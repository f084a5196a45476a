"""Operations: send an operator's command for a stage to its run, and tell for sure what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import FailureError
from temporalio.service import RPCError, RPCStatusCode

from activities.client import TemporalUnreachable
from activities.run_errors import NoSuchStage, ProgressUnknown, RunNotFound
from activities.runs import Runs
from workflows.commands import text_of
from workflows.contract import OPERATE, Applied, Command, Progress, StageProgress

APPLIED_WITHIN: Final = timedelta(seconds=15)
DROPPED_PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.6, 1.6)
"""Seconds between two attempts to send a command that Temporal has dropped."""

NO_SUCH_UPDATE: Final = re.compile(r"update handler for .* expected but not found|unknown update", re.IGNORECASE)
"""Matches the errors of the Python and Go SDKs for an update that the workflow does not have."""


class RefusedByRun(Exception):
    """The run refused the command. The message is its sentence for the operator."""


class WentOn(RefusedByRun):
    """The stage has gone on since the operator saw it: it is settled or at another call, or its run is another one."""


class NoCommands(Exception):
    """The run's worker has an earlier version, or the run's class takes no commands."""


class CommandUnsure(Exception):
    """It is not known whether the command was or will be carried out. The same id tells."""


def cancel_text(actor: str, reason: str) -> str:
    """The reason of a request to cancel a run, for its history and its ledger."""
    return f"cancelled by {actor}" + (f": {reason}" if reason else "")


@dataclass(frozen=True)
class SeenCall:
    """The call at which an operator saw an open stage. chain_id: of its run.

    attempt, called_at: 0 and None before the stage's first call. Times are unix seconds.
    state, deadline: given if the operator chose the stage by them; "" and None if any will do.
    """

    chain_id: str
    attempt: int
    called_at: float | None
    state: str = ""
    deadline: float | None = None

    def why_gone(self, number: int, progress: Progress, *, repeated: bool = False) -> str:
        """Why a command for this call of the stage is too late, as a sentence; "" if it is not.

        repeated: the command may have been carried out before, so what it does does not count.
        """
        if progress.chain_id != self.chain_id:
            return "another run has this id by now"
        stage = next((one for one in progress.stages if one.number == number), None)
        if stage is None:
            return f"the run has no stage {number}"
        if stage.outcome and not repeated:
            return f"stage {number} is settled: {stage.outcome} by {stage.cause}"
        if stage.attempts != self.attempt:
            return "" if repeated else f"stage {number} is at call {stage.attempts} by now, not {self.attempt}"
        return "" if stage.outcome else self._why_changed(stage)

    def _why_changed(self, stage: StageProgress) -> str:
        """Why the open stage is not as it was seen, although it has had no other call since; "" if it is."""
        if stage.called_at != self.called_at:  # a resumed run makes a first call for the second time
            return f"stage {stage.number} was called again since"
        if self.state not in {"", stage.state}:
            return f"stage {stage.number} is {stage.state} by now, not {self.state}"
        if self.deadline is not None and (stage.deadline is None or stage.deadline > self.deadline):
            return f"the deadline of stage {stage.number} was put off since"
        return ""


async def operate(
    runs: Runs, workflow_id: str, command: Command, *, repeated: bool = False, seen: SeenCall | None = None
) -> Applied:
    """Have the run apply the command to its stage, at the call that the stage is at now.

    Sends nothing if no worker answers: Temporal would keep the command, and a worker would apply it much later.

    repeated: the command may have been sent before, by the same id; then it is found even if the run has ended since.
    seen: only at this call of the stage; otherwise raises `WentOn`.
    Raises `RefusedByRun`, `CommandUnsure`, `NoCommands`; `RunNotFound`, `RunEnded`, `NoSuchStage`, `ProgressUnknown`.
    """
    if (await runs.describe(workflow_id)).status is WorkflowExecutionStatus.RUNNING:
        progress = await runs.progress(workflow_id)
        attempt = _attempt_of(command.stage, progress, workflow_id)
        if seen and (why := seen.why_gone(command.stage, progress, repeated=repeated)):
            raise WentOn(why)
        command = replace(command, attempt=seen.attempt if seen else attempt)
    elif not repeated:
        await runs.check_open(workflow_id)
    try:
        applied = await _send(runs, workflow_id, command)
    except RefusedByRun as refused:
        with contextlib.suppress(ProgressUnknown):
            if seen and seen.why_gone(command.stage, await runs.progress(workflow_id)):
                raise WentOn(str(refused)) from refused
        raise
    if (applied.stage, applied.what) != (command.stage, text_of(command)):
        # Within an execution, Temporal itself answers a repeated id, whatever the command says.
        was = f"stage {applied.stage}: {applied.what}"
        raise RefusedByRun(f"the id {command.id!r} was used for another command ({was}): use a new id")
    return applied


async def _send(runs: Runs, workflow_id: str, command: Command) -> Applied:
    """Send the command until the run has answered: its id acts once, however often it is sent."""
    for pause in DROPPED_PAUSES:
        try:
            return await _send_once(runs, workflow_id, command)
        except RPCError as error:
            # Temporal drops a command that ends the run, if a callback arrives during the same workflow task.
            if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                raise
            await asyncio.sleep(pause)
    what = f"Temporal dropped the command {command.id} for {workflow_id} {len(DROPPED_PAUSES)} times"
    raise CommandUnsure(f"{what}, because callbacks arrived at the same moments")


async def _send_once(runs: Runs, workflow_id: str, command: Command) -> Applied:
    handle = runs.client.get_workflow_handle(workflow_id)
    try:
        async with runs.reaching(workflow_id, within=None):
            applied: Applied = await handle.execute_update(
                OPERATE, command, id=command.id, result_type=Applied, rpc_timeout=APPLIED_WITHIN
            )
            return applied
    except WorkflowUpdateFailedError as error:
        why = error.cause.message if isinstance(error.cause, FailureError) else str(error.cause)
        if NO_SUCH_UPDATE.search(why):
            raise NoCommands(f"the worker of the run {workflow_id} takes no commands") from error
        raise RefusedByRun(why) from error
    except (WorkflowUpdateRPCTimeoutOrCancelledError, TemporalUnreachable) as error:
        if isinstance(error, TemporalUnreachable) and error.fault.cause.is_final:
            raise  # Temporal has just described the run to this client, and does not permit it to send commands
        what = f"no answer to the command {command.id} for {workflow_id}"
        raise CommandUnsure(f"{what}: it may still be carried out, when a worker comes") from error
    except RunNotFound:
        await runs.check_open(workflow_id)
        raise


def _attempt_of(number: int, progress: Progress, workflow_id: str) -> int:
    """Return the call that the stage is at; 0 before its first call."""
    if not 1 <= number <= progress.last_stage:
        raise NoSuchStage(f"the run {workflow_id} has stages 1 to {progress.last_stage}, not {number}")
    return next((stage.attempts for stage in progress.stages if stage.number == number), 0)
