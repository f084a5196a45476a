"""What a call is of: its pipeline, the definition's digest, the signing key, and how its callbacks find their stage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

COLUMNS = {"pipeline": "", "definition": "", "key_fingerprint": "", "stage_by": "reference"}


def upgrade() -> None:
    """Add the columns. Rows before, and those of earlier workers, are of partners that are known by reference."""
    for name, default in COLUMNS.items():
        op.add_column("calls", sa.Column(name, sa.Text, nullable=False, server_default=default))


def downgrade() -> None:
    """Remove the columns, and the calls that only statistics depend on: an earlier version would wait for their ids."""
    op.execute("DELETE FROM calls WHERE stage_by <> 'reference'")
    for name in COLUMNS:
        op.drop_column("calls", name)
