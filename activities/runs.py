"""Runs: start, find, show, advance and cancel runs of pipelines, for operators and other programs."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.callback_urls import Claims
from activities.finding import LISTING_TIMEOUT, missing_attributes
from activities.run_errors import (
    NoProgressQuery,
    NoSuchStage,
    ProgressUnknown,
    QueryFailed,
    RunCompleted,
    RunEnded,
    RunExists,
    RunNotFound,
    WorkerAway,
    reaching_run,
)
from activities.run_status import run_failure_text, status_name
from activities.target import Target
from workflows.checking import check_run
from workflows.contract import (
    ADVANCE_STAGE,
    OUTCOMES,
    PIPELINE_WORKFLOW,
    PROGRESS,
    SENDER_HEADER,
    TOKEN_SLACK,
    Carried,
    Outcome,
    Pipeline,
    PipelineResult,
    PipelineRun,
    Progress,
    SignalSender,
    StageCall,
    StageProgress,
    contract_of,
)
from workflows.finding import start_attributes

T = TypeVar("T")

ANY_ENDED: Final = WorkflowIDReusePolicy.ALLOW_DUPLICATE
UNLESS_COMPLETED: Final = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY

WORKER_ANSWERS_WITHIN: Final = timedelta(seconds=5)

NO_SUCH_QUERY: Final = re.compile(
    r"query handler for .* expected but not found|unknown query ?type|did not register a handler", re.IGNORECASE
)
"""Matches the errors of the Python, Go, Java and TypeScript SDKs for a query that the workflow does not have."""

LONGEST_REASON: Final = 300
"""Characters shown of a worker's message."""


class Runs:
    """The runs in a client's namespace.

    client: the client, for what has a module of its own (`activities.resets`).
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._is_findable: bool | None = None

    async def start(
        self,
        pipeline: Pipeline,
        data: Mapping[str, Any],
        *,
        task_queue: str,
        workflow_id: str = "",
        carried: Carried | None = None,
        again: bool = True,
        workflow_type: str = PIPELINE_WORKFLOW,
        findable: bool = True,
        token_version: int = 1,
    ) -> WorkflowHandle[Any, PipelineResult]:
        """Check the definition and start a run; raises `InvalidRun`, `RunExists`.

        carried: state to begin with, instead of beginning at the first stage.
        again: also if a run with this id has completed; otherwise that raises `RunCompleted`.
        workflow_type: the class that runs the stages.
        findable: with search attributes, if the namespace has them; workers before 0.3 cannot continue such a run.
        token_version: of the callback tokens.
        """
        # Version one is not written: workers of earlier releases refuse a field that they do not know.
        version = 0 if token_version == 1 else token_version
        run = PipelineRun(pipeline, data, carried, contract=contract_of(pipeline), token_version=version)
        check_run(run)
        workflow_id = workflow_id or new_run_id(pipeline)
        async with self.reaching():
            attributes = start_attributes(pipeline.name) if findable and await self.are_findable() else None
            try:
                return await self.client.start_workflow(
                    workflow_type,
                    run,
                    id=workflow_id,
                    task_queue=task_queue,
                    id_reuse_policy=ANY_ENDED if again else UNLESS_COMPLETED,
                    result_type=PipelineResult,
                    memo={"pipeline": pipeline.name},
                    search_attributes=attributes,
                    static_summary=f"{pipeline.name}: {len(pipeline.stages)} stages",
                    static_details="\n".join(
                        f"{stage.number}. {stage.name} ({stage.partner})" for stage in pipeline.stages
                    ),
                )
            except WorkflowAlreadyStartedError as error:
                if (await self.describe(workflow_id)).status is WorkflowExecutionStatus.COMPLETED:
                    raise RunCompleted(f"the run {workflow_id} has completed") from error
                raise RunExists(f"a run with the id {workflow_id} is open") from error

    async def are_findable(self) -> bool:
        """Whether the namespace has all search attributes; asked once. If Temporal does not say it, no."""
        # A run that writes an attribute which its namespace lacks would be blocked.
        if self._is_findable is None:
            try:
                async with asyncio.timeout(LISTING_TIMEOUT):
                    self._is_findable = not await missing_attributes(self.client)
            except Exception:
                return False
        return self._is_findable

    async def describe(self, workflow_id: str) -> WorkflowExecutionDescription:
        """Return Temporal's own description of the run; raises `RunNotFound`."""
        async with self.reaching(workflow_id):
            return await self.client.get_workflow_handle(workflow_id).describe()

    async def end(self, handle: WorkflowHandle[Any, PipelineResult]) -> tuple[str, PipelineResult | None, str]:
        """Wait for the run to end, without a time limit; return its status, its result, and why it failed."""
        async with self.reaching(handle.id, within=None):
            try:
                return "completed", await handle.result(), ""
            except WorkflowFailureError as error:
                return status_name((await handle.describe()).status), None, run_failure_text(error)

    async def failure(self, workflow_id: str, run_id: str | None = None) -> str:
        """Return in one line why an ended run did not complete; "" if it completed. run_id: of this execution."""
        async with self.reaching(workflow_id):
            try:
                await self.client.get_workflow_handle(workflow_id, run_id=run_id).result()
            except WorkflowFailureError as error:
                return run_failure_text(error)
        return ""

    async def progress(self, workflow_id: str) -> Progress:
        """Return the state of every stage; raises `RunNotFound`, or a `ProgressUnknown` subclass with the reason."""
        return await self._query(workflow_id, PROGRESS, Progress)

    async def outcomes(self, workflow_id: str) -> Mapping[str, Outcome]:
        """Return the settled stages' outcomes by name, with their data; raises like `progress`.

        Raises `NoProgressQuery` also for a run whose worker has a version before this query.
        """
        return (await self._query(workflow_id, OUTCOMES, PipelineResult)).outcomes

    async def _query(self, workflow_id: str, name: str, kind: type[T]) -> T:
        handle = self.client.get_workflow_handle(workflow_id)
        async with self.reaching(workflow_id):
            try:
                answer: T = await handle.query(name, result_type=kind, rpc_timeout=WORKER_ANSWERS_WITHIN)
                return answer
            except WorkflowQueryFailedError as error:
                if not NO_SUCH_QUERY.search(str(error)):
                    why = str(error)[:LONGEST_REASON]
                    raise QueryFailed(f"no worker can execute the run {workflow_id}: {why}") from error
                of = f"the type {(await handle.describe()).workflow_type}"
                raise NoProgressQuery(f"the run {workflow_id} is of {of}, which has no `{name}` query") from error
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    raise
                await handle.describe()  # raises if Temporal or the run is missing, not the worker
                raise WorkerAway(f"no worker answers for the run {workflow_id}") from error

    async def count_signals(self, workflow_id: str) -> int:
        """Count the signals in the history of the run's latest execution, handled by a worker or not."""
        async with self.reaching(workflow_id):
            history = await self.client.get_workflow_handle(workflow_id).fetch_history()
        return sum(event.HasField("workflow_execution_signaled_event_attributes") for event in history.events)

    async def open_waits(self, workflow_id: str, stage: int) -> Sequence[StageProgress] | None:
        """Return the open stages that `advance` past this stage settles; None if no worker tells.

        Raises `RunNotFound` and `RunEnded`; `NoSuchStage` if the number is below 1, or a worker answers and the number
        is too high.
        """
        progress: Progress | None = None
        with contextlib.suppress(ProgressUnknown):
            progress = await self.progress(workflow_id)
        last = progress.last_stage if progress else stage
        if not 1 <= stage <= last:
            raise NoSuchStage(f"the run {workflow_id} has stages 1 to {last}, not {stage}")
        await self.check_open(workflow_id)
        if progress is None:
            return None
        return [one for one in progress.stages if one.number <= stage and one.state not in {"pending", "settled"}]

    async def advance(self, workflow_id: str, stage: int, sender: SignalSender) -> None:
        """End every wait up to the stage, as an operator. `open_waits` checks the number, and tells which these are."""
        client = self.client
        request = SignalWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            signal_name=ADVANCE_STAGE,
            identity=client.identity,
            request_id=str(uuid.uuid4()),
        )
        request.input.payloads.extend(await client.data_converter.encode([stage]))
        # Not `encode`: workers read headers without a codec.
        [said] = client.data_converter.payload_converter.to_payloads([sender])
        request.header.fields[SENDER_HEADER].CopyFrom(said)
        async with self.reaching(workflow_id):
            await client.workflow_service.signal_workflow_execution(request, retry=True)

    async def finish(self, workflow_id: str, stage: int) -> None:
        """End every wait up to the stage if the run is still open; does nothing if it has ended."""
        with contextlib.suppress(RunNotFound):
            async with self.reaching(workflow_id):
                await self.client.get_workflow_handle(workflow_id).signal(ADVANCE_STAGE, stage)

    async def latest_call(self, workflow_id: str, stage: int) -> tuple[StageCall, StageProgress]:
        """Return the latest call of a stage, without its data, and the stage's progress.

        Raises `NoSuchStage`, also for a stage that was not called; `RunNotFound`, `ProgressUnknown`.
        """
        progress = await self.progress(workflow_id)
        found = [known for known in progress.stages if known.number == stage and known.called_at]
        if not found:
            raise NoSuchStage(f"the run {workflow_id} has no stage {stage} whose partner was called")
        issued_at = int(found[0].called_at or 0)
        call = StageCall(
            workflow_id=workflow_id,
            chain_id=progress.chain_id,
            stage=stage,
            name=found[0].name,
            partner=found[0].partner,
            attempt=found[0].attempts,
            issued_at=issued_at,
            expires_at=found[0].expires_at or int(issued_at + TOKEN_SLACK),
            pipeline=progress.pipeline,
            token_version=found[0].token_version,
        )
        return call, found[0]

    async def open_call(self, workflow_id: str, stage: int) -> StageCall:
        """Return an open stage's latest call; raises like `latest_call`."""
        call, known = await self.latest_call(workflow_id, stage)
        if known.outcome:
            raise NoSuchStage(f"the run {workflow_id} has no open stage {stage}: it is settled")
        return call

    async def open_claims(self, workflow_id: str, stage: int) -> Claims:
        """Return the claims of an open stage's latest call; raises like `latest_call`."""
        return Claims.of(await self.open_call(workflow_id, stage))

    async def has(self, workflow_id: str, chain_id: str) -> bool:
        """Return whether the latest run with this id belongs to this chain."""
        try:
            described = await self.describe(workflow_id)
        except RunNotFound:
            return False
        return described.raw_info.first_run_id == chain_id

    async def cancel(self, workflow_id: str, *, chain_id: str | None = None, reason: str = "") -> None:
        """Request the run to end; its open stage is settled as cancelled. Raises `RunNotFound`, `RunEnded`.

        chain_id: only if the run is of this chain; otherwise raises `RunNotFound`. reason: for the run's history.
        """
        await self.check_open(workflow_id)
        async with self.reaching(workflow_id):
            handle = self.client.get_workflow_handle(workflow_id, first_execution_run_id=chain_id)
            await handle.cancel(reason=reason)

    async def was_cancelled(self, workflow_id: str, chain_id: str, reason: str) -> bool:
        """Whether the run of this chain was cancelled for this very reason."""
        described = await self.describe(workflow_id)
        if described.raw_info.first_run_id != chain_id:
            return False
        async with self.reaching(workflow_id):
            history = await self.client.get_workflow_handle(workflow_id, run_id=described.run_id).fetch_history()
        return any(
            event.workflow_execution_cancel_requested_event_attributes.cause == reason for event in history.events
        )

    async def check_open(self, workflow_id: str) -> None:
        """Raise `RunEnded` if the run has ended, `RunNotFound` if Temporal does not know it."""
        status = (await self.describe(workflow_id)).status
        if status is not WorkflowExecutionStatus.RUNNING:
            raise RunEnded(f"the run {workflow_id} has ended: {status_name(status)}")

    def reaching(self, workflow_id: str = "", *, within: float | None = 15.0) -> AbstractAsyncContextManager[None]:
        """Return `reaching_run` for this run with this client."""
        return reaching_run(Target.of_client(self.client), workflow_id, within=within)


def new_run_id(pipeline: Pipeline) -> str:
    """Make a workflow id for a new run."""
    return f"{pipeline.name}-{uuid.uuid4().hex[:12]}"
