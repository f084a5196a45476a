"""StagedWorkflow: the base class of workflows that run numbered stages.

A subclass calls `super().__init__(last_stage=...)` and `await self.stage(...)`. The base class provides signals,
operators' commands, queries, continue-as-new and the text in Temporal's UI; `workflows.stage_run` runs a stage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, NoReturn

from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeUpdate
from temporalio.exceptions import ApplicationError

from workflows.checking import InvalidRun, check_run
from workflows.contract import (
    ADVANCE_STAGE,
    COMMAND_REFUSED,
    OPERATE,
    OUTCOMES,
    PIPELINE_WORKFLOW,
    PROGRESS,
    Applied,
    Carried,
    Outcome,
    PipelineResult,
    PipelineRun,
    Progress,
    SignalSender,
    Stage,
    contract_of,
)
from workflows.finding import DEADLINE_KEY, PUT_OFF, is_findable, is_put_off, open_stages
from workflows.mailbox import Mailbox
from workflows.other_runs import ChildStageRun
from workflows.settlements import Settlements
from workflows.stage_record import StageRecord
from workflows.stage_run import Execution, StageRun
from workflows.views import details, stage_progress

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
    definition: digest of the pipeline's definition, for the table of calls.
    token_version: the version of the callback tokens; see `activities.callback_urls`. Change it only for new runs.
    """

    _stage_run: ClassVar[type[StageRun]] = StageRun

    def __init__(self, last_stage: int, name: str = "", *, definition: str = "", token_version: int = 1) -> None:
        self._name = name or workflow.info().workflow_type
        self._mailbox = Mailbox(workflow.info().first_execution_run_id, last_stage, workflow.patched)
        self._execution = Execution(
            chain_id=self._mailbox.chain_id,
            pipeline=self._name,
            definition=definition,
            token_version=token_version,
            show=self._show,
            find=self._find,
            find_put_off=self._find_put_off,
            is_long=self._should_continue_as_new,
            continue_as_new=lambda: self.carry_over(self._mailbox.carry()),
        )
        self._stages: dict[int, Stage] = {}
        self._settlements = Settlements(self._name)
        self._has_news = False
        self._sender: SignalSender | None = None
        self._is_findable = is_findable(workflow.info().typed_search_attributes)
        self._found: Sequence[SearchAttributeUpdate[Any]] = ()

    # --- signals and queries

    @workflow.signal(name=ADVANCE_STAGE)
    def advance_stage(self, *args: Any) -> None:
        """Advance past a stage, or receive the callback for a stage.

        `advance_stage(2)`, sent by an operator, ends every wait up to stage 2. `advance_stage(2, callback)` answers
        stage 2. The handler accepts any arguments, because a handler that raises blocks the run; the mailbox counts
        invalid signals.
        """
        if not any(isinstance(arg, Exception) for arg in args):  # drop a signal that cannot be decoded, as the SDK does
            self._mailbox.receive(args, at=workflow.time(), sender=self._sender)
        self._show_soon()

    @workflow.signal(dynamic=True)
    def _misnamed(self, name: str, args: Sequence[RawValue]) -> None:
        """Count signals with an unknown name, so that `progress` reveals a misspelt name."""
        self._mailbox.receive_misnamed()

    @workflow.update(name=OPERATE)
    def operate(self, *args: Any) -> Applied:
        """Apply an operator's `Command` to an open stage: extend, call-again, succeed, skip or fail.

        A command that cannot be applied is refused with a sentence; see `workflows.commands`.
        """
        applied = self._mailbox.operate(args, at=workflow.time())
        self._show_soon()
        self._find()
        return applied

    @operate.validator
    def _check_command(self, *args: Any) -> None:
        if refusal := self._mailbox.refusal(args):
            raise ApplicationError(refusal, type=COMMAND_REFUSED, non_retryable=True)

    @workflow.query(name=PROGRESS)
    def progress(self) -> Progress:
        """Return the state, attempts, deadline, outcome, cause and ledger of every stage."""
        return Progress(
            pipeline=self._name,
            chain_id=self._mailbox.chain_id,
            stages=[
                stage_progress(stage, record, self._mailbox.commands_for(stage.number))
                for stage, record in self._known_records()
            ],
            advanced_to=self._mailbox.advanced_to,
            last_stage=self._mailbox.last_stage,
            ignored=dict(self._mailbox.ignored),
        )

    @workflow.query(name=OUTCOMES)
    def outcomes(self) -> PipelineResult:
        """Return the outcomes of the settled stages, with their data."""
        settled = {stage.name or str(stage.number): record.outcome for stage, record in self._known_records()}
        return PipelineResult(self._name, {name: outcome for name, outcome in settled.items() if outcome})

    def note_sender(self, sender: SignalSender | None) -> None:
        """Note who sends the signal that is handled next. The worker calls it; see `activities.signal_senders`."""
        self._sender = sender

    # --- for subclasses

    async def stage(self, stage: Stage, data: Mapping[str, Any] | None = None) -> Outcome:
        """Call the stage's partner, wait for its callback, and return the outcome.

        data: the call's fields. Raises `StageFailed` if the outcome is `failed`. If an early callback or a command has
        settled the stage, its partner is not called. If an operator has advanced past the stage, its partner is called,
        but the run does not wait for a callback.
        """
        return _not_failed(stage, await self.try_stage(stage, data))

    async def try_stage(self, stage: Stage, data: Mapping[str, Any] | None = None) -> Outcome:
        """Like `stage`, but return an outcome with the status `failed` instead of raising, for an `if`."""
        self.announce(stage)
        record = self._mailbox.record(stage.number)
        return await self._settle(record, self._stage_run(stage, record, self._execution).run(data or {}))

    async def _settle(self, record: StageRecord, running: Awaitable[Outcome]) -> Outcome:
        try:
            outcome = await running
        except asyncio.CancelledError:
            if (reason := workflow.cancellation_reason()) and record.outcome is None:
                record.enter("request to cancel the run", reason, at=workflow.time())
            record.settle("failed", "cancelled", at=workflow.time())
            self._show()
            raise
        self._show()
        return outcome

    async def run_child(self, stage: Stage, run: PipelineRun, workflow_type: str = PIPELINE_WORKFLOW) -> Outcome:
        """Run another pipeline as a stage: start a child run, and return its outcome when it has ended.

        The stage's `partner` is a name for the child, such as the pipeline's. Its timeout and policies apply: `retry`
        starts another child. A child that fails or is cancelled answers `failed`; a completed child's outcome holds the
        data of each of its stages by name. A terminated child says nothing. The child lives on if this run ends. It
        has this run's version of callback tokens, unless `run` names one. Raises `StageFailed`, as `stage` does,
        and `ApplicationError` for an invalid definition or input.

        Example: `await self.run_child(Stage(2, "kyc", "kyc", timeout=9 * DAY), PipelineRun(KYC, {"name": "ada"}))`
        """
        self.announce(stage)
        record = self._mailbox.record(stage.number)
        version = run.token_version or self._execution.token_version
        whole = replace(run, contract=max(1, contract_of(run.pipeline)), token_version=version)
        try:
            check_run(whole)
        except InvalidRun as fault:  # the child would end without knowing its parent
            raise ApplicationError(str(fault), *fault.faults, type="InvalidRun", non_retryable=True) from fault
        running = ChildStageRun(stage, record, self._execution, (workflow_type, whole)).run({})
        return _not_failed(stage, await self._settle(record, running))

    async def advance_run(self, workflow_id: str, stage: int) -> None:
        """Advance another run past a stage, as an operator does. Raises `ApplicationError` if it is not open.

        Example: `await self.advance_run("onboarding-17", 2)`
        """
        handle: workflow.ExternalWorkflowHandle[Any] = workflow.get_external_workflow_handle(workflow_id)
        await handle.signal(ADVANCE_STAGE, stage)

    async def cancel_run(self, workflow_id: str) -> None:
        """Request another run to end, and wait until Temporal confirms the request.

        Raises `ApplicationError` if the run is not open. Example: `await self.cancel_run("onboarding-17")`
        """
        await workflow.get_external_workflow_handle(workflow_id).cancel()

    async def advanced(self, stage: int) -> Outcome:
        """Wait until a signal settles stage number `stage`; there is no call and no timeout."""
        if not 1 <= stage <= self._mailbox.last_stage:
            raise ValueError(f"no signal can settle stage {stage} of {self._mailbox.last_stage}")
        record = self._mailbox.record(stage)
        record.wait(at=workflow.time())
        self._show()
        self._find()
        await workflow.wait_condition(lambda: record.outcome is not None)
        assert record.outcome is not None
        return record.outcome

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
        self._settlements.take_over(self._known_records())

    def announce(self, *stages: Stage) -> None:
        """Make `progress` show stages before their turn."""
        self._stages.update({stage.number: stage for stage in stages})

    # --- the execution

    def _should_continue_as_new(self) -> bool:
        """Whether to continue as new: Temporal accepts at most 10,000 signals per execution."""
        heavy = self._mailbox.received >= SIGNALS_PER_EXECUTION or workflow.info().is_continue_as_new_suggested()
        return heavy and type(self).carry_over is not StagedWorkflow.carry_over

    def _show(self) -> None:
        self._has_news = False
        stages = self._known_records()
        workflow.set_current_details(details(self._name, stages))
        self._settlements.count(stages)

    def _find(self) -> None:
        """Write the search attributes, if the run was started with them and they have changed."""
        # Each write is a billed action: only when a call or a wait by hand begins, a person is needed or no longer is,
        # at commands, and when the deadline was put off. An attribute that the namespace lacks would block the run; see
        # `workflows.finding`.
        if self._is_findable and (found := open_stages(self._known_records())) != self._found:
            self._found = found
            workflow.upsert_search_attributes(found)

    def _find_put_off(self) -> None:
        """Write the search attributes if the written deadline is too early: the partner has reported progress."""
        if not self._is_findable:
            return
        written = workflow.info().typed_search_attributes.get(DEADLINE_KEY)
        if is_put_off(self._known_records(), written, at=workflow.time()) and workflow.patched(PUT_OFF):
            self._find()

    def _show_news(self) -> None:
        self._show()
        self._find_put_off()

    def _show_soon(self) -> None:
        """Show once for all signals of a workflow task: there may be thousands, and a task has two seconds."""
        if not self._has_news:
            self._has_news = True
            asyncio.get_running_loop().call_soon(self._show_news)

    def _known_records(self) -> list[tuple[Stage, StageRecord]]:
        """Every stage that was announced or that has a record, by number."""
        numbers = sorted(self._stages.keys() | self._mailbox.touched())
        unnamed = (Stage(number=number, name="", partner="", timeout=0.0) for number in numbers)
        return [(self._stages.get(stage.number, stage), self._mailbox.record(stage.number)) for stage in unnamed]


def _not_failed(stage: Stage, outcome: Outcome) -> Outcome:
    if outcome.status == "failed":
        raise StageFailed(stage, outcome)
    return outcome
