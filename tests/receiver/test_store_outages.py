"""The inbox when its store is away: without tables, locked, full, removed, replaced or silent."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from activities.store import migrations
from activities.store.database import Database
from activities.store.errors import SchemaMissing, StoreAway
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import digest
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.judging import How
from receiver.timing import DEFAULT_TIMING
from tests.parts.deliveries import delivery, keep
from tests.parts.hanging import Hanging
from tests.stores import FOR_EVER, PATIENT


async def test_a_store_without_tables_is_away_and_says_what_is_missing(empty_database: Database) -> None:
    inbox = Inbox(empty_database, PATIENT)
    async with inbox.running():
        with pytest.raises(SchemaMissing, match="no tables of this version"):
            await keep(inbox, delivery(), "a")
        migrations.upgrade(empty_database)
        assert await keep(inbox, delivery(), "a") is How.LEASED


async def test_a_locked_store_is_away_and_comes_back(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/deliveries.db")
    migrations.upgrade(database)
    inbox = Inbox(database, PATIENT)
    other = sqlite3.connect(tmp_path / "deliveries.db", isolation_level=None)
    async with inbox.running():
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAway, match="locked"):
            await keep(inbox, delivery(), "a")
        other.execute("COMMIT")
        assert await keep(inbox, delivery(), "a") is How.LEASED
    other.close()


def remove(folder: Path, pattern: str) -> None:
    for file in folder.glob(pattern):
        file.unlink()


async def test_a_file_that_is_removed_is_not_written_on(tmp_path: Path) -> None:
    """An open file outlives its name: what was kept in it would be answered 202 and lost."""
    database = Database(f"sqlite:///{tmp_path}/deliveries.db")
    migrations.upgrade(database)
    inbox, later = Inbox(database, PATIENT), delivery()
    async with inbox.running():
        assert await keep(inbox, delivery(), "a") is How.LEASED
        remove(tmp_path, "deliveries.db*")
        with pytest.raises(StoreAway, match="removed or replaced"):
            await keep(inbox, delivery(), "b")
        with pytest.raises(SchemaMissing):
            await keep(inbox, delivery(), "b")
        migrations.upgrade(database)
        assert await keep(inbox, later, "b") is How.LEASED
    assert [one.id for one in Archive(database).every()] == [later.id]


async def test_a_file_that_is_replaced_is_the_one_that_is_written(tmp_path: Path) -> None:
    database, restored = (Database(f"sqlite:///{tmp_path / name}") for name in ("deliveries.db", "restored.db"))
    for one in (database, restored):
        migrations.upgrade(one)
    inbox, later = Inbox(database, PATIENT), delivery("chain-2")
    async with inbox.running():
        await keep(inbox, delivery(), "a")
        remove(tmp_path, "deliveries.db*")
        (tmp_path / "restored.db").rename(tmp_path / "deliveries.db")
        assert await keep(inbox, later, "b") is How.LEASED
    assert [one.id for one in Archive(database).every()] == [later.id]


async def test_a_full_store_is_away_and_comes_back(tmp_path: Path) -> None:
    """SQLite's own limit stands for the disk's: it raises the same error."""
    database = Database(f"sqlite:///{tmp_path}/deliveries.db")
    migrations.upgrade(database)

    def limit(connection: Any, record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    body = bytes(100_000)
    big = delivery("chain-2", body=body, body_size=len(body), body_digest=digest(body))
    sa.event.listen(database.engine, "connect", limit)
    inbox = Inbox(database, PATIENT)
    async with inbox.running():
        with pytest.raises(StoreAway, match="full"):
            await keep(inbox, big, "b")
        sa.event.remove(database.engine, "connect", limit)
        assert await keep(inbox, big, "b") is How.LEASED


async def test_a_store_that_does_not_answer_is_given_up_in_time(tmp_path: Path) -> None:
    """A table that somebody has locked lets every statement wait without end."""
    inbox, hanging = Inbox(Database(f"sqlite:///{tmp_path}/deliveries.db")), Hanging()
    migrations.upgrade(Database(f"sqlite:///{tmp_path}/deliveries.db"))
    async with inbox.running():
        blocking = asyncio.create_task(inbox._writer.do(hanging, within=FOR_EVER))
        await hanging.begun.wait()
        began = time.monotonic()
        with pytest.raises(StoreAway, match="no commit within"):
            await keep(inbox, delivery(), "a")
        assert time.monotonic() - began < 3 * DEFAULT_TIMING.commit_timeout
        with pytest.raises(StoreAway, match="no commit within"):
            await inbox._writer.do(Hanging(), within=0.01)
        hanging.release()
        await blocking
