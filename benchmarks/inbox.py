"""What the inbox is worth: deliveries kept a second by it, beside those of a plain transaction for each.

DATABASE_URL names another store than SQLite.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import sqlalchemy as sa

from activities.store import migrations
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from benchmarks.figures import Figure, Way, compared, interleaved
from receiver.deliveries.delivery import Delivery, digest, new_id
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Queued
from receiver.deliveries.rows import to_row

ROUNDS: Final = 5
SECONDS: Final = 1.0
CONNECTIONS: Final = (1, 32)
ONE_BY_ONE: Final = "a transaction for each"
BODY: Final = b'{"id": "w-1", "status": "succeeded", "data": {"account_id": "acc-1"}}' * 10

Keep = Callable[[Delivery], Awaitable[object]]


def delivery() -> Delivery:
    at = time.time()
    return Delivery(
        id=new_id(at),
        received_at=at,
        method="POST",
        target="/callbacks/{run/1/1}",
        headers=(("Content-Type", "application/json"), ("User-Agent", "a partner")),
        body=BODY,
        body_size=len(BODY),
        body_digest=digest(BODY),
        partner="bank",
        workflow_id="run",
        chain_id=uuid.uuid4().hex,
        stage=1,
        attempt=1,
        issued_at=1,
        expires_at=2,
        says="succeeded",
        verdict="accepted",
        status=202,
    )


@asynccontextmanager
async def grouped(database: Database) -> AsyncIterator[Keep]:
    """The inbox: one writer on the driver, everything that queued in one commit."""
    inbox = Inbox(database)

    async def keep(one: Delivery) -> object:
        assert one.claims is not None
        return await inbox.keep(one, Queued(one.id, one.claims, "{}", one.id), lease=True)

    async with inbox.running():
        yield keep


@asynccontextmanager
async def one_by_one(database: Database) -> AsyncIterator[Keep]:
    """What it is measured against: SQLAlchemy in a thread, on one connection, a commit for each."""
    turn = asyncio.Lock()

    with database.engine.connect() as connection:

        def insert(one: Delivery) -> None:
            with connection.begin():
                connection.execute(sa.insert(DELIVERIES).values(to_row(one)))

        async def keep(one: Delivery) -> None:
            async with turn:
                await asyncio.to_thread(insert, one)

        yield keep


async def rate(keep: Keep, connections: int) -> float:
    """Deliveries kept a second, by so many who wait for each of theirs."""
    done = 0
    end = time.monotonic() + SECONDS

    async def partner() -> None:
        nonlocal done
        while time.monotonic() < end:
            await keep(delivery())
            done += 1

    await asyncio.gather(*(partner() for _ in range(connections)))
    return done / SECONDS


async def measure(rounds: int = ROUNDS) -> list[Figure]:
    """Deliveries kept a second, by those who wait at once."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(os.environ.get("DATABASE_URL", f"sqlite:///{folder}/bench.db"))
        migrations.upgrade(database)
        async with grouped(database) as together, one_by_one(database) as alone:
            return [
                figure
                for connections in CONNECTIONS
                for figure in compared(
                    "inbox",
                    f"{connections} connections",
                    "deliveries kept",
                    "/s",
                    await interleaved(rounds, _ways(together, alone, connections)),
                    ONE_BY_ONE,
                )
            ]


def _ways(together: Keep, alone: Keep, connections: int) -> dict[str, Way]:
    return {ONE_BY_ONE: lambda: rate(alone, connections), "in groups": lambda: rate(together, connections)}
