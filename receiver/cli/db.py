"""`stagehook db`: the store of deliveries."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

import click
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection

from activities.environment import Environment
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import counted, json_option, note, print_json, say
from receiver.deliveries import migrations
from receiver.deliveries.archive import Archive
from receiver.deliveries.database import Database, NewerSchema
from receiver.deliveries.store import Store

BUSY_MS: Final = 10_000
"""How long a command waits while another process writes to SQLite's file. Nobody waits for its answer meanwhile."""

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@click.group()
def db() -> None:
    """The store of deliveries, named by DATABASE_URL."""


@db.command()
def upgrade() -> None:
    """Bring the store to this version's schema; nothing happens if it is there already.

    Without DATABASE_URL there is nothing to do, and that is no error: a Procfile can always run it. A schema of a later
    version is none either, as long as this one can run on it.
    """
    store = read_store()
    if store is None:
        note("no DATABASE_URL, no store: nothing to upgrade")
        return
    before = migrations.current(store)
    try:
        migrations.upgrade(store)
    except NewerSchema:
        # A deploy that is rolled back runs this too, and every migration only adds.
        store.check()
        note(f"{store} is at {before}, of a later version than this program, and has what this one needs")
        return
    after = migrations.current(store)
    note(f"{store} is at {after}" + ("" if before == after else f", upgraded from {before or 'nothing'}"))


@db.command()
@json_option
def current(*, as_json: bool) -> int:
    """Print the schema's version, and this program's; exits 1 if the store has an older one."""
    store = need_store()
    found, wanted = migrations.current(store), migrations.latest()
    if as_json:
        print_json({"current": found, "latest": wanted})
    else:
        say(found or "none")
        note("up to date" if found == wanted else f"this program's is {wanted}: run `stagehook db upgrade`")
    return Exit.OK if found == wanted else Exit.FAILED


@db.command()
@click.option("--older-than", required=True, metavar="AGE", help="For example 30d, 12h, 90m.")
@click.option("--refused", is_flag=True, help="Only requests that were refused.")
@json_option
def prune(older_than: str, *, refused: bool, as_json: bool) -> None:
    """Delete deliveries that were received longer ago; none that is pending or parked."""
    deleted = Archive(need_store()).prune(time.time() - read_age(older_than), refused=refused)
    if as_json:
        print_json({"deleted": deleted})
    else:
        say(f"{counted(deleted, 'delivery', 'deliveries')} deleted")


def read_store() -> Database | None:
    """The store of DATABASE_URL, None without one; raises `SettingsError`."""
    env = Environment(os.environ)
    store = Store.read(env)
    env.check()
    return store.database if store else None


def need_store() -> Database:
    """The store of DATABASE_URL; raises `CommandError` without one, or if it is a file that is not there."""
    store = read_store()
    if store is None:
        what = "there is no store: DATABASE_URL is not set"
        raise CommandError(what, "set it to the receiver's, for example sqlite:///.dev/stagehook.db", Exit.USAGE)
    if store.is_sqlite and not store.url.query and not (file := Path(store.url.database or "")).is_file():
        # To open it would make an empty one, wherever DATABASE_URL points by mistake.
        what = f"{file} is not a file" if file.exists() else f"there is no file {file}"
        advice = "set DATABASE_URL to the receiver's; `stagehook db upgrade` makes a store"
        raise CommandError(what, advice, Exit.UNREACHABLE)
    if store.is_sqlite:
        sa.event.listen(store.engine, "connect", _be_patient)
    return store


def _be_patient(connection: DBAPIConnection, record: object) -> None:
    connection.cursor().execute(f"PRAGMA busy_timeout={BUSY_MS}")


def read_age(text: str) -> float:
    """Seconds of an age like 30d; a usage error for anything else."""
    if not (found := re.fullmatch(r"([0-9]{1,6})([smhdw])", text)):
        raise click.BadParameter(f"invalid age {text!r}: use a number and one of s, m, h, d, w, such as 30d")
    return float(int(found[1]) * UNITS[found[2]])
