"""A store that is only read: nothing is written through it, and no query of it lasts."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from activities.store.database import CLIENT_GRACE, Database
from activities.store.errors import StoreAway, StoreSlow
from activities.store.read_only import READERS_AT_ONCE, ReadOnlyDatabase
from receiver.deliveries.archive import Archive
from tests.parts.deliveries import delivery

pytestmark = pytest.mark.system

LIMIT = 0.3
"""Seconds of a query here."""

ENDLESS = {
    True: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    False: "SELECT pg_sleep(60)",
}
"""By whether the store is SQLite's."""


def reader(database: Database, seconds: float = LIMIT) -> ReadOnlyDatabase:
    return ReadOnlyDatabase(database.url, seconds=seconds)


def run(database: Database, query: str) -> None:
    with database.begin() as connection:
        connection.execute(sa.text(query))


def test_it_reads_what_is_there(database: Database) -> None:
    Archive(database).add([delivery("chain")])
    assert len(Archive(reader(database)).latest()) == 1


@pytest.mark.parametrize("statement", ["DELETE FROM deliveries", "CREATE TABLE more (x int)", "DROP TABLE calls"])
def test_it_refuses_to_write(statement: str, database: Database) -> None:
    Archive(database).add([delivery("chain")])
    with pytest.raises(StoreAway, match=r"read.?only"):
        run(reader(database), statement)
    assert len(Archive(database).latest()) == 1


def test_it_ends_a_query_that_takes_too_long(database: Database) -> None:
    began = time.monotonic()
    with pytest.raises(StoreSlow):
        run(reader(database), ENDLESS[database.is_sqlite])
    assert time.monotonic() - began < 3 * (LIMIT + CLIENT_GRACE)


def test_it_can_be_read_again_after_such_a_query(database: Database) -> None:
    pages = reader(database)
    with pytest.raises(StoreSlow):
        run(pages, ENDLESS[database.is_sqlite])
    assert Archive(pages).latest() == []


def test_it_has_few_connections_and_waits_for_one(database: Database) -> None:
    pages = reader(database)
    done, held = threading.Event(), threading.Barrier(READERS_AT_ONCE + 1)

    def hold() -> None:
        with contextlib.suppress(StoreSlow), pages.begin():  # PostgreSQL ends the transaction meanwhile
            held.wait(30)
            done.wait(30)

    holders = [threading.Thread(target=hold) for _ in range(READERS_AT_ONCE)]
    for holder in holders:
        holder.start()
    held.wait(30)
    with pytest.raises(StoreSlow, match="other queries"):
        Archive(pages).latest()
    done.set()
    for holder in holders:
        holder.join()
    assert Archive(pages).latest() == []


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    file = tmp_path / "what? #1%.db"
    with pytest.raises(StoreAway):
        Archive(ReadOnlyDatabase(f"sqlite:///{file}", seconds=LIMIT)).latest()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_any_name_is_read(tmp_path: Path) -> None:
    file = tmp_path / "what? #1%.db"
    url = sa.engine.URL.create("sqlite", database=str(file))
    run(Database(url), "CREATE TABLE deliveries (id text)")
    run(ReadOnlyDatabase(url, seconds=LIMIT), "SELECT id FROM deliveries")
