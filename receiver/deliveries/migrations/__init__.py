"""Migrations: the store's schema, from version to version. Each only adds, so that the receiver of before runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from receiver.deliveries.database import Database, NewerSchema

ONE_AT_A_TIME: Final = 0x57A6E400
"""Number of the PostgreSQL advisory lock under which an upgrade runs: a release can be started twice at once."""


UPGRADE_SECONDS: Final = 3600.0
"""How long an upgrade may take: it reads a large table to make an index, and waits for another upgrade."""


def current(database: Database) -> str:
    """The revision that the store is at, "" if it has none; raises `StoreAway`."""
    with database.begin() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def latest() -> str:
    """The revision that this version of the code brings."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the store to the latest revision, or to the one named; nothing happens if it is there. Raises `StoreAway`.

    All of it is one transaction: a failed upgrade leaves the store as it was.
    """
    config = _config()
    with database.begin(within=UPGRADE_SECONDS) as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise NewerSchema(f"the store {database} is of a later version than this program") from error


def _config() -> Config:
    config = Config()
    # Alembic reads a % as the beginning of a variable.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
