"""On PostgreSQL, bodies, callbacks and headers beside the rows: recording a fate no longer writes them anew."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

PARAMETER = "toast_tuple_target"
BYTES = 1280
"""PostgreSQL moves the longest values of a new row aside until the row is this long; by itself only from 2 KiB on.

With a body of 1 KiB, its callback and 15 headers, 1280 and 1600 bytes cost the least WAL, 768 and 512 more.
"""


def upgrade() -> None:
    """Set the table's parameter. Rows that are there already stay as they are."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE deliveries SET ({PARAMETER} = {BYTES})")


def downgrade() -> None:
    """Put PostgreSQL's own parameter back."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE deliveries RESET ({PARAMETER})")
