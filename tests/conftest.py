"""What tests share: real servers, fresh for each test, and keys of their own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest
from temporalio.testing import WorkflowEnvironment

from receiver.cli.demo.processes import free_port
from tests.stores import database, empty_database, inbox, postgres, proxy, timing

__all__ = ["database", "empty_database", "inbox", "postgres", "proxy", "timing"]

BINARIES = Path(sys.executable).parent

# Machines are noisy: how long an example takes says nothing.
hypothesis.settings.register_profile(
    "stagehook", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("stagehook")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """The time-skipping server: weeks pass in no time. It does not deduplicate by request id."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(BINARIES / "temporal-test-server")
    ) as env:
        yield env


@pytest.fixture
async def real() -> AsyncIterator[WorkflowEnvironment]:
    """The real server, in memory."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BINARIES / "temporal"), dev_server_log_level="error"
    ) as env:
        yield env


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    return free_port()


@pytest.fixture
async def restless() -> AsyncIterator[WorkflowEnvironment]:
    """A real server that suggests to continue as new after very few events."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BINARIES / "temporal"),
        dev_server_log_level="error",
        dev_server_extra_args=["--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=40"],
    ) as env:
        yield env
