"""The table of deliveries, their inbox included."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "deliveries",
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("body_size", sa.BigInteger, nullable=False),
        sa.Column("body_digest", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("partner", sa.Text, nullable=False),
        sa.Column("pipeline", sa.Text, nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("workflow_id", sa.Text, nullable=False),
        sa.Column("chain_id", sa.Text, nullable=False),
        sa.Column("stage", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("signed_id", sa.Text, nullable=False),
        sa.Column("says", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("fate", sa.Text, nullable=False),
        sa.Column("fate_reason", sa.Text, nullable=False),
        sa.Column("fate_at", sa.Double, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("duplicate_of", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, unique=True),
        sa.Column("callback", sa.Text),
        sa.Column("due_at", sa.Double),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_received_at", "deliveries", ["received_at"])
    op.create_index("ix_deliveries_workflow_id", "deliveries", ["workflow_id"])
    op.create_index("ix_deliveries_stage", "deliveries", ["chain_id", "stage"])
    queued = sa.text("due_at IS NOT NULL")
    op.create_index("ix_deliveries_due", "deliveries", ["due_at"], sqlite_where=queued, postgresql_where=queued)
    parked = sa.text("fate = 'parked'")
    op.create_index("ix_deliveries_parked", "deliveries", ["fate"], sqlite_where=parked, postgresql_where=parked)
