"""Calls, found by the partner's reference; deliveries that are parts of a request, or wait for their call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table of calls, and add columns that an older receiver leaves at their defaults."""
    op.create_table(
        "calls",
        sa.Column("position", POSITION, primary_key=True, autoincrement=True),
        sa.Column("call_id", sa.Text, nullable=False, unique=True),
        sa.Column("workflow_id", sa.Text, nullable=False),
        sa.Column("chain_id", sa.Text, nullable=False),
        sa.Column("stage", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
        sa.Column("partner", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("called_at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_calls_reference", "calls", ["partner", "reference"])
    op.add_column("deliveries", sa.Column("reference", sa.Text, nullable=False, server_default=""))
    op.add_column("deliveries", sa.Column("part_of", sa.Text, nullable=False, server_default=""))
    op.add_column("deliveries", sa.Column("part", sa.BigInteger, nullable=False, server_default="0"))
    unmatched, is_part = sa.text("verdict = 'unmatched'"), sa.text("part > 0")
    op.create_index(
        "ix_deliveries_unmatched",
        "deliveries",
        ["partner", "reference"],
        sqlite_where=unmatched,
        postgresql_where=unmatched,
    )
    op.create_index("ix_deliveries_parts", "deliveries", ["part_of"], sqlite_where=is_part, postgresql_where=is_part)


def downgrade() -> None:
    """Remove them. Parts and unmatched deliveries stay, as deliveries of their own."""
    op.drop_index("ix_deliveries_parts", "deliveries")
    op.drop_index("ix_deliveries_unmatched", "deliveries")
    for column in ("part", "part_of", "reference"):
        op.drop_column("deliveries", column)
    op.drop_table("calls")
