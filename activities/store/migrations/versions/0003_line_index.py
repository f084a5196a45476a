"""An index of the queue by stage: a claim need not read through what else its stage has, queued or retained."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the index."""
    queued = sa.text("coalesce(due_at, -1) >= 0")
    op.create_index(
        "ix_deliveries_line",
        "deliveries",
        ["chain_id", "stage", "position"],
        sqlite_where=queued,
        postgresql_where=queued,
    )
