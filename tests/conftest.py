"""What tests share: real servers, fresh for each test, and keys of their own."""

from __future__ import annotations

import gc

import pytest

from receiver.cli.demo.processes import free_port
from tests.local_stack import local
from tests.parts.doors import door, temporal
from tests.parts.examples import register_profiles
from tests.parts.filled_stores import filled
from tests.parts.guarded import guarded
from tests.parts.patience import patient_commands
from tests.parts.shared_contexts import shared_contexts
from tests.parts.temporal import dev_server, real, restless, restless_server, skipping
from tests.stores import (
    database,
    empty_database,
    inbox,
    postgres,
    postgres_databases,
    proxy,
    sqlite_files,
    timing,
    unhurried_locks,
)

__all__ = [
    "database",
    "dev_server",
    "door",
    "empty_database",
    "filled",
    "guarded",
    "inbox",
    "local",
    "patient_commands",
    "postgres",
    "postgres_databases",
    "proxy",
    "real",
    "restless",
    "restless_server",
    "shared_contexts",
    "skipping",
    "sqlite_files",
    "temporal",
    "timing",
    "unhurried_locks",
]

register_profiles()


DEAR = ("systems", "local")
"""Fixtures that start whole systems."""


@pytest.hookimpl(tryfirst=True)  # before the markers are looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the tests of a dear fixture to `make systems`, and run them first there: the last tests are shared out, and
    each process would start a system of its own."""

    def place(item: pytest.Item) -> int:
        of_item = getattr(item, "fixturenames", ())
        return next((place for place, name in enumerate(DEAR) if name in of_item), len(DEAR))

    items.sort(key=place)
    for item in items:
        if place(item) < len(DEAR):
            item.add_marker("system")


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end: the garbage collector need not look at them again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    return free_port()
