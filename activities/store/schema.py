"""The store's tables, and the only list of their columns.

A delivery is queued for Temporal while `due_at` is set, and is not claimed before that moment. The process that claims
it sets `due_at` a little ahead, which is the lease: if the process dies, the delivery becomes due again by itself.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()

POSITION: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""SQLite numbers rows by itself only in an INTEGER PRIMARY KEY."""

IS_REFUSED_REQUEST: Final = "verdict NOT IN ('accepted', 'duplicate', 'broken')"
"""Condition for refused requests. A query uses their index only with exactly this text. Broken requests do not count as
refused and are kept longer: they can be released once the partner's file is fixed."""

DELIVERIES: Final = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("position", POSITION, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("received_at", sa.Double, nullable=False, index=True),
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
    sa.Column("workflow_id", sa.Text, nullable=False, index=True),
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
    sa.Column("reference", sa.Text, nullable=False, server_default=""),
    sa.Column("part_of", sa.Text, nullable=False, server_default=""),
    sa.Column("part", sa.BigInteger, nullable=False, server_default="0"),
    # Body, callback and headers, if they are packed: see `packing`.
    sa.Column("packed", sa.LargeBinary),
    # The inbox's columns, which are not part of the capture: they are NULL for an imported delivery, which is never
    # forwarded.
    sa.Column("request_id", sa.Text, unique=True),
    sa.Column("callback", sa.Text),
    sa.Column("due_at", sa.Double),
    sa.Column("promised", sa.Integer),
    # By chain: to tell a conflict. All deliveries of a chain would be too many, for one may report progress for days.
    sa.Index(
        "ix_deliveries_succeeded",
        "chain_id",
        sqlite_where=sa.text("says = 'succeeded' AND fate = 'taken'"),
        postgresql_where=sa.text("says = 'succeeded' AND fate = 'taken'"),
    ),
    # By when it is due: a claim reads what is due, and neither what is put off nor what is only retained.
    sa.Index(
        "ix_deliveries_due",
        "due_at",
        "position",
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    ),
    # By position: the gauges read the head of the queue. Receivers of schema 0008 claim by it.
    sa.Index(
        "ix_deliveries_queued",
        "position",
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    ),
    # By stage: to find an earlier queued delivery of a stage. See `queries.CLAIM` for the condition's form.
    sa.Index(
        "ix_deliveries_line",
        "chain_id",
        "stage",
        "position",
        sqlite_where=sa.text("coalesce(due_at, -1) >= 0"),
        postgresql_where=sa.text("coalesce(due_at, -1) >= 0"),
    ),
    sa.Index(
        "ix_deliveries_parked",
        "fate",
        sqlite_where=sa.text("fate = 'parked'"),
        postgresql_where=sa.text("fate = 'parked'"),
    ),
    # Refused requests are deleted earlier than others; the index finds them among any number of retained deliveries.
    sa.Index(
        "ix_deliveries_refused",
        "received_at",
        sqlite_where=sa.text(IS_REFUSED_REQUEST),
        postgresql_where=sa.text(IS_REFUSED_REQUEST),
    ),
    # By reference: to match with the calls whose references have become known.
    sa.Index(
        "ix_deliveries_unmatched",
        "partner",
        "reference",
        sqlite_where=sa.text("verdict = 'unmatched'"),
        postgresql_where=sa.text("verdict = 'unmatched'"),
    ),
    sa.Index("ix_deliveries_parts", "part_of", sqlite_where=sa.text("part > 0"), postgresql_where=sa.text("part > 0")),
    sqlite_autoincrement=True,
)

INBOX: Final = ("request_id", "callback", "due_at", "promised")
"""Columns of `DELIVERIES` that are not part of the capture."""

RECORD: Final = tuple(column for column in DELIVERIES.c if column.name not in {"position", *INBOX})
"""The columns of a delivery."""

CALLS: Final = sa.Table(
    "calls",
    METADATA,
    sa.Column("position", POSITION, primary_key=True, autoincrement=True),
    # The call's idempotency key.
    sa.Column("call_id", sa.Text, nullable=False, unique=True),
    sa.Column("workflow_id", sa.Text, nullable=False),
    sa.Column("chain_id", sa.Text, nullable=False),
    sa.Column("stage", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("partner", sa.Text, nullable=False),
    # The partner's own id of the work, "" until the partner has answered the call.
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("called_at", sa.Double, nullable=False),
    sa.Column("pipeline", sa.Text, nullable=False, server_default=""),
    sa.Column("definition", sa.Text, nullable=False, server_default=""),
    sa.Column("key_fingerprint", sa.Text, nullable=False, server_default=""),
    # As in `Partner`. Only a call by reference is sure to have a row; the others are written behind the call.
    sa.Column("stage_by", sa.Text, nullable=False, server_default="reference"),
    sa.Index("ix_calls_reference", "partner", "reference"),
    sqlite_autoincrement=True,
)
