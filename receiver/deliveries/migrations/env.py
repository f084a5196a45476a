"""Alembic's environment: the connection is the command's own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from receiver.deliveries.schema import METADATA

connection: sa.Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
