"""PostgreSQL when a client or a server stops in a transaction: nothing waits for it longer than is promised."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from activities.store import database as database_module
from activities.store import migrations
from activities.store.database import CLIENT_GRACE, TRANSACTION_TIMEOUT_SINCE, Database
from activities.store.errors import StoreAway, StoreMute
from activities.store.store import Store
from receiver.deliveries import driver as driver_module
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.judging import How
from receiver.deliveries.queue import Conclusion
from receiver.deliveries.rows import to_row
from receiver.deliveries.statements import Statements
from receiver.timing import Timing
from tests.parts.deliveries import delivery, keep
from tests.parts.metrics import read, serving
from tests.parts.switchable import Switchable
from tests.stores import PATIENCE, Postgres, Proxy

BOUND = 1.0
"""Seconds of a transaction here."""

PROMISED = BOUND + CLIENT_GRACE

TIMING = Timing(commit_timeout=3 * PROMISED, query_timeout=PATIENCE)


@pytest.fixture
def direct(postgres: Postgres) -> Database:
    """A store on PostgreSQL, without the proxy."""
    url = postgres.new_database()
    migrations.upgrade(Database(url))  # a busy machine may idle longer than BOUND in between
    return Database(url, transaction_seconds=BOUND)


@pytest.fixture
def proxied(direct: Database, proxy: Proxy) -> Database:
    """The same store through the proxy."""
    return Database(proxy.url_of(direct), transaction_seconds=BOUND, query_seconds=BOUND)


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[Inbox]:
    inbox = Inbox(database, TIMING)
    async with inbox.running():
        await inbox.depth()
        yield inbox


async def until_it_works(work: Callable[[], Any]) -> Any:
    """What the work gives once the store is not away; fails if that takes three times as long as is promised."""
    async with asyncio.timeout(3 * PROMISED):
        while True:
            try:
                return await work()
            except StoreAway:
                await asyncio.sleep(0.05)


async def test_rows_that_a_vanished_receiver_has_locked_are_claimed(direct: Database) -> None:
    """Its machine says nothing any more, and its transaction is open."""
    statements, one = Statements(direct), delivery()
    async with connected(direct) as inbox:
        await keep(inbox, one, "a", lease=False)
        vanished = direct.connect()
        cursor = vanished.cursor()
        statements.begin(cursor)
        now = time.time()
        assert [queued.id for queued in statements.claim(cursor, most=10, at=now, until=now + 60)] == [one.id]
        assert await inbox.claim(10) == []
        async with asyncio.timeout(3 * PROMISED):
            while not (claimed := await inbox.claim(10)):
                await asyncio.sleep(0.05)
        assert [queued.id for queued in claimed] == [one.id]
    vanished.close()


@pytest.mark.parametrize("since", [TRANSACTION_TIMEOUT_SINCE, 10**9], ids=["today's", "one before 17"])
async def test_rows_that_a_vanished_receiver_has_written_are_let_go(
    direct: Database, monkeypatch: pytest.MonkeyPatch, since: int
) -> None:
    """Several statements in a pipeline end with a flush, which switches PostgreSQL's bound of idling off."""
    for module in (database_module, driver_module):
        monkeypatch.setattr(module, "TRANSACTION_TIMEOUT_SINCE", since)
    statements, ones = Statements(direct), [delivery("chain-1"), delivery("chain-2")]
    vanished = direct.connect()
    cursor = vanished.cursor()
    statements.begin(cursor)
    statements.insert(cursor, [{**to_row(one), "request_id": one.id} for one in ones])
    statements.conclude(cursor, [Conclusion(one.id, Fate.TAKEN) for one in ones], time.time())
    async with connected(direct) as inbox:
        assert await until_it_works(lambda: keep(inbox, delivery("chain-1"), ones[0].id)) is How.LEASED
    vanished.close()


async def test_a_mute_connection_is_dropped_and_another_made(proxied: Database, proxy: Proxy) -> None:
    one = delivery()
    async with connected(proxied) as inbox:
        proxy.mute()
        began = time.monotonic()
        assert await until_it_works(lambda: keep(inbox, one, "a")) is How.LEASED
        assert time.monotonic() - began < 3 * PROMISED
    assert [found.id for found in Archive(proxied).every()] == [one.id]


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_commit_that_is_not_answered_is_kept_once(proxied: Database, proxy: Proxy, *, arrives: bool) -> None:
    one, again = delivery(), delivery()
    async with connected(proxied) as inbox:
        proxy.mute_at(b"COMMIT", passed=arrives)
        assert await keep(inbox, one, "a") is How.LEASED, "the request that has kept it sends it"
        assert await keep(inbox, again, "a") is How.AGAIN
    found = {one.id: one for one in Archive(proxied).every()}
    assert {id_: (each.fate, each.duplicate_of) for id_, each in found.items()} == {
        one.id: (Fate.PENDING, ""),
        again.id: (Fate.NONE, one.id),
    }


async def test_a_backend_that_is_stuck_in_a_transaction_is_left_behind(direct: Database) -> None:
    stuck: list[int] = []

    def get_stuck(cursor: Any) -> None:
        if not stuck:
            stuck.append(cursor.execute("SELECT pg_backend_pid()").fetchone()[0])
            os.kill(stuck[0], signal.SIGSTOP)
        cursor.execute("SELECT 1")

    one = delivery()
    try:
        async with connected(direct) as inbox:
            blocking = asyncio.create_task(inbox._writer.do(get_stuck, within=None))
            while not stuck:
                await asyncio.sleep(0.01)
            assert await until_it_works(lambda: keep(inbox, one, "a")) is How.LEASED
            await asyncio.wait_for(blocking, 3 * PROMISED)
    finally:
        for pid in stuck:
            os.kill(pid, signal.SIGCONT)
    assert [found.id for found in Archive(direct).every()] == [one.id]


def test_a_reader_gives_up_on_a_mute_connection(proxied: Database, proxy: Proxy) -> None:
    assert list(Archive(proxied).every()) == []
    proxy.mute_at(b"FROM deliveries", passed=True)
    began = time.monotonic()
    with pytest.raises(StoreMute, match="not answered within 2 s"):
        list(Archive(proxied).every())
    assert time.monotonic() - began < 3 * PROMISED


@pytest.mark.system
async def test_a_store_that_stays_mute_is_asked_more_and_more_seldom(proxied: Database, proxy: Proxy) -> None:
    """Each connection that is left may hold a backend that the server cannot end."""
    async with connected(proxied) as inbox:
        proxy.mute_at(b"BEGIN", times=1000)
        with pytest.raises(StoreMute):
            await keep(inbox, delivery(), "a")
        made, began, refused = proxy.accepted, time.monotonic(), 0
        while time.monotonic() - began < 0.5:
            with pytest.raises(StoreAway, match="did not answer a moment ago"):
                await keep(inbox, delivery(), "a")
            refused += 1
            await asyncio.sleep(0.01)
        assert refused > 1, "at once, and not after the bound of each"
        assert proxy.accepted == made
        proxy.heal()
        assert await until_it_works(lambda: keep(inbox, delivery(), "a")) is How.LEASED


async def test_readiness_and_gauges_tell_that_the_store_is_mute(proxied: Database, proxy: Proxy) -> None:
    temporal, timing = Switchable(), replace(TIMING, query_timeout=BOUND / 2, finding_lasts=0.0)
    async with serving(temporal, store=Store(proxied), timing=timing) as http:

        async def shown() -> tuple[int, dict[str, Any], float]:
            ready = await http.get("/readyz")
            up = read((await http.get("/metrics")).text)[("stagehook_store_up",)]
            return ready.status_code, ready.json(), up

        async def until(wanted: tuple[int, dict[str, Any], float]) -> None:
            async with asyncio.timeout(3 * PROMISED):
                while await shown() != wanted:
                    await asyncio.sleep(0.05)

        await until((200, {"ready": True}, 1))
        proxy.mute_at(b"BEGIN", times=1000)
        await until((200, {"ready": True, "why": "the store is away"}, 0))
        temporal.there = False
        await until((503, {"ready": False, "why": "Temporal: no connection; the store is away"}, 0))
        proxy.heal()
        await until((200, {"ready": True}, 1))
