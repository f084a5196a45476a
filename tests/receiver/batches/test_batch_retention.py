"""How long a request with several events is kept, and the calls that events are matched with."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
import sqlalchemy as sa

from activities.store.calls import KEPT_AFTER_EXPIRY, Calls
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.deliveries import retention
from receiver.deliveries.delivery import Fate
from receiver.deliveries.inbox import Inbox
from tests.parts import webhooks
from tests.parts.flawed_events import UNREADABLE
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    OTHER,
    Listening,
    batch,
    called,
    claims,
    event,
    kept,
    send,
    set_all,
    until_idle,
    verdicts,
)
from workflows.durations import DAY, HOUR


@pytest.mark.usefixtures("hurried")
async def test_only_a_request_with_a_parked_event_is_kept(
    http: httpx.AsyncClient, inbox: Inbox, database: Database
) -> None:
    await called(database, 1)
    await send(http, batch(event("w-1"), UNREADABLE))
    await until_idle(database)
    [parked] = [one for one in kept(database) if one.fate is Fate.PARKED]
    await send(http, batch(event("w-1", "progress")))
    await until_idle(database)
    set_all(database, received_at=time.time() - 40 * DAY)
    pruning = asyncio.create_task(retention.prune_for_ever(inbox, days=30))
    await eventually(lambda: {one.id for one in kept(database)} == {parked.part_of, parked.id})
    pruning.cancel()


async def test_a_request_is_kept_while_an_event_of_it_is_pending(
    http: httpx.AsyncClient, inbox: Inbox, database: Database
) -> None:
    """It may be parked again, and is then read again in the body of its request."""
    await called(database, 1)
    await send(http, batch(event("w-1"), UNREADABLE))
    await until_idle(database)
    set_all(database, received_at=time.time() - 40 * DAY)
    [parked] = [one for one in kept(database) if one.fate is Fate.PARKED]
    with database.begin() as connection:
        due = {"fate": "pending", "due_at": time.time() + DAY}
        connection.execute(sa.update(DELIVERIES).where(DELIVERIES.c.id == parked.id).values(due))
    await inbox.prune(time.time() - 30 * DAY, 100)
    assert {one.id for one in kept(database)} == {parked.part_of, parked.id}


@pytest.mark.usefixtures("hurried")
async def test_unmatched_events_are_kept_longer_than_refused_ones(
    http: httpx.AsyncClient, inbox: Inbox, database: Database, temporal: Listening
) -> None:
    await called(database, 1, answered=False)
    await send(http, batch(event("w-1"), event("w-2")))
    await send(http, batch(OTHER))
    await eventually(lambda: "ignored" in verdicts(database))
    set_all(database, received_at=time.time() - (retention.REFUSED_DAYS + 1) * DAY)
    pruning = asyncio.create_task(retention.prune_for_ever(inbox, days=30))
    await eventually(lambda: "ignored" not in verdicts(database))
    pruning.cancel()
    assert verdicts(database) == ["accepted", "unmatched", "unmatched"]
    await Calls(database).refer(claims(), "w-1")
    await eventually(lambda: temporal.heard == [("run-1", 1)])


@pytest.mark.usefixtures("hurried")
async def test_calls_are_kept_until_a_while_after_their_urls_expire(inbox: Inbox, database: Database) -> None:
    now, table = int(time.time()), Calls(database)
    for n, age in enumerate((-HOUR, HOUR, KEPT_AFTER_EXPIRY - HOUR, KEPT_AFTER_EXPIRY + HOUR)):
        await table.refer(claims(n, expires_at=int(now - age)), f"w-{n}")
    pruning = asyncio.create_task(retention.prune_for_ever(inbox, days=30))
    await eventually(lambda: webhooks.references(database) == ["w-0", "w-1", "w-2"])
    pruning.cancel()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVERY_SECONDS", "AFTER_FAILURE_SECONDS", "BREATH"):
        monkeypatch.setattr(retention, name, 0.05)
