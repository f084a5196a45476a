"""The store that a command works on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection

from activities.environment import Environment
from activities.store.database import QUERY_SECONDS, Database
from activities.store.errors import NoStore
from activities.store.read_only import ReadOnlyDatabase
from activities.store.store import Store
from receiver.cli.errors import CommandError, Exit
from receiver.deliveries.archive import Archive

BUSY_MS: Final = 10_000
"""Milliseconds that a command waits while another process writes to SQLite's file. No request waits for a command."""


def need_archive(*, read_only: bool = False) -> Archive:
    """Return the deliveries in the store of DATABASE_URL; raises as `need_store` does.

    read_only: have the database refuse every write, for a store that may be another system's.
    """
    store = need_store()
    return Archive(ReadOnlyDatabase(store.url, seconds=QUERY_SECONDS) if read_only else store)


def read_store() -> Database | None:
    """Return the store of DATABASE_URL, None if it is not set; raises `SettingsError`."""
    env = Environment(os.environ)
    store = Store.read(env)
    env.check()
    return store.database if store else None


def need_store() -> Database:
    """Return the store of DATABASE_URL; raises `NoStore` if it is not set, and `CommandError` for a missing file."""
    store = read_store()
    if store is None:
        raise NoStore
    if store.is_sqlite and not store.url.query and not (file := Path(store.url.database or "")).is_file():
        # Opening a missing file would create an empty store, wherever DATABASE_URL points by mistake.
        what = f"{file} is not a file" if file.exists() else f"missing file {file}"
        advice = "set DATABASE_URL to the receiver's; `stagehook db upgrade` makes a store"
        raise CommandError(what, advice, Exit.UNREACHABLE)
    if store.is_sqlite:
        sa.event.listen(store.engine, "connect", _be_patient)
    return store


def _be_patient(connection: DBAPIConnection, record: object) -> None:
    connection.cursor().execute(f"PRAGMA busy_timeout={BUSY_MS}")
