"""The table of deliveries, and the only list of its columns.

A delivery is queued for Temporal while `due_at` is set, and is not claimed before that moment. The process that claims
it sets `due_at` a little ahead, which is the lease: if the process dies, the delivery becomes due again by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import sqlalchemy as sa

from receiver.deliveries.delivery import Delivery, Fate

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
    # The inbox's columns, which are not part of the capture: they are NULL for an imported delivery, which is never
    # forwarded.
    sa.Column("request_id", sa.Text, unique=True),
    sa.Column("callback", sa.Text),
    sa.Column("due_at", sa.Double),
    sa.Column("promised", sa.Integer),
    sa.Index("ix_deliveries_stage", "chain_id", "stage"),
    # By position: a claim reads the queue in order, and skips all other deliveries that are retained.
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
    sqlite_autoincrement=True,
)

UNREAD_CALLBACK: Final = ""
"""The callback of a delivery on which the partner's file failed: an operator may have the body read again. An imported
delivery has NULL instead, and is never forwarded."""

RECORD: Final = tuple(DELIVERIES.c[field.name] for field in fields(Delivery))
"""The columns of a `Delivery`."""


def is_unread(delivery: Delivery) -> bool:
    """Whether the partner's file failed on it, so that its body can be read again once the file is fixed."""
    return delivery.verdict == "broken" and delivery.fate is Fate.NONE and delivery.replayable


def to_row(delivery: Delivery) -> dict[str, Any]:
    """The delivery as a row: values by column name."""
    return {
        **{field.name: getattr(delivery, field.name) for field in fields(delivery)},
        "headers": json.dumps(delivery.headers),
        "fate": delivery.fate.value,
    }


def to_delivery(row: Mapping[str, Any]) -> Delivery:
    """The delivery of a row with the columns of `RECORD`."""
    values = {field.name: row[field.name] for field in fields(Delivery)}
    body = None if values["body"] is None else bytes(values["body"])
    headers = tuple((name, value) for name, value in json.loads(values["headers"]))
    return Delivery(**{**values, "headers": headers, "body": body, "fate": Fate(values["fate"])})


ROW_OVERHEAD: Final = 512
"""Bytes of a row in addition to its texts and body: its numbers and index entries."""


def stored_size(row: Mapping[str, Any]) -> int:
    """Bytes that a row of the store takes."""
    texts = sum(len(value.encode("utf-8", "surrogatepass")) for value in row.values() if isinstance(value, str))
    return ROW_OVERHEAD + texts + len(row["body"] or b"")
