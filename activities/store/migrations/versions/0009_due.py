"""An index of the queue by when a delivery is due: a claim no longer reads past those that are put off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the index. The one by position stays: the previous receiver claims by it."""
    queued = sa.text("due_at IS NOT NULL")
    op.create_index(
        "ix_deliveries_due", "deliveries", ["due_at", "position"], sqlite_where=queued, postgresql_where=queued
    )


def downgrade() -> None:
    """Remove the index."""
    op.drop_index("ix_deliveries_due", "deliveries")
