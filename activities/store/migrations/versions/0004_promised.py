"""Whether a delivery that is pending is another request's as well, which was answered 2xx."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("deliveries", sa.Column("promised", sa.Integer))
