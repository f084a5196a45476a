"""Migrations: the store's schema, version by version. Each only adds, so that the previous receiver still works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from activities.store.database import LOCK_TIMEOUT_MS, Database
from activities.store.errors import NewerSchema, SeveralRevisions, StoreBusy

ONE_AT_A_TIME: Final = 0x57A6E400
"""Number of the PostgreSQL advisory lock that an upgrade holds: two deploys may upgrade at the same time."""


UPGRADE_SECONDS: Final = 3600.0
"""Limit of a migration. It may read a large table to make an index, and wait for another migration or for a lock."""


LOCK_WAIT_MS: Final = LOCK_TIMEOUT_MS // 2
"""How long a migration's statement waits for a lock in PostgreSQL. Receivers' statements queue after it, and fail after
twice as long: they would all fail while a long reader, such as pg_dump, runs."""


LOCK_PAUSE: Final = 1.0
"""Seconds for which receivers go on before a migration that got no lock is tried again."""


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


def upgrade(database: Database, revision: str = "head", on_wait: Callable[[], object] = lambda: None) -> None:
    """Upgrade the store to a revision; does nothing if the store has it already. Raises `StoreAway`.

    The upgrade is a single transaction: if it fails, the store stays as it was. on_wait: called once, if another
    transaction holds up the upgrade in PostgreSQL.
    """
    try:
        _migrate(database, partial(command.upgrade, revision=revision), on_wait)
    except CommandError as error:
        raise NewerSchema(f"the store {database} is of a later version than this program") from error


def downgrade(database: Database, revision: str, on_wait: Callable[[], object] = lambda: None) -> None:
    """Take the store back to an earlier revision. Raises `StoreAway`, and `ValueError` for any other revision.

    What only a later version keeps is lost: see the migration's `downgrade`. It is a single transaction. on_wait: as
    for `upgrade`.
    """
    if revision not in revisions_to_go_back_to():
        raise ValueError(f"the store {database} cannot be taken back to {revision!r}")
    try:
        _migrate(database, partial(command.downgrade, revision=revision), on_wait)
    except CommandError as error:
        raise ValueError(f"the store {database} is not at a revision after {revision}") from error


def _migrate(database: Database, migrate: Callable[[Config], None], on_wait: Callable[[], object]) -> None:
    """Migrate in a transaction, which begins again while it gets no lock in PostgreSQL."""
    deadline, has_waited = monotonic() + UPGRADE_SECONDS, False
    while True:
        try:
            with _migrating(database, deadline - monotonic()) as config:
                return migrate(config)
        except StoreBusy:
            if database.is_sqlite or monotonic() + LOCK_PAUSE >= deadline:
                raise
        if not has_waited:
            on_wait()
            has_waited = True
        sleep(LOCK_PAUSE)


@contextmanager
def _migrating(database: Database, seconds: float) -> Iterator[Config]:
    """Begin a migration's transaction, when no other migration runs and nothing writes to SQLite's file."""
    config = _config()
    with database.begin(within=seconds) as connection:
        if database.is_sqlite:
            # SQLite refuses a write in a transaction that has read before another process wrote.
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql(f"PRAGMA busy_timeout={int(SQLITE_WAITS * 1000)}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
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
