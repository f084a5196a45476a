"""Forwarder: the one sender of `advance_stage` signals on behalf of partners.

Signal first, describe only when Temporal finds nothing: the server answers a repeated request id with OK even after the
run has completed, so the retry of a delivered callback is answered as the first try was.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
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
from activities.client import is_namespace_missing
from workflows.contract import ADVANCE_STAGE, Callback

logger = logging.getLogger("stagehook.forwarder")

BUDGET_SECONDS: Final = 2.2
"""For everything that Temporal is asked about one callback. The tightest partners hang up after 3 s; the answer is
promised within 2.5 s."""


class Fate(Enum):
    """What became of a signal; RUNNING only between two tries of one."""

    TAKEN = "taken"
    RUNNING = "running"
    FINISHED = "finished"
    REPLACED = "replaced"
    UNKNOWN = "unknown"


class TemporalAway(Exception):
    """Temporal did not take the signal for a cause that is not the partner's. The message names it, for our log."""


def request_id(claims: Claims, body: bytes, delivery_id: str = "") -> str:
    """The id by which Temporal knows a repeated delivery: the same for the same content on the same attempt.

    delivery_id: the partner's own id, only if a body signature covers it.
    """
    content = delivery_id or hashlib.sha256(body).hexdigest()
    key = f"{claims.chain_id}/{claims.stage}/{claims.attempt}/{content}"
    return hashlib.sha256(key.encode()).hexdigest()


class Forwarder:
    """Delivers callbacks to runs.

    connect: makes the client, once, at the first use; a lazy client, so that the receiver starts without Temporal.
    """

    def __init__(self, connect: Callable[[], Awaitable[Client]]) -> None:
        self._connect = connect
        self._client: Client | None = None

    async def forward(self, claims: Claims, callback: Callback, request_id: str) -> Fate:
        """Signal the run that the claims name; raises `TemporalAway` within `BUDGET_SECONDS`."""
        async with _asking_temporal():
            if await self._signal(claims, callback, request_id):
                return Fate.TAKEN
            fate = await self._fate(claims)
            if fate is not Fate.RUNNING:
                return fate
            # Continued as new between the two questions: the next run takes it.
            if await self._signal(claims, callback, request_id):
                return Fate.TAKEN
        raise TemporalAway("the run is open and does not take signals")

    async def check(self) -> None:
        """Raise `TemporalAway` unless a callback could be delivered now.

        Asks for a run that does not exist: that needs the connection, the credentials and the namespace, as a signal
        does, and no permission beyond.
        """
        async with _asking_temporal():
            await self._describe("stagehook-readiness")

    async def _signal(self, claims: Claims, callback: Callback, request_id: str) -> bool:
        client = await self._connected()
        request = SignalWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=claims.workflow_id),
            signal_name=ADVANCE_STAGE,
            identity="stagehook-receiver",
            request_id=request_id,
        )
        request.input.payloads.extend(await client.data_converter.encode([claims.stage, callback]))
        try:
            await client.workflow_service.signal_workflow_execution(
                request, retry=True, timeout=timedelta(seconds=BUDGET_SECONDS)
            )
        except RPCError as error:
            _raise_unless_no_run(error)
            return False
        return True

    async def _fate(self, claims: Claims) -> Fate:
        described = await self._describe(claims.workflow_id)
        if described is None:
            return Fate.UNKNOWN
        run = described.workflow_execution_info
        if run.first_run_id != claims.chain_id:
            return Fate.REPLACED
        running = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
        return Fate.RUNNING if run.status == running else Fate.FINISHED

    async def _describe(self, workflow_id: str) -> DescribeWorkflowExecutionResponse | None:
        client = await self._connected()
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

    async def _connected(self) -> Client:
        if self._client is None:
            try:
                self._client = await self._connect()
            except Exception as error:
                # Whatever stands in the way of a client, from settings to certificates, is ours to mend.
                raise TemporalAway(f"no client ({type(error).__name__})") from error
        return self._client


@asynccontextmanager
async def _asking_temporal() -> AsyncIterator[None]:
    """Bound what is asked, and turn everything that Temporal's absence looks like into `TemporalAway`."""
    try:
        async with asyncio.timeout(BUDGET_SECONDS):
            yield
    except TimeoutError as error:
        raise TemporalAway("no answer in time") from error
    except RPCError as error:
        raise TemporalAway(error.status.name) from error
    except RuntimeError as error:
        # The bridge reports a failed connection as a bare RuntimeError.
        raise TemporalAway("no connection") from error


def _raise_unless_no_run(error: RPCError) -> None:
    """NOT_FOUND means no such run, unless its detail says that the namespace is missing: that is ours to mend."""
    if error.status is not RPCStatusCode.NOT_FOUND:
        raise error
    if is_namespace_missing(error):
        raise TemporalAway("the namespace does not exist") from error
