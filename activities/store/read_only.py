"""ReadOnlyDatabase: the store for those who only look, on connections of their own that cannot slow the receiver."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Final, cast
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import NullPool

from activities.store.database import LOCK_TIMEOUT_MS, Database
from activities.store.errors import StoreSlow

READERS_AT_ONCE: Final = 2
"""Connections. PostgreSQL has few, and the receiver must get its own."""

STEPS_BETWEEN_LOOKS: Final = 20_000
"""Steps of SQLite's machine, less than a millisecond, after which it looks whether its time is over."""


class ReadOnlyDatabase(Database):
    """A store in which every write fails, and every query that takes too long. Raises `BadDatabaseURL`.

    url: as of a `Database`; a missing SQLite file is not created. seconds: limit of each transaction, and of waiting
    for one of the `READERS_AT_ONCE` connections. After it, a query raises `StoreSlow`.
    """

    def __init__(self, url: str | URL, *, seconds: float) -> None:
        super().__init__(url, query_seconds=seconds)
        self._places = threading.BoundedSemaphore(READERS_AT_ONCE)

    @cached_property
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine. Its transactions cannot write."""
        if not self.is_sqlite:
            engine = super().engine
            sa.event.listen(engine, "begin", _begin_read_only)
            return engine
        options = {"check_same_thread": False}
        engine = sa.create_engine(_only_to_read(self.url), poolclass=NullPool, connect_args=options)
        sa.event.listen(engine, "connect", _set_up_reader)
        sa.event.listen(engine, "begin", self._begin_bounded)
        return engine

    @contextmanager
    def begin(self, *, within: float | None = None) -> Iterator[sa.Connection]:
        """A transaction as of a `Database`, once fewer than `READERS_AT_ONCE` are open."""
        if not self._places.acquire(timeout=self.query_seconds):
            raise StoreSlow(f"other queries have occupied the store {self} for {self.query_seconds:g} s")
        try:
            with super().begin(within=within) as connection:
                yield connection
        finally:
            self._places.release()

    def _begin_bounded(self, connection: sa.Connection) -> None:
        driver_connection = cast(sqlite3.Connection, connection.connection.dbapi_connection)
        ends = time.monotonic() + self.query_seconds
        driver_connection.set_progress_handler(lambda: time.monotonic() > ends, STEPS_BETWEEN_LOOKS)
        connection.exec_driver_sql("BEGIN")


def _only_to_read(url: URL) -> URL:
    """SQLite's URL for opening the file only to read, as a URI: without `mode` SQLite would create a missing file."""
    is_uri = url.query.get("uri") == "true"
    file = url.database if is_uri else f"file:{quote(str(url.database))}"
    return url.set(database=file).update_query_dict({"uri": "true", "mode": "ro"})


def _set_up_reader(connection: DBAPIConnection, record: object) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={LOCK_TIMEOUT_MS}")


def _begin_read_only(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
