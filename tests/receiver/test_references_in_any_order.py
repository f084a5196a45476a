"""Calls, references and events in any order: each event is signalled once, or was nobody's when it came."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from activities.store.calls import Calls
from activities.store.database import Database
from receiver.deliveries.inbox import Inbox
from receiver.sending.unmatched import signal_of
from tests.parts.empty_stores import SQLiteFiles
from tests.parts.examples import examples
from tests.parts.waits import eventually
from tests.parts.webhooks import Listening, claims, event, receiving, said, send, until_idle, verdicts
from tests.stores import PATIENT

RUNS = st.integers(1, 3)
STEPS = st.lists(st.tuples(st.sampled_from(["begin", "refer", "event", "event", "poll"]), RUNS), max_size=14)


class World:
    """What has happened to the calls of some runs, and to the events about them."""

    def __init__(self, database: Database) -> None:
        self.calls = Calls(database)
        self.begun: set[int] = set()
        self.known: set[int] = set()
        self.expected: list[tuple[str, int]] = []

    @property
    def is_open(self) -> bool:
        """Whether a call waits for its reference."""
        return bool(self.begun - self.known)

    async def begin(self, n: int) -> None:
        await self.calls.begin(claims(n))
        self.begun.add(n)

    async def refer(self, n: int) -> None:
        if n in self.begun:
            await self.calls.refer(claims(n), f"w-{n}")
            self.known.add(n)


async def happen(database: Database, steps: list[tuple[str, int]]) -> None:
    world, temporal = World(database), Listening()
    other = Inbox(database, PATIENT)
    async with receiving(database, temporal) as http, other.running():
        for number, (step, n) in enumerate(steps):
            match step:
                case "begin":
                    await world.begin(n)
                case "refer":
                    await world.refer(n)
                case "poll":
                    await other.match(signal_of)
                case _:
                    is_ours = n in world.known or world.is_open
                    answer = await said(await send(http, event(f"w-{n}", "failed", number)))
                    assert answer == (202, "accepted" if is_ours else "ignored")
                    world.expected += [(f"run-{n}", number)] * is_ours
        for n in (1, 2, 3):
            await world.begin(n)
            await world.refer(n)
        await eventually(lambda: "unmatched" not in verdicts(database))
        await until_idle(database)
    assert Counter(temporal.heard) == Counter(world.expected)


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch, unhurried_locks: None) -> None:
    monkeypatch.setattr("receiver.sending.sender.POLL_SECONDS", 0.05)


@hypothesis.settings(examples(30), suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(steps=STEPS)
@hypothesis.example(steps=[("begin", 1), ("event", 1), ("event", 1), ("poll", 1), ("refer", 1), ("event", 1)])
@hypothesis.example(steps=[("event", 1), ("begin", 2), ("event", 1), ("begin", 1), ("event", 2)])
def test_each_event_is_signalled_once_or_was_about_no_call(
    sqlite_files: SQLiteFiles, steps: list[tuple[str, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite_files.copy(Path(folder))
        asyncio.run(happen(database, steps))
        database.engine.dispose()
