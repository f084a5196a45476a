"""A column for the body, callback and headers of a delivery, compressed together; see `activities.store.packing`."""

from __future__ import annotations

from contextlib import nullcontext

import sqlalchemy as sa
from alembic import op

from activities.store.packing import BadPacking, unpack_rows

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column. PostgreSQL is told not to compress it again."""
    op.add_column("deliveries", sa.Column("packed", sa.LargeBinary))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE deliveries ALTER COLUMN packed SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Unpack all rows, and remove the column. Raises `BadPacking` for a row that cannot be unpacked."""
    for _, bad in unpack_rows(lambda: nullcontext(op.get_bind())):
        if bad:
            raise BadPacking(bad[0])
    op.drop_column("deliveries", "packed")
