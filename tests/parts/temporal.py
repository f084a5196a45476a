"""Temporal's servers for tests: a dev server for the whole test process, with a new namespace for each test."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
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
# Temporal's own workers of a namespace, for schedules and batches, would poll for all namespaces to the end. A queue in
# one part is found at once, and one in four costs a quarter more of the server's CPU.
QUIET = (
    "worker.perNamespaceWorkerCount=0",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)


async def connected(address: str) -> Client:
    """A client of the server, as soon as it answers."""
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                return await Client.connect(address)
            except RuntimeError:
                await asyncio.sleep(0.02)


@contextmanager
def serving(*settings: str, port: int = 0) -> Iterator[str]:
    """A real server in memory, with these values of its dynamic configuration; gives its address."""
    address = f"127.0.0.1:{port or free_port()}"
    words = ["server", "start-dev", "--ip", "127.0.0.1", "--port", address.rpartition(":")[2]]
    words += ["--headless", "--log-level", "error"]
    words += [word for setting in (*QUIET, *settings) for word in ("--dynamic-config-value", setting)]
    command = [str(BINARIES / "temporal"), *words]
    with tempfile.NamedTemporaryFile(prefix="stagehook-temporal-") as log, running(command, LAZY, Path(log.name)):
        yield address


async def with_new_namespace(address: str) -> WorkflowEnvironment:
    namespace = f"t-{uuid.uuid4().hex}"
    client = await connected(address)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    return WorkflowEnvironment.from_client(await Client.connect(address, namespace=namespace))


@pytest.fixture(scope="session")
def dev_server() -> Iterator[str]:
    """The address of a real server. Starting a server for each test takes most of the test's CPU."""
    with serving() as address:
        yield address


@pytest.fixture(scope="session")
def restless_server() -> Iterator[str]:
    """The address of a real server that suggests to continue as new after very few events."""
    with serving("limit.historyCount.suggestContinueAsNew=40") as address:
        yield address


@pytest.fixture
async def real(dev_server: str) -> WorkflowEnvironment:
    """The real server, with a namespace of the test's own."""
    return await with_new_namespace(dev_server)


@pytest.fixture
async def restless(restless_server: str) -> WorkflowEnvironment:
    """The restless server, with a namespace of the test's own."""
    return await with_new_namespace(restless_server)


@pytest.fixture
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """The time-skipping server: weeks pass in no time. It does not deduplicate by request id."""
    async with await start_skipping() as env:
        yield env


async def start_skipping(tries: int = 6) -> WorkflowEnvironment:
    """Start it; the SDK gives up after five seconds, in which a busy machine may not get to it."""
    for left in reversed(range(tries)):
        try:
            return await WorkflowEnvironment.start_time_skipping(
                test_server_existing_path=str(BINARIES / "temporal-test-server")
            )
        except RuntimeError:
            if not left:
                raise
    raise AssertionError("unreachable")
