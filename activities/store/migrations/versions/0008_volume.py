"""An index of a chain's successes in the place of that of all its deliveries, and vacuuming by what a queue needs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

VACUUM = {
    # By default PostgreSQL waits until a fifth of the table has changed: of 30 million retained rows, for 6 million
    # deliveries. Every claim would read through what they have left in the indexes of the queue.
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "10000",
    "autovacuum_analyze_scale_factor": "0.02",
}


def upgrade() -> None:
    """Replace the index, which the previous receiver's query uses too, and set the table's parameters."""
    success = sa.text("says = 'succeeded' AND fate = 'taken'")
    op.create_index(
        "ix_deliveries_succeeded", "deliveries", ["chain_id"], sqlite_where=success, postgresql_where=success
    )
    op.drop_index("ix_deliveries_stage", "deliveries")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE deliveries SET ({', '.join(f'{name} = {value}' for name, value in VACUUM.items())})")


def downgrade() -> None:
    """Put the index back, and PostgreSQL's own parameters."""
    op.create_index("ix_deliveries_stage", "deliveries", ["chain_id", "stage"])
    op.drop_index("ix_deliveries_succeeded", "deliveries")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE deliveries RESET ({', '.join(VACUUM)})")
