"""How many events a request may carry, how large it may be, and how many of its events are sent at once."""

from __future__ import annotations

import time

import httpx
import pytest

from activities.store.database import Database
from receiver.body import LARGEST_BODY
from receiver.budget import BURST, RESERVE
from receiver.reading import MAX_PARTS
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    OTHER,
    Listening,
    batch,
    called,
    event,
    kept,
    rows,
    send,
    until_idle,
)

pytestmark = pytest.mark.system


async def test_too_many_events_are_413(http: httpx.AsyncClient, database: Database, temporal: Listening) -> None:
    await called(database, 1)
    assert (await send(http, batch(*[event("w-1")] * (MAX_PARTS + 1)))).status_code == 413
    assert temporal.heard == []


async def test_as_many_events_as_allowed_are_kept(
    http: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.reading.FILE_SECONDS", 30.0)  # the machine may be busy
    await called(database, 1, answered=False)
    assert (await send(http, batch(*(event(f"w-{n}") for n in range(MAX_PARTS))))).status_code == 202
    assert sorted(one.part for one in kept(database, "unmatched")) == list(range(1, MAX_PARTS + 1))


async def test_a_large_request_is_read_and_a_larger_one_is_413(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1)
    padding = "x" * (LARGEST_BODY - 200)
    assert (await send(http, batch(event("w-1"), {**OTHER, "pad": padding}))).status_code == 202
    assert (await send(http, batch(event("w-1"), {**OTHER, "pad": padding + "x" * 200}))).status_code == 413
    await until_idle(database)
    assert temporal.heard == [("run-1", 1)]


async def test_an_event_over_its_budget_is_kept_and_sent_later(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1)
    allowed, over = BURST - RESERVE, 3
    temporal.answering.clear()  # so that only the first event, if any, is on its way
    began = time.time()
    await send(http, batch(*(event("w-1", "progress", n) for n in range(allowed + over))))
    due = [row["due_at"] - began for row in rows(database) if row["due_at"] is not None]
    assert len(due) == allowed + over
    assert min(due[-over:]) > 4
    assert max(due[1:-over]) < min(due[-over:])
    temporal.answering.set()
    await eventually(lambda: len(temporal.heard) >= allowed)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET due_at = 0 WHERE due_at IS NOT NULL")
    await eventually(lambda: temporal.heard == [("run-1", n) for n in range(allowed + over)])
