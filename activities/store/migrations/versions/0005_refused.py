"""An index of refused requests by time: they are deleted earlier than what was kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the index."""
    refused = sa.text("verdict NOT IN ('accepted', 'duplicate', 'broken')")
    op.create_index(
        "ix_deliveries_refused", "deliveries", ["received_at"], sqlite_where=refused, postgresql_where=refused
    )
