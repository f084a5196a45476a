"""Retention: old deliveries go while the receiver runs, a few at a time, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest

from receiver.deliveries import retention, statements
from receiver.deliveries.archive import Archive
from receiver.deliveries.database import Database, StoreAway
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.retention import prune_for_ever
from tests.receiver.test_forwarder import eventually
from tests.receiver.test_inbox import delivery


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVERY_SECONDS", "AFTER_FAILURE", "BREATH"):
        monkeypatch.setattr(retention, name, 0.05)


@pytest.mark.usefixtures("hurried")
async def test_what_is_older_than_its_days_is_deleted_and_the_rest_stays(inbox: Inbox, database: Database) -> None:
    now = time.time()
    old = [delivery(f"chain-{n}", received_at=now - 8 * retention.DAY) for n in range(3 * statements.PRUNED_TOGETHER)]
    young = delivery(received_at=now - 6 * retention.DAY)
    Archive(database).add([*old, young])
    pruning = asyncio.create_task(prune_for_ever(inbox, days=7))
    await eventually(lambda: [one.id for one in Archive(database).every()] == [young.id])
    pruning.cancel()


@pytest.mark.usefixtures("hurried")
async def test_it_goes_on_after_the_store_was_away(
    inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    Archive(database).add([delivery(received_at=1.0)])
    prune, failures = inbox.prune, [StoreAway("away"), StoreAway("away")]

    async def failing_at_first(before: float) -> int:
        if failures:
            raise failures.pop()
        return await prune(before)

    monkeypatch.setattr(inbox, "prune", failing_at_first)
    pruning = asyncio.create_task(prune_for_ever(inbox, days=7))
    await eventually(lambda: list(Archive(database).every()) == [])
    pruning.cancel()
