"""Alembic's environment. It uses the connection of the command that runs the upgrade."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from activities.store.schema import METADATA

connection: sa.Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
