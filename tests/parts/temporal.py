"""Temporal's servers for tests: a dev server for the whole test process, with a new namespace for each test."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from receiver.cli.demo.processes import free_port
from tests.local_stack import running

BINARIES = Path(sys.executable).parent
START_TIMEOUT = 3 * 10.0
"""Seconds."""
LAZY = {"GOGC": "400"}
"""A Go program that collects its garbage four times less often than by default."""


async def connected(address: str) -> Client:
    """A client of the server, as soon as it answers."""
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                return await Client.connect(address)
            except RuntimeError:
                await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def dev_server() -> Iterator[str]:
    """The address of a real server, in memory. Starting a server for each test takes most of the test's CPU."""
    address = f"127.0.0.1:{free_port()}"
    words = ["server", "start-dev", "--ip", "127.0.0.1", "--port", address.rpartition(":")[2]]
    # Temporal's own workers of a namespace, for schedules and batches, would poll for all namespaces to the end.
    quiet = ["--headless", "--log-level", "error", "--dynamic-config-value", "worker.perNamespaceWorkerCount=0"]
    command = [str(BINARIES / "temporal"), *words, *quiet]
    with tempfile.NamedTemporaryFile(prefix="stagehook-temporal-") as log, running(command, LAZY, Path(log.name)):
        yield address


@pytest.fixture
async def real(dev_server: str) -> WorkflowEnvironment:
    """The real server, with a namespace of the test's own."""
    namespace = f"t-{uuid.uuid4().hex}"
    client = await connected(dev_server)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    return WorkflowEnvironment.from_client(await Client.connect(dev_server, namespace=namespace))


@pytest.fixture
async def restless() -> AsyncIterator[WorkflowEnvironment]:
    """A real server that suggests to continue as new after very few events."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BINARIES / "temporal"),
        dev_server_log_level="error",
        dev_server_extra_args=["--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=40"],
    ) as env:
        yield env


@pytest.fixture
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """The time-skipping server: weeks pass in no time. It does not deduplicate by request id."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(BINARIES / "temporal-test-server")
    ) as env:
        yield env
