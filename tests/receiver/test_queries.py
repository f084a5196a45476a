"""The queries as text: valid in both databases."""

from __future__ import annotations

from typing import Any

from receiver.deliveries import queries
from receiver.deliveries.database import Database
from receiver.deliveries.schema import to_row
from receiver.deliveries.statements import NOT_QUEUED, Statements
from tests.parts.deliveries import delivery

TEXTS = [text for name, text in vars(queries).items() if name.isupper() and isinstance(text, str)]
QUERIES = [text for text in TEXTS if " deliveries" in text]


def test_both_databases_can_plan_every_query(database: Database) -> None:
    """Also a query that no other test runs on one of them."""
    moments = dict.fromkeys(("at", "before", "never", "until"), 1.0)
    numbers = dict.fromkeys(("told", "over", "final", "most", "among", "longest"), 1)
    texts = Statements(database)._texts({"a"}) | {"if_promised": "parked"}
    parameters: dict[str, Any] = {**to_row(delivery()), **NOT_QUEUED, **moments, **numbers, **texts}
    with database.begin() as connection:
        plans = [connection.exec_driver_sql(f"EXPLAIN {database.sql(query)}", parameters).all() for query in QUERIES]
    assert len(plans) >= 20
    assert all(plans)
