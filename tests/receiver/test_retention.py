"""Retention: old deliveries go while the receiver runs, a few at a time, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from activities.store.calls import KEPT_AFTER_EXPIRY, Calls
from activities.store.database import Database
from activities.store.errors import StoreAway
from receiver.deliveries import archive as archive_module
from receiver.deliveries import retention
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queries import PRUNE_REFUSED
from receiver.deliveries.queue import Conclusion
from receiver.deliveries.retention import Pace, prune_for_ever
from receiver.deliveries.statements import Pruned
from receiver.sending.unmatched import signal_of
from tests.parts.callbacks import CLAIMS
from tests.parts.deliveries import delivery, keep
from tests.parts.doors import fate_of
from tests.parts.empty_stores import PostgresDatabases
from tests.parts.waits import eventually
from tests.stores import PATIENCE, PATIENT, url_of
from tests.support import SOON
from workflows.durations import DAY


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVERY_SECONDS", "AFTER_FAILURE_SECONDS", "BREATH"):
        monkeypatch.setattr(retention, name, 0.05)


@pytest.mark.usefixtures("hurried")
async def test_only_what_is_older_than_its_days_is_deleted(inbox: Inbox, database: Database) -> None:
    now = time.time()
    old = [delivery(f"chain-{n}", received_at=now - 8 * DAY) for n in range(3 * Pace().rows)]
    young = delivery(received_at=now - 6 * DAY)
    Archive(database).add([*old, young])
    pruning = asyncio.create_task(prune_for_ever(inbox, days=7))
    await eventually(lambda: [one.id for one in Archive(database).every()] == [young.id])
    pruning.cancel()


@pytest.mark.usefixtures("hurried")
async def test_refused_requests_are_deleted_after_a_week(inbox: Inbox, database: Database) -> None:
    week, month = retention.REFUSED_DAYS * DAY, 30 * DAY
    now = time.time()
    ages = {"of a week": week + 60, "younger": week - 60, "old": month + 60}
    verdicts = ("accepted", "duplicate", "broken", "unproven", "conflict", "gone")
    Archive(database).add(
        [
            delivery(id=f"{verdict} {age}", verdict=verdict, received_at=now - seconds)
            for verdict in verdicts
            for age, seconds in ages.items()
        ]
    )
    left = {f"{verdict} younger" for verdict in verdicts} | {f"{verdict} of a week" for verdict in verdicts[:3]}
    pruning = asyncio.create_task(prune_for_ever(inbox, days=30))
    await eventually(lambda: {one.id for one in Archive(database).every()} == left)
    pruning.cancel()


@pytest.mark.usefixtures("hurried")
async def test_a_call_is_known_for_a_while_after_its_url(inbox: Inbox, database: Database) -> None:
    """Its late events are answered as late, not as another system's."""
    now = int(time.time())
    ends = {"at-the-end": now - KEPT_AFTER_EXPIRY - 60, "in-the-while": now - KEPT_AFTER_EXPIRY + 3600}
    table = Calls(database)
    for reference, expires_at in ends.items():
        await table.refer(replace(CLAIMS, chain_id=reference, expires_at=int(expires_at)), reference)
    pruning = asyncio.create_task(prune_for_ever(inbox, days=7))
    known: set[str] = set(ends)
    async with asyncio.timeout(3 * SOON):
        while "at-the-end" in known:
            known = set((await inbox.find_calls("bank", list(ends), signal_of)).claims)
    pruning.cancel()
    assert known == {"in-the-while"}


async def test_a_call_whose_id_is_recorded_is_not_forgotten(inbox: Inbox, database: Database) -> None:
    """A try that was taken has recorded it; a later try that was refused must not lose its events."""
    table = Calls(database)
    for number in (1, 2):
        await table.begin(replace(CLAIMS, attempt=number))
    await table.refer(replace(CLAIMS, attempt=1), "w-1")
    for number in (1, 2):
        await table.forget(replace(CLAIMS, attempt=number))
    known = await inbox.find_calls("bank", ["w-1"], signal_of)
    assert (set(known.claims), known.is_waiting) == ({"w-1"}, False)


async def test_refused_requests_are_found_by_their_index(inbox: Inbox, database: Database) -> None:
    """However many deliveries are retained: this is asked in the transaction that callbacks wait for."""
    retained = [delivery(f"chain-{n}", received_at=1.0 + n) for n in range(300)]
    Archive(database).add([*retained, delivery(verdict="unproven", received_at=1.0)])
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "

    def plan(cursor: Any) -> str:
        if not database.is_sqlite:
            cursor.execute("ANALYZE deliveries")
            cursor.execute("SET LOCAL enable_seqscan = off")  # it would be cheaper for a few rows
        cursor.execute(explain + database.sql(PRUNE_REFUSED), {"before": 1000.0, "most": 50})
        return str(cursor.fetchall())

    assert "ix_deliveries_refused" in await inbox._writer.do(plan, within=PATIENCE)


def test_small_rows_are_deleted_fast_and_big_ones_gently() -> None:
    """Of rows that go at 20 us, 5,000 a second, pauses included; of rows that go at 10 ms, 100 ms at a time."""
    pace = Pace()
    seconds = deleted = 0.0
    for _ in range(20):
        pruned = Pruned(pace.rows, 2e-5 * pace.rows)
        seconds, deleted = (
            seconds + pruned.seconds + max(retention.BREATH, retention.PAUSES * pruned.seconds),
            deleted + pruned.rows,
        )
        pace.learn(pruned)
    assert deleted / seconds >= 5000
    for _ in range(20):
        pace.learn(Pruned(pace.rows, 0.01 * pace.rows))
    assert pace.rows == retention.FEWEST


@pytest.mark.usefixtures("hurried")
async def test_it_goes_on_after_the_store_was_away(
    inbox: Inbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    Archive(database).add([delivery(received_at=1.0)])
    prune, failures = inbox.prune, [StoreAway("away"), StoreAway("away")]

    async def failing_at_first(before: float, most: int, *, refused: bool = False) -> Pruned:
        if failures:
            raise failures.pop()
        return await prune(before, most, refused=refused)

    monkeypatch.setattr(inbox, "prune", failing_at_first)
    pruning = asyncio.create_task(prune_for_ever(inbox, days=7))
    await eventually(lambda: list(Archive(database).every()) == [])
    pruning.cancel()


@pytest.mark.usefixtures("unhurried_locks")
@pytest.mark.parametrize("refused", [False, True], ids=["all", "refused"])
async def test_what_another_process_queues_meanwhile_is_kept(
    postgres_databases: PostgresDatabases, *, refused: bool
) -> None:
    """PostgreSQL waits for the other transaction, and then looks at the row again."""
    with postgres_databases.lent() as database:
        old = delivery(received_at=1.0, verdict="gone" if refused else "accepted")
        inbox = Inbox(database, PATIENT)
        async with inbox.running():
            await keep(inbox, old, "a")
            inbox.conclude(Conclusion(old.id, Fate.REFUSED, "the run is finished"))
            await inbox.flush()
            with psycopg.connect(url_of(database).replace("+psycopg", "")) as other:
                other.execute("UPDATE deliveries SET fate = 'pending', due_at = 1")
                pruning = asyncio.create_task(inbox.prune(100.0, 10, refused=refused))
                await eventually(lambda: waits_for_a_lock(other))
                other.commit()
            assert (await pruning).rows == 0
        assert fate_of(database, old) is Fate.PENDING


def waits_for_a_lock(connection: psycopg.Connection[tuple[int]]) -> bool:
    found = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return found != (0,)


@pytest.mark.usefixtures("unhurried_locks")
@pytest.mark.parametrize("refused", [False, True], ids=["all", "refused"])
async def test_a_command_goes_on_where_a_receiver_was_faster(
    postgres_databases: PostgresDatabases, monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    """Both have chosen the same rows. The command waits, finds them deleted, and looks for more."""
    monkeypatch.setattr(archive_module, "PAGE", 2)
    with postgres_databases.lent() as database:
        archive, verdict = Archive(database), "gone" if refused else "accepted"
        archive.add([delivery(received_at=float(n), verdict=verdict) for n in range(1, 7)])
        with psycopg.connect(url_of(database).replace("+psycopg", "")) as other:
            other.execute("DELETE FROM deliveries WHERE received_at <= 2")
            pruning = asyncio.create_task(asyncio.to_thread(archive.prune, 100.0, refused=refused))
            await eventually(lambda: waits_for_a_lock(other))
            other.commit()
        assert (await pruning, list(archive.every())) == (4, [])
