"""The queue on both stores: what is due, to whom, in which order, how much there is of it, and what it costs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import sqlalchemy as sa

from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.deliveries import statements as statements_module
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.judging import How
from receiver.deliveries.queries import CHECK_WRITABLE, CLAIM, DEPTH
from receiver.deliveries.queue import Conclusion
from receiver.deliveries.statements import FURTHEST, Statements
from tests.parts.deliveries import delivery, keep, queued
from tests.parts.volumes import fill, read_of
from tests.stores import PATIENCE, PATIENT, timed


async def test_of_a_stage_only_the_oldest_is_sent(inbox: Inbox) -> None:
    first, second, elsewhere = delivery(), delivery(), delivery(stage=2)
    kept = [await keep(inbox, one, one.id) for one in (first, second, elsewhere)]
    assert kept == [How.LEASED, How.QUEUED, How.LEASED]
    assert await inbox.claim(10) == []
    inbox.conclude(Conclusion(first.id, Fate.TAKEN))
    assert [queued.id for queued in await inbox.claim(10)] == [second.id]
    assert await inbox.claim(10) == []


@timed(lease=0.1)
async def test_a_lease_runs_out(inbox: Inbox) -> None:
    one = delivery()
    await keep(inbox, one, "a")
    await asyncio.sleep(0.15)
    (claimed,) = await inbox.claim(10)
    assert (claimed.id, claimed.claims, claimed.callback) == (one.id, one.claims, queued(one, "").callback)


@pytest.mark.usefixtures("unhurried_locks")
async def test_two_processes_claim_nothing_twice(database: Database) -> None:
    one, other = Inbox(database, PATIENT), Inbox(database, PATIENT)
    async with one.running(), other.running():
        await asyncio.gather(*(keep(one, delivery(f"chain-{n}"), str(n), lease=False) for n in range(60)))
        claims = await asyncio.gather(*(where.claim(7) for _ in range(6) for where in (one, other)))
    ids = [queued.id for claim in claims for queued in claim]
    assert len(ids) == len(set(ids)) == 60


async def test_what_is_put_off_falls_due_later(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    one = delivery()
    await keep(inbox, one, "a")
    due_at = time.time() + 600
    inbox.conclude(Conclusion(one.id, Fate.PENDING, "away", 3, due_at=due_at))
    assert await inbox.claim(10) == []
    monkeypatch.setattr("receiver.deliveries.inbox.time.time", lambda: due_at)
    assert [queued.tries for queued in await inbox.claim(10)] == [3]


async def test_every_other_claim_begins_with_what_fell_due_last(inbox: Inbox) -> None:
    """Beside a queue of an hour, what arrives now does not wait for an hour."""
    ones = [delivery(f"chain-{n}") for n in range(6)]
    for one in ones:
        await keep(inbox, one, one.id, lease=False)
    claimed = [{queued.id for queued in await inbox.claim(2)} for _ in range(3)]
    ids = [one.id for one in ones]
    assert claimed == [set(ids[:2]), set(ids[4:]), set(ids[2:4])]


async def test_the_newest_of_a_stage_is_not_sent_first(inbox: Inbox) -> None:
    first, second = delivery(), delivery()
    for one in (first, second):
        await keep(inbox, one, one.id, lease=False)
    assert await inbox.claim(0) == []
    assert [queued.id for queued in await inbox.claim(1)] == [first.id], "also by a claim that begins with the newest"


async def test_nothing_is_claimed_where_there_is_no_room(inbox: Inbox) -> None:
    await keep(inbox, delivery(), "a", lease=False)
    assert await inbox.claim(0) == []


@pytest.mark.parametrize("stages", [12_000, 20])
async def test_a_backlog_is_claimed_as_quickly_as_it_was_unexpected(
    inbox: Inbox, database: Database, stages: int
) -> None:
    """What a database has learnt of its queue in quiet times is that there is none."""
    fill(database, 12_000, stages, callback="{}")
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    with database.begin() as connection:
        connection.execute(
            sa.update(DELIVERIES).where(DELIVERIES.c.request_id.cast(sa.Integer) < 6_000).values(due_at=1.0)
        )
    took = []
    for _ in range(3):
        began = time.monotonic()
        claimed = await inbox.claim(64)
        took.append(time.monotonic() - began)
        assert len(claimed) == min(64, stages)
        for one in claimed:
            inbox.conclude(Conclusion(one.id, Fate.TAKEN))
    assert max(took) < PATIENCE, "callbacks wait for it"
    plan = await inbox._writer.do(lambda cursor: plan_of_a_claim(inbox, cursor), within=PATIENCE)
    assert "ix_deliveries_line" in plan


def plan_of_a_claim(inbox: Inbox, cursor: Any) -> str:
    moments = dict.fromkeys(("since", "before", "until"), time.time())
    return plan_of(inbox, cursor, CLAIM, {"most": 10, **moments})


def plan_of(inbox: Inbox, cursor: Any, query: str, parameters: dict[str, Any]) -> str:
    explain = "EXPLAIN QUERY PLAN " if inbox._statements._is_sqlite else "EXPLAIN "
    cursor.execute(explain + inbox._statements._driver.sql(query), parameters)
    return str(cursor.fetchall())


async def test_the_queue_is_read_by_its_index_however_much_is_retained(inbox: Inbox, database: Database) -> None:
    def plans(cursor: Any) -> str:
        if not database.is_sqlite:
            cursor.execute("SET LOCAL enable_seqscan = off")
        depth = plan_of(inbox, cursor, DEPTH, {"most": 10_000, "among": 100})
        return plan_of_a_claim(inbox, cursor) + depth

    shown = await inbox._writer.do(plans, within=PATIENCE)
    assert shown.count("ix_deliveries_due") + shown.count("ix_deliveries_queued") == 3
    assert shown.count("ix_deliveries_line") == 1
    assert "ix_deliveries_parked" in shown
    assert "SCAN deliveries'" not in shown


@pytest.mark.parametrize("fate", [Fate.PENDING, Fate.PARKED])
async def test_gauges_readiness_and_claims_read_as_much_of_any_queue(
    database: Database, monkeypatch: pytest.MonkeyPatch, fate: Fate
) -> None:
    """With every delivery in it, as after a long outage."""
    if database.is_sqlite:
        pytest.skip("it does not tell how many rows a plan has read")
    monkeypatch.setattr(statements_module, "MOST_COUNTED", 200)
    fill(database, 3_000, 3_000, fate=fate.value, callback="{}", due_at=1.0 if fate is Fate.PENDING else None)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    statements, moments = Statements(database), {"since": 0.0, "before": time.time(), "until": 2.0}
    counted = {"most": statements_module.MOST_COUNTED, "among": statements_module.OLDEST_AMONG}
    asked = [(DEPTH, counted), (CHECK_WRITABLE, {}), (CLAIM, {"most": 10, **moments})]
    reader = database.connect()
    cursor: Any = reader.cursor()
    statements.begin(cursor)
    read = []
    for query, parameters in asked:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + database.sql(query), parameters)
        read.append(read_of(cursor.fetchone()[0][0]["Plan"]))
    depth = statements.depth(cursor)
    reader.close()
    assert read[0] <= 200 + statements_module.OLDEST_AMONG
    assert read[1] == 0
    assert read[2] <= 40
    assert (depth.pending, depth.parked) == ((200, 0) if fate is Fate.PENDING else (0, 200))


async def test_a_long_queue_is_counted_up_to_a_bound(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements_module, "MOST_COUNTED", 3)
    inbox, ones = Inbox(database, PATIENT), [delivery(f"chain-{n}", received_at=100.0 + n) for n in range(10)]
    async with inbox.running():
        for one in ones:
            await keep(inbox, one, one.id)
        for one in ones[:5]:
            inbox.conclude(Conclusion(one.id, Fate.PARKED, "no"))
        depth = await inbox.depth()
    assert (depth.pending, depth.oldest, depth.parked) == (3, 105.0, 3)


async def test_the_queue_is_counted(inbox: Inbox) -> None:
    ones = [delivery(f"chain-{n}", received_at=100.0 + n) for n in range(3)]
    for one in ones:
        await keep(inbox, one, one.id)
    inbox.note(delivery())
    inbox.conclude(Conclusion(ones[0].id, Fate.TAKEN))
    inbox.conclude(Conclusion(ones[1].id, Fate.PARKED, "no"))
    depth = await inbox.depth()
    assert (depth.pending, depth.oldest, depth.parked) == (1, 102.0, 1)


async def test_pending_and_parked_deliveries_are_never_pruned(inbox: Inbox, database: Database) -> None:
    pending, parked, taken, refused = (delivery(f"chain-{n}", received_at=1.0) for n in range(4))
    for one in (pending, parked, taken):
        await keep(inbox, one, one.id)
    inbox.note(refused)
    inbox.conclude(Conclusion(parked.id, Fate.PARKED, "no"))
    inbox.conclude(Conclusion(taken.id, Fate.TAKEN))
    assert (await inbox.prune(time.time(), 50)).rows == 2
    imported = delivery(received_at=1.0, fate=Fate.PARKED)
    Archive(database).add([imported])
    assert (await inbox.depth()).parked == 1
    assert (await inbox.prune(time.time(), 50)).rows == 1
    assert {left.id for left in Archive(database).every()} == {pending.id, parked.id}


async def test_what_a_clock_that_was_ahead_has_put_off_is_due(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    one, now = delivery(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + FURTHEST)
    await keep(inbox, one, "a")
    assert await inbox.claim(10) == []
    monkeypatch.setattr(time, "time", lambda: now)
    assert [queued.id for queued in await inbox.claim(10)] == [one.id]


async def test_what_a_wrong_clock_put_off_does_not_wait_for_quiet(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be something due at each claim for hours."""
    one, now = delivery(), time.time()
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now + FURTHEST + 1)
        await keep(inbox, one, "a")
    await keep(inbox, due := delivery("chain-2"), "b", lease=False)
    assert [queued.id for queued in await inbox.claim(1)] == [due.id]
    await keep(inbox, due := delivery("chain-3"), "c", lease=False)
    assert {queued.id for queued in await inbox.claim(2)} == {one.id, due.id}


@timed(resend_pause=0.0)
async def test_what_is_queued_anew_is_as_old_as_that(inbox: Inbox) -> None:
    weeks_ago = time.time() - 20 * 86_400
    await keep(inbox, old := delivery(received_at=weeks_ago), "a")
    assert (await inbox.depth()).oldest == weeks_ago
    inbox.conclude(Conclusion(old.id, Fate.TAKEN))
    await keep(inbox, delivery(), "a")
    depth = await inbox.depth()
    assert (depth.pending, time.time() - depth.oldest < 60) == (1, True)


async def test_a_failing_try_makes_no_delivery_younger(inbox: Inbox) -> None:
    one = delivery()
    await keep(inbox, one, "a")
    inbox.conclude(Conclusion(one.id, Fate.PENDING, "away", 1, due_at=time.time()))
    assert (await inbox.depth()).oldest == one.received_at
