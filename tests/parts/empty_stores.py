"""Stores with this version's tables and no rows: made once in a test process, then copied or emptied.

A new database and its migrations take PostgreSQL and Alembic more CPU than most tests take.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from activities.store import migrations
from activities.store.database import Database
from activities.store.schema import METADATA

if TYPE_CHECKING:
    from tests.stores import Postgres

SHAPE = """
SELECT (SELECT string_agg(concat_ws(' ', c.relname, c.relkind, a.attname, a.atttypid, a.attnotnull, a.attisdropped),
                          ',' ORDER BY c.relname, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace),
       (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = d.oid),
       (SELECT count(*) FROM pg_trigger) + (SELECT count(*) FROM pg_rewrite) + (SELECT count(*) FROM pg_proc),
       (SELECT string_agg(version_num, ' ') FROM alembic_version)
FROM pg_database d WHERE datname = current_database()
"""
"""Everything that a test may have changed about a database, besides its rows."""


class SQLiteFiles:
    """Copies of one file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "empty.db"
        database = Database(f"sqlite:///{self._file}")
        migrations.upgrade(database)
        database.engine.dispose()

    def copy(self, folder: Path) -> Database:
        """A store of its own in this folder."""
        copy = Path(shutil.copy(self._file, folder / "deliveries.db"))
        return Database(f"sqlite:///{copy}")


class PostgresDatabases:
    """Databases of a server that tests use one after another; one whose shape a test has changed is used no more."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._free: list[str] = []
        self._shape: object = None

    @contextmanager
    def lent(self) -> Iterator[Database]:
        """A database of its own inside the block."""
        url = self._free.pop() if self._free else self._new()
        yield Database(url)
        if self._is_emptied(url):
            self._free.append(url)

    def _new(self) -> str:
        url = self._server.new_database()
        migrations.upgrade(Database(url))
        with _connected(url) as connection:
            self._shape = connection.execute(SHAPE).fetchone()
        return url

    def _is_emptied(self, url: str) -> bool:
        with _connected(url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
            if connection.execute(SHAPE).fetchone() != self._shape:
                return False
            connection.execute(f"TRUNCATE {', '.join(METADATA.tables)} RESTART IDENTITY")
            return True


def _connected(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url.replace("postgres://", "postgresql://"), autocommit=True)
