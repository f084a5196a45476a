"""What the store costs beside many rows: PostgreSQL's statements of the hot path, in a small store and a large one.

Then the rows that retention deletes a second while callbacks are kept, and the bytes that a delivery of 1 KiB and 15
headers with its fate costs in WAL, without full-page images, and on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPICursor

from activities.store import migrations
from activities.store.database import Database
from benchmarks.figures import Figure, compared
from benchmarks.inbox import delivery
from receiver.deliveries import retention
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate, digest
from receiver.deliveries.filters import Filters
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Conclusion, Queued
from receiver.deliveries.statements import Statements
from tests.stores import Postgres
from workflows.contract import Answer, Callback
from workflows.durations import DAY

KEPT: Final = 400_000
PENDING: Final = 100_000
SMALL: Final = 1000
ROUNDS: Final = 5
LOGGED: Final = 500
TOGETHER: Final = 32
PARTNERS: Final = 8
SECONDS: Final = 10.0

FILL: Final = """
    INSERT INTO deliveries (
        id, received_at, method, target, headers, body, body_size, body_digest, client, partner, pipeline, definition,
        workflow_id, chain_id, stage, attempt, issued_at, expires_at, signed_id, says, verdict, reason, status, fate,
        fate_reason, fate_at, tries, duplicate_of, request_id, callback, due_at)
    SELECT lpad(to_hex(n), 12, '0') || left(md5(n::text), 8), :first + n * :apart, 'POST', '/callbacks/', '[]', '{}', 2,
        md5(n::text), '',
        'bank', 'onboarding', '', 'run-' || n / 2, md5((n / 2)::text), 1 + n % 2, 1, 1, 2, '', 'succeeded',
        CASE WHEN n % 50 = 0 AND NOT :queued THEN 'unproven' ELSE 'accepted' END, '', 202,
        CASE WHEN :queued THEN 'pending' WHEN n % 1001 = 0 THEN 'parked' ELSE 'taken' END, '',
        CASE WHEN :queued THEN 0 ELSE :first + n * :apart END, 0, '', md5(n::text), '{}',
        CASE WHEN :queued THEN :first + n * :apart + CASE WHEN n % 2 = 0 THEN 4200 ELSE 0 END END
    FROM generate_series(CAST(:begin AS bigint), CAST(:end AS bigint)) AS n
"""


SIZES: Final = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, pg_total_relation_size('deliveries')"
WANTED_WAL: Final = 3000.0
IN_SMALL: Final = "a small store"


def fill(database: Database, kept: int, pending: int) -> None:
    """Fill an empty store: `kept` rows of the last 30 days, and `pending` ones of the last hour; half of these are put
    off."""
    first, apart = time.time() - 30 * DAY, 29.9 * DAY / kept
    with database.begin(within=600) as connection:
        connection.execute(sa.text(FILL), {"begin": 1, "end": kept, "first": first, "apart": apart, "queued": False})
        late = {"first": time.time() - 3600, "apart": 3e-4 / pending, "queued": True}
        connection.execute(sa.text(FILL), {"begin": kept + 1, "end": kept + pending, **late})
        connection.execute(sa.text("ANALYZE deliveries"))


@contextmanager
def server() -> Iterator[Postgres]:
    """A PostgreSQL server of its own that writes no full-page images, so that a delivery's WAL can be counted."""
    with tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(Path(folder) / "postgres")
        try:
            with psycopg.connect(postgres.uri, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET full_page_writes = off")
                connection.execute("SELECT pg_reload_conf()")
            yield postgres
        finally:
            postgres.end()


def new_store(postgres: Postgres) -> Database:
    database = Database(postgres.new_database())
    migrations.upgrade(database)
    return database


def queued(one: Delivery) -> Queued:
    assert one.claims is not None
    return Queued(one.id, one.claims, json.dumps({"status": "succeeded", "data": {}}), digest(one.id.encode()))


def statements(database: Database) -> dict[str, Callable[[DBAPICursor], object]]:
    """The statements of the hot path, each as a function of the cursor."""
    do, now = Statements(database), time.time()
    new = [queued(delivery()) for _ in range(32)]
    return {
        "look up 32 contents": lambda cursor: do.look(cursor, new),
        "claim 64": lambda cursor: do.claim(cursor, most=64, at=now, until=now + 30),
        "readiness": do.check,
        "gauges": do.depth,
        "delete 50": lambda cursor: do.prune(cursor, now - 29.5 * DAY, 50),
        "delete 50 refused": lambda cursor: do.prune(cursor, now - 29 * DAY, 50, refused=True),
    }


def lists(database: Database) -> dict[str, Callable[[], object]]:
    """An operator's lists."""
    archive = Archive(database)
    filters = {"all": Filters(), "parked": Filters(fate="parked"), "of a run": Filters(workflow="run-7")}
    id_ = f"{7:012x}{hashlib.md5(b'7').hexdigest()[:8]}"
    ids = {"one": lambda: archive.get(id_), "one by a prefix": lambda: archive.get(id_[:14])}
    return ids | {f"list {name}": partial(archive.latest, one) for name, one in filters.items()}


def least(do: Callable[[], object]) -> float:
    """Milliseconds."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        do()
        found.append(time.perf_counter() - began)
    return 1000 * min(found)


def costs(database: Database) -> dict[str, float]:
    """Milliseconds of each statement and list. What the statements write is rolled back."""
    connection: Any = database.connect()
    begin = Statements(database).begin
    found = {}
    for name, statement in statements(database).items():

        def once(statement: Callable[[DBAPICursor], object] = statement) -> None:
            cursor = connection.cursor()
            begin(cursor)
            statement(cursor)
            cursor.execute("ROLLBACK")

        found[name] = least(once)
    connection.close()
    return found | {name: least(do) for name, do in lists(database).items()}


async def deleted_beside_traffic(database: Database) -> tuple[float, float, float]:
    """Rows deleted a second by retention, and the callbacks kept a second before and meanwhile."""
    inbox, kept, stop = Inbox(database), 0, False

    async def partner() -> None:
        nonlocal kept
        while not stop:
            await inbox.keep(one := delivery(), queued(one), lease=True)
            inbox.conclude(Conclusion(one.id, Fate.TAKEN))
            kept += 1

    async with inbox.running():
        partners = [asyncio.create_task(partner()) for _ in range(PARTNERS)]
        await asyncio.sleep(SECONDS / 2)
        alone, began = kept / (SECONDS / 2), time.monotonic()
        deleted = await retention._until_done(partial(inbox.prune, time.time() - 10 * DAY))
        took = time.monotonic() - began
        beside = (kept - alone * SECONDS / 2) / took
        stop = True
        await asyncio.gather(*partners)
    return deleted / took, alone, beside


class Written(NamedTuple):
    """Bytes that a delivery takes."""

    wal: float
    disk: float


async def written(database: Database, *, packs: bool, at_once: int = 1) -> Written:
    """Bytes of WAL and on disk for a delivery with a body of 1 KiB and 15 headers, and its fate; `at_once` together."""
    inbox = Inbox(database, packs=packs)

    def sizes() -> tuple[float, float]:
        with database.begin() as connection:
            wal, disk = connection.execute(sa.text(SIZES)).one()
            return float(wal), float(disk)

    async def partner(deliveries: int) -> None:
        for _ in range(deliveries):
            one, callback = a_kibibyte()
            await inbox.keep(one, replace(queued(one), callback=callback), lease=True)
            inbox.conclude(Conclusion(one.id, Fate.TAKEN))

    async with inbox.running():
        await partner(1)
        await inbox.depth()
        began = sizes()
        await asyncio.gather(*(partner(LOGGED // at_once) for _ in range(at_once)))
        await inbox.depth()
        wal, disk = (now - before for now, before in zip(sizes(), began, strict=True))
        number = LOGGED // at_once * at_once
        return Written(wal / number, disk / number)


def a_kibibyte() -> tuple[Delivery, str]:
    """A delivery with a body of 1 KiB and 15 headers, and its callback, as JSON."""
    headers = tuple((f"X-Header-{n}", uuid.uuid4().hex[:20]) for n in range(15))
    data = {f"field-{m}": uuid.uuid4().hex[:24] for m in range(24)}
    body = json.dumps({"data": data}).ljust(1024).encode()
    one = replace(delivery(), headers=headers, body=body, body_size=len(body), body_digest=digest(body))
    callback = Callback(Answer("succeeded", data), one.chain_id, one.attempt, one.issued_at)
    return one, json.dumps(asdict(callback))


async def measure() -> list[Figure]:
    """Milliseconds of each statement, rows deleted a second, and bytes for a delivery."""
    with server() as postgres:
        small, packing, large = (new_store(postgres) for _ in range(3))
        for database in (small, packing):
            await asyncio.to_thread(fill, database, SMALL, SMALL)
        plain, packed = await written(small, packs=False), await written(packing, packs=True)
        together = {"plain": await written(small, packs=False, at_once=TOGETHER)}
        together["packed"] = await written(packing, packs=True, at_once=TOGETHER)
        await asyncio.to_thread(fill, large, KEPT, PENDING)
        few, many = await asyncio.to_thread(costs, small), await asyncio.to_thread(costs, large)
        deleted, alone, beside = await deleted_beside_traffic(large)
        for database in (small, packing, large):
            database.engine.dispose()
    rows = f"{(KEPT + PENDING) // 1000:,} thousand rows"
    traffic = {"without deleting": alone, "beside deleting": beside}
    return [
        *(figure for name in few for figure in _statement(name, {IN_SMALL: few[name], rows: many[name]})),
        Figure("volume", "retention", "beside traffic", "rows deleted", deleted, "/s"),
        *compared("volume", "retention", "deliveries kept", "/s", traffic, "without deleting"),
        Figure("volume", "a delivery", "plain", "WAL", plain.wal, "B"),
        Figure("volume", "a delivery", "packed", "WAL", packed.wal, "B", wanted=WANTED_WAL),
        *compared("volume", "a delivery", "disk", "B", {"plain": plain.disk, "packed": packed.disk}, "plain"),
        *(Figure("volume", f"{TOGETHER} deliveries", name, "WAL", one.wal, "B") for name, one in together.items()),
    ]


def _statement(name: str, values: Mapping[str, float]) -> list[Figure]:
    return compared("volume", name, "time", "ms", values, IN_SMALL)
