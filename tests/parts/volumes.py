"""Stores with many rows, and how many of them a query reads."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.deliveries.rows import to_row
from tests.parts.deliveries import delivery

PREFIX = "0" * 14
"""What the ids of the rows begin with."""


def fill(database: Database, count: int, stages: int, **columns: Any) -> None:
    """Write rows of deliveries to so many stages. The database makes them of one: to send each would take seconds."""
    first = sa.select(sa.literal(0).label("n")).cte("counted", recursive=True)
    counted = first.union_all(sa.select(first.c.n + 1).where(first.c.n < count - 1))
    n = counted.c.n
    row = {name: sa.literal(value, DELIVERIES.c[name].type) for name, value in to_row(delivery()).items()}
    row |= {name: sa.literal(value, DELIVERIES.c[name].type) for name, value in columns.items()}
    made = {
        "chain_id": sa.literal("chain-").concat(sa.cast(n % stages, sa.String)),
        "id": sa.literal(PREFIX).concat(sa.cast(n + 100_000, sa.String)),
        "request_id": sa.cast(n, sa.String),
    }
    filled: dict[str, sa.ColumnElement[Any]] = {**row, **made}
    with database.begin() as connection:
        connection.execute(sa.insert(DELIVERIES).from_select(list(filled), sa.select(*filled.values())))
        written = sa.select(sa.func.count()).where(DELIVERIES.c.id.startswith(PREFIX))
        assert connection.execute(written).scalar() == count


def read_of(node: Any) -> int:
    """The rows that a plan's nodes have read, those included that a filter removed."""
    loops, counts = node["Actual Loops"], ("Actual Rows", "Rows Removed by Filter")
    own = sum(round(loops * node.get(count, 0)) for count in counts) if "Relation Name" in node else 0
    return own + sum(read_of(inner) for inner in node.get("Plans", []))
