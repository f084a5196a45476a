"""Progress over its callback URL's budget is put off by an hour, and holds up no result."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from activities.store.database import Database
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Conclusion
from tests.parts.deliveries import delivery, queued
from tests.parts.waits import eventually
from tests.parts.webhooks import Listening, called, event, receiving, send
from workflows.durations import HOUR, MINUTE


async def test_a_result_does_not_wait_for_progress_that_is_put_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.budget.MOST_CALLBACKS_PER_URL", 22)  # two reports of progress, and the reserve
    temporal = Listening()
    async with receiving(database, temporal) as http:
        await called(database, 1)
        for n in range(4):
            assert (await send(http, event("w-1", "progress", n))).status_code == 202
        assert (await send(http, event("w-1", "succeeded", 4))).status_code == 202
        await eventually(lambda: ("run-1", 4) in temporal.heard)
    assert temporal.heard == [("run-1", 0), ("run-1", 1), ("run-1", 4)]


async def put_off(inbox: Inbox, *deliveries: Delivery, later: float = HOUR) -> list[str]:
    """Keep deliveries of one stage, the last of them due at once; those that are claimed then."""
    *first, last = deliveries
    for one in first:
        await inbox.keep(one, queued(one, one.id), lease=False, later=later)
    await inbox.keep(last, queued(last, last.id), lease=False)
    return [claimed.id for claimed in await inbox.claim(10)]


@pytest.mark.parametrize(("first", "last"), [("progress", "progress"), ("succeeded", "failed"), ("failed", "progress")])
async def test_what_is_put_off_holds_up_all_but_a_result(inbox: Inbox, first: str, last: str) -> None:
    assert await put_off(inbox, delivery(says=first), delivery(says=last)) == []


@pytest.mark.parametrize("says", ["progress", "ask"])
async def test_a_result_overtakes_only_what_is_put_off(inbox: Inbox, says: str) -> None:
    result = delivery(says="succeeded")
    assert await put_off(inbox, delivery(says=says), delivery(says=says), result) == [result.id]
    in_a_minute = delivery("chain-2", says=says), delivery("chain-2", says="succeeded")
    assert await put_off(inbox, *in_a_minute, later=MINUTE) == []


async def test_progress_that_is_tried_again_is_not_overtaken(inbox: Inbox) -> None:
    progress, result = delivery(says="progress"), delivery()
    await inbox.keep(progress, queued(progress, "a"), lease=True)
    inbox.conclude(Conclusion(progress.id, Fate.PENDING, "away", 1, due_at=time.time() + 2000))
    await inbox.flush()
    assert await put_off(inbox, result) == []


async def test_progress_that_has_become_due_is_sent_first(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    progress, result = delivery(says="progress"), replace(delivery(), received_at=now + HOUR)
    await inbox.keep(progress, queued(progress, "a"), lease=False, later=HOUR)
    monkeypatch.setattr(time, "time", lambda: now + HOUR + 1)
    assert await put_off(inbox, result) == [progress.id]


async def test_what_is_put_off_is_not_claimed_by_a_clock_behind(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = delivery(says="progress")
    await inbox.keep(progress, queued(progress, "a"), lease=False, later=HOUR)
    now = time.time()
    for behind in (1.0, 9 * MINUTE):
        monkeypatch.setattr(time, "time", lambda behind=behind: now - behind)
        assert await inbox.claim(10) == []
