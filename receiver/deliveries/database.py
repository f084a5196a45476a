"""Database: where deliveries are kept, SQLite or PostgreSQL, as DATABASE_URL says.

SQLAlchemy makes the connections and the SQL for both; the inbox uses the driver's connection underneath.
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

from receiver.deliveries.schema import RECORD

DRIVERS: Final = {"sqlite": "sqlite+pysqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
"""By the name that DATABASE_URL begins with; a PaaS says `postgres`."""

LOCKED_MS: Final = 200
"""How long a statement waits for another process's lock. What was to be written together is then tried one by one, and
the answer to a partner is waiting meanwhile."""

TRANSACTION_SECONDS: Final = 5.0
QUERY_SECONDS: Final = 60.0
TRANSACTION_TIMEOUT_SINCE: Final = 170_000
"""The version of PostgreSQL that can bound a whole transaction. Older ones bound a statement and idling; and a flush
request, with which psycopg ends a pipeline, switches the bound of idling off until the next statement."""

CLIENT_GRACE: Final = 1.0
"""Seconds that a client waits longer than the server, which then has let go of the rows when they are written again."""

PRIVATE: Final = 0o600
CREATING: Final = threading.Lock()
"""Held while a file is created: closing it would lose the locks of another thread that has opened it meanwhile."""

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


class StoreMute(StoreAway):
    """The store has not answered in time. It may have committed, or may commit yet, what it was sent."""


class Unanswered(Exception):
    """A driver's error for a server that has not answered in time."""


class SchemaMissing(StoreAway):
    """The store is there, and its tables are not, or are those of an earlier version."""


class NewerSchema(StoreAway):
    """The store is at a revision that this version does not know."""


class BadDatabaseURL(ValueError):
    """DATABASE_URL names no store. The message completes the sentence that begins with the variable's name."""


class Database:
    """One store.

    url: `sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/NAME` or `postgres://...`. Raises `BadDatabaseURL`.
    transaction_seconds: how long PostgreSQL may take for a transaction of a receiver, and how long it waits in any
    transaction for its client. query_seconds: how long it may take for a transaction of a command.
    """

    def __init__(
        self, url: str, *, transaction_seconds: float = TRANSACTION_SECONDS, query_seconds: float = QUERY_SECONDS
    ) -> None:
        self.url = _read_url(url)
        self.transaction_seconds = transaction_seconds
        self._query_seconds = query_seconds

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
            engine = sa.create_engine(self.url, poolclass=NullPool, connect_args=POSTGRES)
            sa.event.listen(engine, "do_connect", self._connect_bounded)
            return engine
        engine = sa.create_engine(self.url, poolclass=NullPool, connect_args={"check_same_thread": False})
        sa.event.listen(engine, "do_connect", self._make_private)
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    @contextmanager
    def begin(self, *, within: float | None = None) -> Iterator[sa.Connection]:
        """A transaction on a connection of its own; raises `StoreAway` whatever goes wrong with it.

        within: seconds in place of `query_seconds`.
        """
        seconds = within or self._query_seconds
        with self.reaching(), self.engine.begin() as connection:
            if not self.is_sqlite:
                cast(Any, connection.connection.dbapi_connection).seconds = seconds + CLIENT_GRACE
                connection.exec_driver_sql(f"SELECT {self.bounds(seconds)}")
            yield connection

    def bounds(self, seconds: float) -> str:
        """SQL expressions that bound the PostgreSQL transaction in which they are evaluated.

        seconds: for each statement, and for the whole transaction where the server can bound it. The bounds end with
        the transaction, because a pooler may give the session to other clients. Without them the server keeps the locks
        of a receiver that has vanished, or is frozen, until TCP gives up: two hours. While the server writes to a
        client that does not read, only the last bound counts; not every system has it.
        """
        limit, idle = int(seconds * 1000), int(self.transaction_seconds * 1000)
        return f"""
            set_config('statement_timeout', '{limit}', true),
            set_config('idle_in_transaction_session_timeout', '{idle}', true),
            CASE WHEN current_setting('server_version_num')::int >= {TRANSACTION_TIMEOUT_SINCE}
                THEN set_config('transaction_timeout', '{limit}', true) END,
            CASE WHEN position('linux' in version()) > 0 THEN set_config('tcp_user_timeout', '{idle}', true) END
        """

    def connect(self) -> DBAPIConnection:
        """The driver's own connection, on which this version's columns have been seen; raises `StoreAway`.

        It begins no transaction by itself: see `Statements.begin`.
        """
        with self.reaching():
            proxy = self.engine.raw_connection()
            driver_connection = cast(DBAPIConnection, proxy.dbapi_connection)
            try:
                if not self.is_sqlite:
                    cast(Any, driver_connection).autocommit = True
                proxy.cursor().execute(self.sql(sa.select(*RECORD).where(sa.false())))
            except BaseException:
                proxy.close()
                raise
            proxy.detach()
        return driver_connection

    def _connect_bounded(
        self, dialect: sa.Dialect, record: object, words: list[Any], names: dict[str, Any]
    ) -> DBAPIConnection:
        # The driver is loaded only where PostgreSQL is used: that takes longer than most commands.
        from receiver.deliveries.postgres import BoundedConnection

        connection = BoundedConnection.connect(*words, **names)
        connection.seconds = self.transaction_seconds + CLIENT_GRACE
        return cast(DBAPIConnection, connection)

    def _make_private(self, dialect: sa.Dialect, record: object, words: object, names: object) -> None:
        """Keep SQLite's files from the other users of this machine, from the moment at which they exist.

        SQLite creates `-wal` and `-shm` with the mode of the database file. Example: 0644, as earlier versions made it
        under the usual umask, becomes 0600; 0640 stays, because an operator must have chosen it.
        """
        if self.url.query:
            return  # the path may be a URI of SQLite's own
        file = Path(str(self.url.database))
        with CREATING, contextlib.suppress(OSError):  # SQLite reports what is wrong with the path
            if not file.exists():
                os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE))
            for each in self._files():
                if (mode := stat.S_IMODE(each.stat().st_mode)) & stat.S_IRWXO:
                    each.chmod(mode & PRIVATE)

    def _files(self) -> list[Path]:
        """SQLite's files. They are never opened here: closing one loses the locks that this process has on it."""
        names = (f"{self.url.database}{suffix}" for suffix in ("", "-wal", "-shm", "-journal"))
        return [file for file in map(Path, names) if file.exists()]

    def is_exposed(self) -> bool:
        """Whether every user of this machine can read or write SQLite's files."""
        return self.is_sqlite and any(file.stat().st_mode & stat.S_IRWXO for file in self._files())

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
            raise self._away(error.orig or error) from error
        except self.driver_error as error:
            raise self._away(error) from error

    def _away(self, error: BaseException) -> StoreAway:
        if _is_schema_missing(error):
            return SchemaMissing(f"the store {self} has no tables of this version")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:  # the rest says in which step
            return StoreBusy(f"another process is writing to the store {self} (database is locked)")
        first_line = str(error).strip().partition("\n")[0]
        kind = StoreMute if isinstance(error, Unanswered) else StoreAway
        # libpq repeats what it was told, never the password.
        return kind(f"the store {self} cannot be used: {first_line or type(error).__name__}")


def _read_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # the latter for a port or a host that is none
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
