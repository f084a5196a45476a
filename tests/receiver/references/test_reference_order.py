"""An event that waited for its call is signalled before the events of its stage that came after it."""

from __future__ import annotations

import asyncio

import httpx
import psycopg
import pytest

from activities.store.database import Database
from activities.store.dialects import MATCHING_LOCK
from receiver.deliveries import inbox as inbox_module
from receiver.deliveries.inbox import Inbox
from receiver.sending.sender import Sender
from receiver.sending.unmatched import signal_of
from tests.parts.waits import eventually
from tests.parts.webhooks import Listening, batch, called, claims, event, kept, partner, receiving, send, split
from tests.stores import PATIENT, url_of


@pytest.fixture(autouse=True)
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender's own look comes between no two events of a test."""

    async def nothing(self: Sender) -> None:
        return None

    monkeypatch.setattr(Sender, "_match", nothing)


async def test_an_event_with_a_call_does_not_overtake_one_that_waited(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, 2, answered=False)
    await send(http, event("w-1", "succeeded", 1))
    await send(http, event("w-2", "progress", 1))
    await called(database, 1, 2)
    await send(http, event("w-1", "failed", 2))
    await eventually(lambda: len(temporal.heard) == 2)
    assert temporal.heard == [("run-1", 1), ("run-1", 2)]
    assert [one.verdict for one in kept(database)] == ["accepted", "unmatched", "accepted"], "w-2 is looked up later"


async def test_however_many_have_waited_all_are_sent_first(
    http: httpx.AsyncClient, database: Database, temporal: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "MATCHED_TOGETHER", 2)
    await called(database, 1, answered=False)
    for n in range(5):
        await send(http, event("w-1", "progress", n))
    await called(database, 1)
    await send(http, event("w-1", "succeeded", 5))
    await eventually(lambda: len(temporal.heard) == 6)
    assert temporal.heard == [("run-1", n) for n in range(6)]


async def test_the_events_of_a_batch_do_not_overtake_one_that_waited(database: Database, temporal: Listening) -> None:
    async with receiving(database, temporal, partner(split=split)) as http:
        await called(database, 1, answered=False)
        await send(http, batch(event("w-1", "succeeded", 1)))
        await called(database, 1)
        await send(http, batch(event("w-1", "failed", 2), event("w-1", "failed", 3)))
        await eventually(lambda: len(temporal.heard) == 3)
    assert temporal.heard == [("run-1", n) for n in (1, 2, 3)]


async def test_a_repeat_of_an_event_that_waited_is_its_duplicate(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, answered=False)
    await send(http, event("w-1"))
    await called(database, 1)
    assert (await send(http, event("w-1"))).status_code == 202
    await eventually(lambda: temporal.heard == [("run-1", 1)])
    first, repeat = kept(database)
    assert (first.verdict, repeat.verdict, repeat.duplicate_of) == ("accepted", "duplicate", first.id)


async def test_only_one_receiver_matches_at_a_time(database: Database) -> None:
    """Otherwise a second receiver could match a later event of a stage, and commit it first."""
    if database.is_sqlite:
        pytest.skip("a transaction that writes is alone there")
    async with receiving(database, Listening()) as http:
        await called(database, 1, answered=False)
        for n in (1, 2):
            await send(http, event("w-1", "progress", n))
    await called(database, 1)
    inbox = Inbox(database, PATIENT)
    async with inbox.running():
        with psycopg.connect(url_of(database).replace("+psycopg", "")) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", [MATCHING_LOCK])
            assert await inbox.match(signal_of) == 0, "another receiver matches"
            waiting = asyncio.create_task(inbox.find_calls("bank", ["w-1"], signal_of))
            await eventually(lambda: waits_for_the_lock(other))
            assert [one.verdict for one in kept(database)] == ["unmatched", "unmatched"]
            other.commit()
            assert (await waiting).claims == {"w-1": claims()}
        assert await inbox.match(signal_of) == 0, "both were matched once the other receiver had ended"
        [first] = await inbox.claim(10)
    assert first.callback.count('"n": 1') == 1


def waits_for_the_lock(connection: psycopg.Connection[tuple[int]]) -> bool:
    found = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()
    return found == (1,)
