"""Signals: the receiver's two requests to Temporal: send a signal, and check readiness.

`send` signals first, and describes the run only if Temporal does not find it. The server answers a repeated request id
with OK even after the run has completed, so the retry of a delivered callback is answered like the first try.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from typing import Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.callback_urls import Claims
from activities.connection_errors import NO_ANSWER_IN_TIME, ConnectionFault, is_namespace_missing
from activities.target import Target
from activities.tls_probe import explain
from receiver.sending.signal import Signal, plain_callback
from workflows.contract import ADVANCE_STAGE, Answer

BUDGET_SECONDS: Final = 2.2
"""For all requests to Temporal about one callback. The least patient partners hang up after 3 s; the answer is promised
within 2.5 s."""


RECEIVER_IDENTITY: Final = "stagehook-receiver"
"""As whom Temporal records the receiver's signals."""


NO_RUN: Final = "stagehook-readiness"
"""A workflow id that no run may have; the readiness check signals it."""


REFUSING: Final = {
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.FAILED_PRECONDITION,
    RPCStatusCode.OUT_OF_RANGE,
    RPCStatusCode.DATA_LOSS,
}
"""Statuses that refuse a single signal, and say nothing about other signals."""


class Reached(Enum):
    """Where a signal has arrived. RUNNING occurs only inside `send`, between two tries of a signal."""

    TAKEN = "taken"
    RUNNING = "running"
    FINISHED = "finished"
    REPLACED = "replaced"
    UNKNOWN = "unknown"


class TemporalAway(Exception):
    """Temporal did not take the signal, and the partner is not the cause.

    The message names the cause without naming the server, because `/readyz` is public. fault: the cause, if it is a
    known one. target: where Temporal was looked for, for our log.
    """

    def __init__(self, message: str, fault: ConnectionFault | None = None, target: Target | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.target = target

    @property
    def facts(self) -> Mapping[str, str]:
        """The facts of a log line."""
        if self.fault is None or self.target is None:
            return {"why": str(self)}
        cause = self.fault.cause
        return {"why": self.fault.sentence(self.target), "cause": cause.word, "fix": cause.fix}


class SignalRefused(TemporalAway):
    """Temporal is reachable, but refuses this signal."""


class Signals:
    """The receiver's client of Temporal.

    connect: makes the client, once, at the first use. Make it lazy, so that the receiver starts without Temporal.
    """

    def __init__(self, connect: Callable[[], Awaitable[Client]]) -> None:
        self._connect = connect
        self._client: Client | None = None

    async def send(self, signal: Signal, *, within: float = BUDGET_SECONDS) -> Reached:
        """Signal the run that the claims name. Raises `TemporalAway`. within: seconds for all of it."""
        async with self._asking(within):
            if await self._signal(signal):
                return Reached.TAKEN
            # Temporal still answers OK for a signal that the run took before it ended.
            if signal.earlier_id and await self._signal(replace(signal, request_id=signal.earlier_id)):
                return Reached.TAKEN
            found = await self._find(signal.claims)
            if found is not Reached.RUNNING:
                return found
            # The run continued as new between the signal and the description: signal its next execution.
            if await self._signal(signal):
                return Reached.TAKEN
        raise SignalRefused("the run is open and does not take signals")

    async def check(self, *, within: float = BUDGET_SECONDS) -> None:
        """Raise `TemporalAway` if no callback could be delivered now, as far as shows without delivering one.

        Signals a run that does not exist. That needs the same permissions and limits as a callback; only whether
        Temporal can write is not checked.
        """
        no_run = Claims(NO_RUN, NO_RUN, 1, 1, "", 1, 1)
        async with self._asking(within):
            await self._signal(Signal.of(no_run, Answer("progress"), b""))

    async def _signal(self, signal: Signal) -> bool:
        client = await self.client()
        request = SignalWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=signal.claims.workflow_id),
            signal_name=ADVANCE_STAGE,
            identity=RECEIVER_IDENTITY,
            request_id=signal.request_id,
        )
        arguments = [signal.claims.stage, plain_callback(signal.callback)]
        request.input.payloads.extend(await client.data_converter.encode(arguments))
        try:
            await client.workflow_service.signal_workflow_execution(
                request, retry=True, timeout=timedelta(seconds=BUDGET_SECONDS)
            )
        except RPCError as error:
            _raise_unless_no_run(error)
            return False
        return True

    async def _find(self, claims: Claims) -> Reached:
        described = await self._describe(claims.workflow_id)
        if described is None:
            return Reached.UNKNOWN
        run = described.workflow_execution_info
        if run.first_run_id != claims.chain_id:
            return Reached.REPLACED
        running = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
        return Reached.RUNNING if run.status == running else Reached.FINISHED

    async def _describe(self, workflow_id: str) -> DescribeWorkflowExecutionResponse | None:
        client = await self.client()
        request = DescribeWorkflowExecutionRequest(
            namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow_id)
        )
        try:
            return await client.workflow_service.describe_workflow_execution(
                request, retry=True, timeout=timedelta(seconds=BUDGET_SECONDS)
            )
        except RPCError as error:
            _raise_unless_no_run(error)
            return None

    async def client(self) -> Client:
        """The client, made at its first use. Raises `TemporalAway`."""
        if self._client is None:
            try:
                self._client = await self._connect()
            except Exception as error:
                # Any error in making a client, from settings to certificates, is ours to fix, not the partner's.
                raise TemporalAway(f"no client ({type(error).__name__})") from error
        return self._client

    @asynccontextmanager
    async def _asking(self, within: float) -> AsyncIterator[None]:
        """Bound the block to `within` seconds, and raise `TemporalAway` for every sign that Temporal is away."""
        try:
            async with asyncio.timeout(within):
                try:
                    yield
                except (RPCError, RuntimeError) as error:
                    raise await self._away(error) from error
        except TimeoutError as error:
            raise self._away_by(ConnectionFault(NO_ANSWER_IN_TIME)) from error

    async def _away(self, error: RPCError | RuntimeError) -> TemporalAway:
        if isinstance(error, RPCError) and error.status in REFUSING:
            return SignalRefused(error.status.name)
        if self._client and (fault := await explain(error, Target.of_client(self._client))):
            return self._away_by(fault)
        return TemporalAway(error.status.name if isinstance(error, RPCError) else "no connection")

    def _away_by(self, fault: ConnectionFault) -> TemporalAway:
        target = Target.of_client(self._client) if self._client else None
        return TemporalAway(fault.cause.says, fault, target)


def _raise_unless_no_run(error: RPCError) -> None:
    """Return for NOT_FOUND, which means no such run. A missing namespace is NOT_FOUND too, but ours to fix: raise."""
    if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
        raise error
