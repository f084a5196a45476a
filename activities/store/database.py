"""Database: where deliveries are kept. DATABASE_URL chooses SQLite or PostgreSQL.

SQLAlchemy makes the connections to both. The inbox uses the driver's connection directly.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from activities.store import dialects
from activities.store.dialects import POSTGRES, SQLITE
from activities.store.errors import (
    BadDatabaseURL,
    SchemaMissing,
    StoreAway,
    StoreBusy,
    StoreMute,
    StoreSlow,
    Unanswered,
)
from activities.store.schema import CALLS, RECORD

DRIVERS: Final = {"sqlite": "sqlite+pysqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
"""By the scheme of DATABASE_URL. PaaS providers write `postgres`."""

CHECK_COLUMNS: Final = (
    f"SELECT {', '.join(column.name for column in RECORD)} FROM deliveries WHERE 1 = 0",  # noqa: S608
    f"SELECT {', '.join(column.name for column in CALLS.c)} FROM calls WHERE 1 = 0",  # noqa: S608
)
"""Fail unless the tables have this version's columns; no row is read."""

LOCK_TIMEOUT_MS: Final = 200
"""How long a statement waits for another process's lock. After that the writer tries its jobs one by one, while the
answer to a partner is waiting."""

TRANSACTION_SECONDS: Final = 5.0
QUERY_SECONDS: Final = 60.0
TRANSACTION_TIMEOUT_SINCE: Final = 170_000
"""The first version of PostgreSQL that can limit a whole transaction. Older versions limit a statement and idling. In
them a flush request, with which psycopg ends a pipeline, suspends the limit on idling until the next statement."""

CLIENT_GRACE: Final = 1.0
"""Seconds that a client waits longer than the server. The server has then released the rows before they are retried."""

PRIVATE_MODE: Final = 0o600
CREATING: Final = threading.Lock()
"""Held while a file is created: closing it would drop the locks of another thread that has opened it in between."""

POSTGRES_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 2,
    "application_name": "stagehook",
    # Without these, a server that vanishes silently is never noticed; with them, after some 10 s.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    # A pooler in transaction mode keeps no prepared statements. For direct connections see `keep_session`.
    "prepare_threshold": None,
}


class Database:
    """A store.

    url: `sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/NAME` or `postgres://...`. Raises `BadDatabaseURL`.
    transaction_seconds: limit of a receiver's transaction in PostgreSQL, and of waiting for the client in any
    transaction. query_seconds: limit of a command's transaction in PostgreSQL.
    """

    def __init__(
        self, url: str | URL, *, transaction_seconds: float = TRANSACTION_SECONDS, query_seconds: float = QUERY_SECONDS
    ) -> None:
        self.url = _read_url(url)
        self.transaction_seconds = transaction_seconds
        self.query_seconds = query_seconds
        self._compiled: dict[str, str] = {}

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a SQLite file on this machine."""
        return self.url.get_backend_name() == "sqlite"

    def __str__(self) -> str:
        """The store's URL without its password."""
        # The query may hold a password too.
        shown = self.url.set(drivername=self.url.get_backend_name(), query={})
        return shown.render_as_string(hide_password=True)

    @cached_property
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine, without a pool: the inbox keeps its own connection, and a command connects once."""
        if not self.is_sqlite:
            engine = sa.create_engine(self.url, poolclass=NullPool, connect_args=POSTGRES_OPTIONS)
            sa.event.listen(engine, "do_connect", self._connect_bounded)
            return engine
        engine = sa.create_engine(self.url, poolclass=NullPool, connect_args={"check_same_thread": False})
        sa.event.listen(engine, "do_connect", self._make_private)
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def begin(self, *, within: float | None = None) -> Iterator[sa.Connection]:
        """A transaction on its own connection. Raises `StoreAway` for every error of the database.

        within: seconds that replace `query_seconds`.
        """
        seconds = within or self.query_seconds
        with self.reaching(), self.engine.begin() as connection:
            if not self.is_sqlite:
                cast(Any, connection.connection.dbapi_connection).seconds = seconds + CLIENT_GRACE
                connection.exec_driver_sql(f"SELECT {self.bounds(seconds)}, {dialects.DURABLE}")
            yield connection

    def bounds(self, seconds: float, *, local: bool = True) -> str:
        """SQL expressions that limit the PostgreSQL transaction in which they are evaluated.

        seconds: for each statement, and for the whole transaction if the server can limit it. local: the limits end
        with the transaction, because a pooler may give the session to other clients; otherwise with the session.
        Without them the server keeps the locks of a receiver that has vanished, or is frozen, until TCP gives up: two
        hours. While the server writes to a client that does not read, only the last limit counts; not every system has
        it.
        """
        return dialects.BOUNDS.format(
            limit=int(seconds * 1000),
            idle=int(self.transaction_seconds * 1000),
            transaction_timeout_since=TRANSACTION_TIMEOUT_SINCE,
            local=str(local).lower(),
        )

    def begin_statement(self, connection: DBAPIConnection) -> str:
        """The SQL that begins a writing transaction on a connection made by `connect`."""
        if self.is_sqlite:
            return dialects.BEGIN_SQLITE
        if cast(Any, connection).owns_session:
            return dialects.BEGIN_POSTGRES
        return dialects.BEGIN_POOLED.format(bounds=self._writer_bounds(local=True))

    def _writer_bounds(self, *, local: bool) -> str:
        bounds = self.bounds(self.transaction_seconds, local=local)
        return dialects.WRITER_BOUNDS.format(bounds=bounds, lock_timeout_ms=LOCK_TIMEOUT_MS, local=str(local).lower())

    def connect(self) -> DBAPIConnection:
        """Connect with the driver, and check that this version's columns exist. Raises `StoreAway`.

        The connection begins no transaction by itself: see `Statements.begin`. A direct connection to PostgreSQL
        prepares some queries, a connection through a pooler none; see `queries.PREPARED`.
        """
        with self.reaching():
            proxy = self.engine.raw_connection()
            driver_connection = cast(DBAPIConnection, proxy.dbapi_connection)
            try:
                if not self.is_sqlite:
                    cast(Any, driver_connection).autocommit = True
                    self._set_up_session(driver_connection)
                for check in CHECK_COLUMNS:
                    proxy.cursor().execute(check)
            except BaseException:
                proxy.close()
                raise
            proxy.detach()
        return driver_connection

    def _set_up_session(self, connection: Any) -> None:
        """Keep bounds and prepared queries in the session, unless a pooler gives it to other clients too."""
        if connection.has_own_session():
            connection.keep_session()
            connection.execute(dialects.SET_SESSION.format(bounds=self._writer_bounds(local=False)))

    def _connect_bounded(
        self, dialect: sa.Dialect, record: object, words: list[Any], names: dict[str, Any]
    ) -> DBAPIConnection:
        # Imported only if PostgreSQL is used: loading the driver takes longer than most commands.
        from activities.store.postgres import BoundedConnection

        connection = BoundedConnection.connect(*words, **names)
        connection.seconds = self.transaction_seconds + CLIENT_GRACE
        return cast(DBAPIConnection, connection)

    def _make_private(self, dialect: sa.Dialect, record: object, words: object, names: object) -> None:
        """Hide SQLite's files from the other users of this machine, from the moment they exist.

        SQLite creates `-wal` and `-shm` with the mode of the database file. Example: mode 0644, which earlier versions
        left under the usual umask, becomes 0600; 0640 stays, because an operator must have chosen it.
        """
        if self.url.query:
            return  # the path may be a SQLite URI
        file = Path(str(self.url.database))
        with CREATING, contextlib.suppress(OSError):  # SQLite reports what is wrong with the path
            if not file.exists():
                os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_MODE))
            for each in self._files():
                if (mode := stat.S_IMODE(each.stat().st_mode)) & stat.S_IRWXO:
                    each.chmod(mode & PRIVATE_MODE)

    def _files(self) -> list[Path]:
        """The existing SQLite files. Do not open them: closing a file drops the locks that this process has on it."""
        names = (f"{self.url.database}{suffix}" for suffix in ("", "-wal", "-shm", "-journal"))
        return [file for file in map(Path, names) if file.exists()]

    def is_exposed(self) -> bool:
        """Whether every user of this machine can read or write SQLite's files."""
        return self.is_sqlite and any(file.stat().st_mode & stat.S_IRWXO for file in self._files())

    def check(self) -> None:
        """Raise `StoreAway` or `SchemaMissing` unless the store can be used."""
        self.connect().close()

    def file(self) -> tuple[int, int] | None:
        """Device and inode of the file at SQLite's path; None if there is no file, and for PostgreSQL."""
        try:
            found = os.stat(str(self.url.database)) if self.is_sqlite else None
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found else None

    def sql(self, query: str) -> str:
        """A query in this database's SQL: with its fragments, and with named parameters in the driver's style.

        Example: `WHERE id {among_texts}` with the parameter `texts`; see `activities.store.dialects`.
        """
        if query not in self._compiled:
            fragments = SQLITE if self.is_sqlite else POSTGRES
            self._compiled[query] = str(sa.text(query.format_map(fragments)).compile(dialect=self._naming_dialect))
        return self._compiled[query]

    @cached_property
    def _naming_dialect(self) -> sa.Dialect:
        # SQLAlchemy must be asked for named parameters for sqlite3; for psycopg they are the default.
        style = {"paramstyle": "named"} if self.is_sqlite else {}
        dialect: sa.Dialect = self.url.get_dialect()(**style)
        return dialect

    @cached_property
    def driver_error(self) -> type[Exception]:
        """The base class of the driver's errors."""
        error: type[Exception] = sqlite3.Error if self.is_sqlite else self.engine.dialect.loaded_dbapi.Error
        return error

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn the driver's and SQLAlchemy's errors into `StoreAway`."""
        try:
            yield
        except DBAPIError as error:
            raise self._away(error.orig or error) from error
        except self.driver_error as error:
            raise self._away(error) from error

    def _away(self, error: BaseException) -> StoreAway:
        first_line = str(error).strip().partition("\n")[0]
        if _is_schema_missing(error):
            return SchemaMissing(f"the store {self} has no tables of this version: {first_line}")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:  # the higher bits say in which step
            return StoreBusy(f"another process is writing to the store {self} (database is locked)")
        if getattr(error, "sqlstate", None) == "55P03":  # lock not available
            return StoreBusy(f"another process holds a lock in the store {self}: {first_line}")
        if _is_ended_for_time(error):
            return StoreSlow(f"the store {self} has ended a query that took too long: {first_line}")
        kind = StoreMute if isinstance(error, Unanswered) else StoreAway
        # Safe to show: libpq's messages repeat connection parameters, but never the password.
        return kind(f"the store {self} cannot be used: {first_line or type(error).__name__}")


def _read_url(text: str | URL) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: an invalid port or host
        raise BadDatabaseURL("is not a database URL") from error
    driver = DRIVERS.get(url.drivername) or (url.drivername if url.drivername in DRIVERS.values() else None)
    if driver is None:
        raise BadDatabaseURL("names neither SQLite nor PostgreSQL")
    if driver == DRIVERS["sqlite"] and (not url.database or url.database == ":memory:" or url.host):
        raise BadDatabaseURL("names no file: a relative one has three slashes, an absolute one four")
    return url.set(drivername=driver)


def _is_schema_missing(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return "no such table" in str(error) or "no such column" in str(error)
    return getattr(error, "sqlstate", None) in {"42P01", "42703"}  # undefined table, undefined column


def _is_ended_for_time(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT
    return getattr(error, "sqlstate", None) in {"57014", "25P04"}  # the statement's limit, the transaction's


def _set_up_sqlite(connection: DBAPIConnection, record: object) -> None:
    assert isinstance(connection, sqlite3.Connection)
    # Otherwise the driver begins and commits transactions by itself.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={LOCK_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    # Each commit reaches the disk before the partner is answered.
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
