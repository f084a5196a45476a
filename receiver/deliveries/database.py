"""Database: where deliveries are kept, SQLite or PostgreSQL, as DATABASE_URL says.

SQLAlchemy makes the connections and the SQL for both; the inbox uses the driver's connection underneath.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from receiver.deliveries.schema import RECORD

DRIVERS: Final = {"sqlite": "sqlite+pysqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
"""By the name that DATABASE_URL begins with; a PaaS says `postgres`."""

LOCKED_MS: Final = 200
"""How long a statement waits for another process's lock. What was to be written together is then tried one by one, and
the answer to a partner is waiting meanwhile."""

POSTGRES: Final[dict[str, Any]] = {
    "connect_timeout": 2,
    "application_name": "stagehook",
    # A server that has vanished without a word is noticed after some 10 s, instead of never.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    # Connection poolers in transaction mode do not keep prepared statements.
    "prepare_threshold": None,
}


class StoreAway(Exception):
    """The store cannot be used now. The message says why, without the database's password."""


class StoreBusy(StoreAway):
    """Another process has been writing to SQLite's file for longer than a statement waits."""


class SchemaMissing(StoreAway):
    """The store is there, and its tables are not, or are those of an earlier version."""


class NewerSchema(StoreAway):
    """The store is at a revision that this version does not know."""


class BadDatabaseURL(ValueError):
    """DATABASE_URL names no store. The message completes the sentence that begins with the variable's name."""


class Database:
    """One store.

    url: `sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/NAME` or `postgres://...`. Raises `BadDatabaseURL`.
    """

    def __init__(self, url: str) -> None:
        self.url = _read_url(url)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is one file on this machine."""
        return self.url.get_backend_name() == "sqlite"

    def __str__(self) -> str:
        """Where it is, without its password."""
        # Options may hold a password of their own.
        shown = self.url.set(drivername=self.url.get_backend_name(), query={})
        return shown.render_as_string(hide_password=True)

    @cached_property
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine. It keeps no connection: the inbox has its own, and a command needs one once."""
        if not self.is_sqlite:
            return sa.create_engine(self.url, poolclass=NullPool, connect_args=POSTGRES)
        engine = sa.create_engine(self.url, poolclass=NullPool, connect_args={"check_same_thread": False})
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction on a connection of its own; raises `StoreAway` whatever goes wrong with it."""
        with self.reaching(), self.engine.begin() as connection:
            yield connection

    def connect(self) -> DBAPIConnection:
        """The driver's own connection, on which this version's columns have been seen; raises `StoreAway`."""
        with self.reaching():
            with self.engine.connect() as connection:
                connection.execute(sa.select(*RECORD).limit(0))
            proxy = self.engine.raw_connection()
            driver_connection = cast(DBAPIConnection, proxy.dbapi_connection)
            proxy.detach()
        return driver_connection

    def check(self) -> None:
        """Raise `StoreAway` or `SchemaMissing` unless the store can be used."""
        self.connect().close()

    def file(self) -> tuple[int, int] | None:
        """Which file SQLite's path leads to now, by device and inode; None if to none, and for PostgreSQL."""
        try:
            found = os.stat(str(self.url.database)) if self.is_sqlite else None
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found else None

    def sql(self, statement: sa.ClauseElement) -> str:
        """The statement in this database's SQL, its parameters as the driver takes them by name."""
        return str(statement.compile(dialect=self._naming_dialect))

    @cached_property
    def _naming_dialect(self) -> sa.Dialect:
        # sqlite3 takes names only where they are asked for; psycopg always does.
        style = {"paramstyle": "named"} if self.is_sqlite else {}
        dialect: sa.Dialect = self.url.get_dialect()(**style)
        return dialect

    @cached_property
    def driver_error(self) -> type[Exception]:
        """What the driver raises."""
        error: type[Exception] = sqlite3.Error if self.is_sqlite else self.engine.dialect.loaded_dbapi.Error
        return error

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn the driver's and SQLAlchemy's errors into `StoreAway`."""
        try:
            yield
        except DBAPIError as error:
            raise self._away(error.orig or error, missing=_is_schema_missing(error)) from error
        except self.driver_error as error:
            raise self._away(error) from error

    def _away(self, error: BaseException, *, missing: bool = False) -> StoreAway:
        if missing:
            return SchemaMissing(f"the store {self} has no tables of this version")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:  # the rest says in which step
            return StoreBusy(f"another process is writing to the store {self} (database is locked)")
        first_line = str(error).strip().partition("\n")[0]
        # libpq repeats what it was told, never the password.
        return StoreAway(f"the store {self} cannot be used: {first_line or type(error).__name__}")


def _read_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # the latter for a port or a host that is none
        raise BadDatabaseURL("is no database URL") from error
    driver = DRIVERS.get(url.drivername) or (url.drivername if url.drivername in DRIVERS.values() else None)
    if driver is None:
        raise BadDatabaseURL("names neither SQLite nor PostgreSQL")
    if driver == DRIVERS["sqlite"] and (not url.database or url.database == ":memory:" or url.host):
        raise BadDatabaseURL("names no file: a relative one has three slashes, an absolute one four")
    return url.set(drivername=driver)


def _is_schema_missing(error: DBAPIError) -> bool:
    if isinstance(error, OperationalError):
        return "no such table" in str(error.orig) or "no such column" in str(error.orig)
    return getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}  # undefined table, undefined column


def _set_up_sqlite(connection: DBAPIConnection, record: object) -> None:
    assert isinstance(connection, sqlite3.Connection)
    # The driver would begin and commit by itself, as it sees fit.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={LOCKED_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    # Every commit is on the disk before the answer goes out.
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
