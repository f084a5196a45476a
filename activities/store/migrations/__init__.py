"""Migrations: the store's schema, version by version. Each only adds, so that the previous receiver still works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from activities.store.database import Database
from activities.store.errors import NewerSchema, SeveralRevisions

ONE_AT_A_TIME: Final = 0x57A6E400
"""Number of the PostgreSQL advisory lock that an upgrade holds: two deploys may upgrade at the same time."""


UPGRADE_SECONDS: Final = 3600.0
"""Limit of an upgrade. It may read a large table to make an index, and wait for another upgrade."""


SQLITE_WAITS: Final = 60.0
"""Seconds that a migration of a SQLite file waits for another migration, or for a receiver that writes."""


def current(database: Database) -> str:
    """The store's revision, or "" without tables; raises `SeveralRevisions` and `StoreAway`."""
    with database.begin() as connection:
        return _current(database, connection)


def latest() -> str:
    """The latest revision that this version of the code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def revisions() -> list[str]:
    """The revisions that this version of the code knows, the earliest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def revisions_to_go_back_to() -> list[str]:
    """The revisions that a later store can be taken back to, the earliest first: all after them have a `downgrade`."""
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    undoable = takewhile(lambda script: hasattr(script.module, "downgrade"), scripts)
    return [str(script.down_revision) for script in undoable][::-1]


def upgrade(database: Database, revision: str = "head") -> None:
    """Upgrade the store to a revision; does nothing if the store has it already. Raises `StoreAway`.

    The upgrade is a single transaction: if it fails, the store stays as it was.
    """
    with _migrating(database) as config:
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise NewerSchema(f"the store {database} is of a later version than this program") from error


def downgrade(database: Database, revision: str) -> None:
    """Take the store back to an earlier revision. Raises `StoreAway`, and `ValueError` for any other revision.

    What only a later version keeps is lost: see the migration's `downgrade`. It is a single transaction.
    """
    if revision not in revisions_to_go_back_to():
        raise ValueError(f"the store {database} cannot be taken back to {revision!r}")
    with _migrating(database) as config:
        try:
            command.downgrade(config, revision)
        except CommandError as error:
            raise ValueError(f"the store {database} is not at a revision after {revision}") from error


@contextmanager
def _migrating(database: Database) -> Iterator[Config]:
    """Begin a migration's transaction, when no other migration runs and nothing writes to SQLite's file."""
    config = _config()
    with database.begin(within=UPGRADE_SECONDS) as connection:
        if database.is_sqlite:
            # A transaction that has read before another's write cannot write any more.
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql(f"PRAGMA busy_timeout={int(SQLITE_WAITS * 1000)}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
        _current(database, connection)
        config.attributes["connection"] = connection
        yield config


def _current(database: Database, connection: sa.Connection) -> str:
    found = sorted(MigrationContext.configure(connection).get_current_heads())
    if len(found) > 1:
        what = f"{len(found)} revisions in its table alembic_version: {', '.join(found)}"
        raise SeveralRevisions(f"the store {database} has {what}")
    return "".join(found)


def _config() -> Config:
    config = Config()
    # Alembic reads % as the start of a variable.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
