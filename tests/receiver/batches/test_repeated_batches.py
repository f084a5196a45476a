"""Requests with several events that come again, at two receivers at once, or while the store is away."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from activities.store.database import Database
from receiver.budget import BURST, PER_MINUTE
from receiver.deliveries.delivery import Fate
from receiver.deliveries.statements import Statements
from receiver.sending.signals import Reached
from tests.parts.flawed_events import SPLITTING
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    Away,
    Listening,
    batch,
    called,
    event,
    kept,
    partner,
    receiving,
    said,
    send,
    until_idle,
)
from tests.support import RUN_TIMEOUT
from workflows.durations import HOUR


async def test_a_whole_request_again_is_a_duplicate(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, 2)
    body = batch(event("w-1"), event("w-2"))
    answers = [await said(await send(http, body)) for _ in range(3)]
    await until_idle(database)
    assert answers == [(202, "accepted")] * 3
    assert sorted(temporal.heard) == [("run-1", 1), ("run-2", 1)]
    wholes = [one.verdict for one in kept(database) if not one.part]
    assert wholes == ["accepted", "duplicate", "duplicate"]


async def test_a_request_that_only_contradicts_is_a_conflict(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    """Kept within the budget: a partner may repeat it for ever, with a body of up to a mebibyte."""
    await called(database, 1)
    await send(http, batch(event("w-1")))
    await until_idle(database)
    for n in range(PER_MINUTE + 5):
        assert await said(await send(http, batch(event("w-1", n=n + 2)))) == (202, "this")
    assert temporal.heard == [("run-1", 1)]
    conflicts = [one for one in kept(database, "conflict") if not one.part]
    assert len(conflicts) < PER_MINUTE
    assert all(one.body is None for one in conflicts)
    await eventually(lambda: all(one.status in {202, 409} for one in kept(database)))


async def until_taken(http: httpx.AsyncClient, body: Any) -> int:
    """Send until the answer is not 503, as the partner does. Returns the status."""
    async with asyncio.timeout(RUN_TIMEOUT):
        while (status := (await send(http, body)).status_code) == 503:
            await asyncio.sleep(0.1)
    return status


async def test_events_are_inserted_by_stage_whatever_their_order(
    http: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two transactions that insert the same contents in different orders would block each other on PostgreSQL."""
    insert, inserted = Statements.insert, list[list[tuple[str, str]]]()

    def noting(self: Statements, cursor: Any, new: Any) -> set[str]:
        if new[0].get("request_id"):
            inserted.append([(row["chain_id"], row["says"]) for row in new])
        return insert(self, cursor, new)

    monkeypatch.setattr(Statements, "insert", noting)
    await called(database, 1, 2, 3)
    await send(http, batch(event("w-3"), event("w-1", "progress"), event("w-2"), event("w-1", "failed")))
    expected = [("chain-1", "progress"), ("chain-1", "failed"), ("chain-2", "succeeded"), ("chain-3", "succeeded")]
    assert inserted == [expected]


@pytest.mark.usefixtures("unhurried_locks")
async def test_the_same_events_at_two_receivers_are_signalled_once(database: Database) -> None:
    """Also in another order."""
    temporals = [Listening(), Listening()]
    splitting = partner(**SPLITTING)
    async with receiving(database, temporals[0], splitting) as one, receiving(database, temporals[1], splitting) as two:
        await called(database, *range(1, 21))
        for n in range(6):
            events = [event(f"w-{run}", "failed", n) for run in range(1, 21)]
            sent = [(one, events), (two, events[::-1]), (one, events[::-1]), (two, events)]
            statuses = await asyncio.gather(*(until_taken(door, batch(*some)) for door, some in sent))
            assert set(statuses) == {202}
        await until_idle(database)
    heard = sorted([*temporals[0].heard, *temporals[1].heard])
    assert heard == sorted((f"run-{run}", n) for run in range(1, 21) for n in range(6))


@pytest.mark.parametrize("away", ["find_calls", "keep_batch"])
async def test_while_the_store_is_away_the_answer_is_503(
    database: Database, temporal: Listening, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """And the outage uses up nothing of the calls' budgets."""
    monkeypatch.setattr("receiver.app.Inbox", Away)
    monkeypatch.setattr("receiver.budget.SECONDS_PER_CALLBACK", HOUR)
    await called(database, 1)
    async with receiving(database, temporal, partner(**SPLITTING)) as http:
        monkeypatch.setattr(Away, "away", (away,))
        for n in range(BURST):
            assert (await send(http, batch(event("w-1", n=-n)))).status_code == 503
        monkeypatch.setattr(Away, "away", ())
        assert (await send(http, batch(event("w-1")))).status_code == 202
        await eventually(lambda: temporal.heard == [("run-1", 1)])


async def test_an_unknown_run_is_parked(http: httpx.AsyncClient, database: Database, temporal: Listening) -> None:
    await called(database, 1, 2)
    temporal.answers["run-1"] = Reached.UNKNOWN
    assert (await send(http, batch(event("w-1"), event("w-2")))).status_code == 202
    await until_idle(database)
    assert {one.workflow_id: one.fate for one in kept(database) if one.part} == {
        "run-1": Fate.PARKED,
        "run-2": Fate.TAKEN,
    }
