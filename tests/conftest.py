"""What tests share: real servers, fresh for each test, and keys of their own."""

from __future__ import annotations

import hypothesis
import pytest

from receiver.cli.demo.processes import free_port
from tests.local_stack import local
from tests.parts.doors import door, temporal
from tests.parts.filled_stores import filled
from tests.parts.temporal import dev_server, real, restless, skipping
from tests.stores import database, empty_database, inbox, postgres, postgres_databases, proxy, sqlite_files, timing

__all__ = [
    "database",
    "dev_server",
    "door",
    "empty_database",
    "filled",
    "inbox",
    "local",
    "postgres",
    "postgres_databases",
    "proxy",
    "real",
    "restless",
    "skipping",
    "sqlite_files",
    "temporal",
    "timing",
]

# Machines are noisy: how long an example takes says nothing.
hypothesis.settings.register_profile(
    "stagehook", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("stagehook")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    return free_port()
