"""An index of the queue by position: a claim reads what is queued, however many deliveries are retained beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Put the new index in the place of that by `due_at`."""
    queued = sa.text("due_at IS NOT NULL")
    op.create_index("ix_deliveries_queued", "deliveries", ["position"], sqlite_where=queued, postgresql_where=queued)
    op.drop_index("ix_deliveries_due", "deliveries")
