"""Resets: begin a run that has ended again, from before the first call of one of its stages.

Temporal replays the run's history up to the workflow task that made this call, and applies the signals that came after
it, and operators' commands. A command names the call that the operator has seen, so the resumed stage, which has had no
call yet, refuses its old commands. The chain stays the same, so that callback URLs issued before still settle the run's
stages.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import ResetReapplyExcludeType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.callback_urls import LATEST_TIME
from activities.run_errors import NoSuchStage
from activities.run_status import status_name
from activities.runs import Runs
from workflows.contract import ADVANCE_STAGE, TOKEN_SLACK, Parent, PartnerActivities, PipelineRun, StageCall

HISTORY_TIMEOUT: Final = 60.0
"""Seconds for reading a history, which has at most 50 MB."""

NOT_APPLIED: Final = [
    # It would end the run again.
    ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST
]

LEAST_LIFE: Final = TOKEN_SLACK / 2
"""Seconds for which the callback URLs of a resumed stage must still be valid."""


class CannotResume(Exception):
    """The run cannot be resumed. The message says why."""


class StillOpen(CannotResume):
    """The run has not ended."""


class ResumedBefore(CannotResume):
    """The run has another execution by now than the operator has seen."""


class HasCompleted(CannotResume):
    """The run has completed."""


class NeverCalled(NoSuchStage):
    """The stage's partner was not called in the run's last execution."""


class SettledByHand(CannotResume):
    """What an operator has sent to end the stage's wait would be applied again."""


class ResetRefused(CannotResume):
    """Temporal cannot reset this execution."""


class URLsExpire(CannotResume):
    """The callback URLs of the stage's next call would soon expire."""


@dataclass(frozen=True)
class CallEvent:
    """A call of a partner in a history. reset_to: the id of the event that completed its workflow task."""

    call: StageCall
    reset_to: int


@dataclass(frozen=True)
class Resumed:
    """A run that was resumed. again: the calls since, the stage's own first; each is repeated unless its callback came.

    run_id: the new execution.
    """

    run_id: str
    again: Sequence[StageCall]


async def resume(
    runs: Runs, workflow_id: str, stage: int = 0, *, reason: str, at: float, execution: str = ""
) -> Resumed:
    """Reset the run to before the first call of the stage in its last execution.

    stage: the stage's number; 0 for the stage that failed, or that was called last. at: unix seconds, now.
    execution: only if this is the run's last execution; otherwise raises `ResumedBefore`.
    Raises `CannotResume`, `NoSuchStage`, `RunNotFound`.
    """
    described = await runs.describe(workflow_id)
    if execution not in {"", described.run_id}:
        raise ResumedBefore(f"the run {workflow_id} was resumed or started again since, as {described.run_id}")
    _check_ended(described)
    async with runs.reaching(workflow_id, within=HISTORY_TIMEOUT):
        handle = runs.client.get_workflow_handle(workflow_id, run_id=described.run_id)
        events = (await handle.fetch_history()).events
    history = EndedHistory(workflow_id, events, runs.client.data_converter)
    chosen = await history.first_call(stage)
    for refusal in [*_expiring(chosen.call, at), *await history.settled_by_hand(chosen.call.stage)]:
        # A stage whose work was undone must be refused here as well, once runs undo work.
        raise refusal
    if (latest := await runs.describe(workflow_id)).run_id != described.run_id:
        # Temporal would take back what another operator has resumed, and the partner would be called twice.
        raise StillOpen(f"the run {workflow_id} was resumed meanwhile, as {latest.run_id}")
    run_id = await _reset(runs, described, chosen.reset_to, reason)
    return Resumed(run_id, await history.called_again(chosen))


async def was_resumed(runs: Runs, workflow_id: str, execution: str, reason: str) -> bool:
    """Whether this execution was resumed for this very reason. Raises `RunNotFound`."""
    async with runs.reaching(workflow_id, within=HISTORY_TIMEOUT):
        described = await runs.client.get_workflow_handle(workflow_id, run_id=execution).describe()
        next_run = described.raw_description.workflow_extended_info.reset_run_id
        if not next_run:
            return False
        handle = runs.client.get_workflow_handle(workflow_id, run_id=next_run)
        events = (await handle.fetch_history()).events
    return any(event.workflow_task_failed_event_attributes.failure.message == reason for event in events)


async def _reset(runs: Runs, described: WorkflowExecutionDescription, event: int, reason: str) -> str:
    """Reset the execution to the event, and return the id of the new execution."""
    request = ResetWorkflowExecutionRequest(
        namespace=runs.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=described.id, run_id=described.run_id),
        reason=reason,
        workflow_task_finish_event_id=event,
        request_id=str(uuid.uuid4()),
        reset_reapply_exclude_types=NOT_APPLIED,
        identity=runs.client.identity,
    )
    async with runs.reaching(described.id):
        try:
            # Not retried: a second reset would take back the first, and the partner would be called twice.
            return (await runs.client.workflow_service.reset_workflow_execution(request)).run_id
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            raise ResetRefused(f"Temporal does not reset the run {described.id}: {error.message}") from error


class EndedHistory:
    """The history of an execution that has ended."""

    def __init__(self, workflow_id: str, events: Sequence[HistoryEvent], converter: DataConverter) -> None:
        self._workflow_id = workflow_id
        self._events = events
        self._converter = converter

    async def first_call(self, stage: int) -> CallEvent:
        """Return the stage's first call; raises `NeverCalled`. stage: 0 for the failed stage, or the last called."""
        calls = await self._calls()
        number = stage or await self._failed_stage() or (calls[-1].call.stage if calls else 1)
        if not 1 <= number <= (last := await self._last_stage()):
            raise NoSuchStage(f"the run {self._workflow_id} has stages 1 to {last}, not {number}")
        found = next((one for one in calls if one.call.stage == number), None)
        if found is None:
            others = ", ".join(map(str, sorted({one.call.stage for one in calls}))) or "none"
            continued = self._events[0].workflow_execution_started_event_attributes.continued_execution_run_id
            where = "in its last execution, since it continued as new" if continued else "by the run"
            what = f"stage {number} of {self._workflow_id} was not called {where}; the stages called are: {others}"
            raise NeverCalled(what)
        return found

    async def called_again(self, chosen: CallEvent) -> list[StageCall]:
        """Return the first call of each stage that the reset takes back, the chosen stage's own first."""
        again: dict[int, StageCall] = {chosen.call.stage: chosen.call}
        for one in await self._calls():
            if one.reset_to >= chosen.reset_to:
                again.setdefault(one.call.stage, one.call)
        return list(again.values())

    async def settled_by_hand(self, stage: int) -> list[SettledByHand]:
        """Return an error for each signal and command of an operator that settles the stage at any call."""
        last, refusals = await self._last_stage(), []
        for event in self._events:
            if stage <= await self._advanced_to(event) <= last or await self._is_settling(event, stage):
                what = f"an operator ended the wait of stage {stage} of {self._workflow_id}"
                at = f"{event.event_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
                refusals.append(SettledByHand(f"{what} at {at}, which a reset would repeat"))
        return refusals

    async def _advanced_to(self, event: HistoryEvent) -> int:
        """Return the stage that a signal by hand advances past; 0 for any other event."""
        signal = event.workflow_execution_signaled_event_attributes
        if signal.signal_name != ADVANCE_STAGE:
            return 0
        match await self._decoded(signal.input):
            case [stage] | [stage, None] if type(stage) is int:
                return stage
        return 0

    async def _is_settling(self, event: HistoryEvent, stage: int) -> bool:
        """Whether the event is a command that settles the stage and names no call."""
        accepted = event.workflow_execution_update_accepted_event_attributes.accepted_request
        # After an earlier reset, the command is in an event of its own.
        admitted = event.workflow_execution_update_admitted_event_attributes.request
        for request in (accepted, admitted):
            match await self._decoded(request.input.args):
                case [{"stage": number, "action": "succeed" | "skip" | "fail", **rest}] if number == stage:
                    return not rest.get("attempt")
        return False

    async def _last_stage(self) -> float:
        """Return the number of the last stage; infinity for a run of another class than the pipelines'."""
        match await self._decoded(self._events[0].workflow_execution_started_event_attributes.input):
            case [{"pipeline": {"stages": [*stages]}}]:
                return len(stages)
        return math.inf

    async def _calls(self) -> list[CallEvent]:
        calls = []
        for event in self._events:
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == PartnerActivities.call_partner.__name__:
                for call in await self._decoded(scheduled.input, [StageCall]):
                    calls.append(CallEvent(call, scheduled.workflow_task_completed_event_id))
            child = event.start_child_workflow_execution_initiated_event_attributes
            for run in await self._decoded(child.input, [PipelineRun]):
                if isinstance(run, PipelineRun) and run.parent:
                    call = _call_of_child(run.parent, run.pipeline.name)
                    calls.append(CallEvent(call, child.workflow_task_completed_event_id))
        return calls

    async def _failed_stage(self) -> int:
        """Return the number of the stage that failed the run, as its failure's details say; 0 if they do not."""
        attributes = self._events[-1].workflow_execution_failed_event_attributes
        if not attributes.HasField("failure"):
            return 0
        error: BaseException | None = await self._converter.decode_failure(attributes.failure)
        while error is not None:
            if isinstance(error, ApplicationError) and (number := _stage_in(error.details)):
                return number
            error = error.__cause__
        return 0

    async def _decoded(self, payloads: Payloads, types: list[type] | None = None) -> list[Any]:
        """Decode the payloads; [] for what cannot be decoded, such as a signal that any client may have sent."""
        try:
            return await self._converter.decode(payloads.payloads, types)
        except Exception:
            return []


def _call_of_child(parent: Parent, pipeline: str) -> StageCall:
    """The start of a child as a call. It has no callback URL that could expire."""
    return StageCall(
        workflow_id=parent.workflow_id,
        chain_id=parent.chain_id,
        stage=parent.stage,
        name=pipeline,
        partner=pipeline,
        attempt=parent.attempt,
        issued_at=parent.issued_at,
        expires_at=LATEST_TIME,
    )


def _stage_in(details: Sequence[Any]) -> int:
    match details:
        case [{"stage": int(number)}, *_]:
            return number
    return 0


def _check_ended(described: WorkflowExecutionDescription) -> None:
    what = f"the run {described.id} is {status_name(described.status)}"
    if described.status is WorkflowExecutionStatus.RUNNING:
        raise StillOpen(f"{what}, so there is nothing to resume")
    if described.status is WorkflowExecutionStatus.COMPLETED:
        raise HasCompleted(f"{what}, so there is nothing to resume")


def _expiring(call: StageCall, at: float) -> Iterator[URLsExpire]:
    # The first call of a stage opens it, so that its tokens last for as long as they did. A later call has the expiry
    # of the first, which an earlier execution made.
    is_first = call.attempt == 1 and not call.repeated
    if not is_first and call.expires_at - LEAST_LIFE < at:
        until = datetime.fromtimestamp(call.expires_at, UTC)
        what = f"stage {call.stage} was first called in an earlier execution, and its callback URLs expire"
        yield URLsExpire(f"{what} on {until:%Y-%m-%d}")
