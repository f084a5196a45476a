"""On PostgreSQL, shorter rows where bodies, callbacks or headers are long: recording a fate does not write these again.

PostgreSQL moves the longest values of a row that is over 2 kB to another table (TOAST), until the row fits.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

PARAMETER = "toast_tuple_target"
BYTES = 1280
"""The length that such a row shall have. By itself PostgreSQL stops at 2 kB, and writes that much for each change.

With a body of 1 KiB, its callback and 15 headers, 1280 and 1600 bytes cost the least WAL; 768 and 512 cost more. Rows
that are shorter than 2 kB stay whole: PostgreSQL's limit for them cannot be set.
"""


def upgrade() -> None:
    """Set the table's parameter. Rows that are there already stay as they are."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE deliveries SET ({PARAMETER} = {BYTES})")


def downgrade() -> None:
    """Put PostgreSQL's own parameter back."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE deliveries RESET ({PARAMETER})")
