"""A worker slows the lane of a partner that it does not reach, and ends what holds a lane; Temporal is a fake."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    UpdateTaskQueueConfigRequest,
    UpdateTaskQueueConfigResponse,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import reach as reach_module
from activities.reach import Reach
from tests.support import RUN_TIMEOUT


class Temporal:
    """The configuration of a lane's task queue, as Temporal keeps it. refuses: the status of every answer, if any."""

    def __init__(self, refuses: RPCStatusCode | None = None) -> None:
        self.refuses = refuses
        self.looks = asyncio.Semaphore(0)
        self._found = DescribeTaskQueueResponse()

    @property
    def client(self) -> Client:
        service: Any = SimpleNamespace(describe_task_queue=self._describe, update_task_queue_config=self._update)
        return cast(Client, SimpleNamespace(namespace="default", workflow_service=service))

    async def _describe(self, request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse:
        self.looks.release()
        if self.refuses is not None:
            raise RPCError("Request unauthorized.", self.refuses, b"")
        copy = DescribeTaskQueueResponse()
        copy.CopyFrom(self._found)
        return copy

    async def _update(self, request: UpdateTaskQueueConfigRequest) -> UpdateTaskQueueConfigResponse:
        limit = self._found.config.queue_rate_limit
        changes = limit.metadata.update_time.seconds + 1
        limit.Clear()
        if request.update_queue_rate_limit.HasField("rate_limit"):
            limit.rate_limit.CopyFrom(request.update_queue_rate_limit.rate_limit)
        limit.metadata.reason = request.update_queue_rate_limit.reason
        limit.metadata.update_identity = request.identity
        limit.metadata.update_time.seconds = changes
        return UpdateTaskQueueConfigResponse(config=self._found.config)


@pytest.mark.parametrize("status", [RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED])
async def test_a_worker_looks_on_after_a_refusal(
    status: RPCStatusCode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A role that a key lacks for a minute must not leave a pause in place after its end."""
    monkeypatch.setattr(reach_module, "REFUSED_SECONDS", 0.0)
    temporal = Temporal(refuses=status)
    with caplog.at_level(logging.INFO, "stagehook.lanes"):
        async with Reach(temporal.client, "lane").running(), asyncio.timeout(RUN_TIMEOUT):
            for _ in range(3):
                await temporal.looks.acquire()
    assert caplog.messages == ["lane-not-held"]
