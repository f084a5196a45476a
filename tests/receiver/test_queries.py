"""The queries as text: valid in both databases."""

from __future__ import annotations

from typing import Any

import pytest

from activities.store.database import Database
from receiver.deliveries import queries
from receiver.deliveries.archive import Archive
from receiver.deliveries.driver import Driver
from receiver.deliveries.rows import to_row
from receiver.deliveries.statements import NOT_QUEUED
from tests.parts.deliveries import delivery
from workflows.durations import DAY, HOUR

TEXTS = [text for name, text in vars(queries).items() if name.isupper() and isinstance(text, str)]
QUERIES = [text for text in TEXTS if " deliveries" in text]


def test_both_databases_can_plan_every_query(database: Database) -> None:
    """Also a query that no other test runs on one of them."""
    moments = dict.fromkeys(("at", "before", "since", "until"), 1.0)
    numbers = dict.fromkeys(("told", "over", "final", "most", "among", "longest"), 1)
    texts = {
        **Driver(database).texts({"a"}),
        **Driver(database).texts({"a"}, "request_ids"),
        "if_promised": "parked",
        "earlier_id": "",
    }
    parameters: dict[str, Any] = {**to_row(delivery()), **NOT_QUEUED, **moments, **numbers, **texts}
    with database.begin() as connection:
        plans = [connection.exec_driver_sql(f"EXPLAIN {database.sql(query)}", parameters).all() for query in QUERIES]
    assert len(plans) >= 20
    assert all(plans)


def test_a_list_of_texts_arrives_as_it_is(database: Database) -> None:
    texts = {"", "NULL", "a,b", "{c}", '"', "\\", '\\"', "\n", " d ", "\u00e9\u2028\U0001f600", "'", "%s", ":e"}
    connection, driver = database.connect(), Driver(database)
    cursor = connection.cursor()
    for some in (texts, set[str]()):
        found = set()
        for text in texts | {"another"}:
            driver.execute(
                cursor, "SELECT 1 WHERE CAST(:text AS text) {among_texts}", {"text": text, **driver.texts(some)}
            )
            found |= {text} if cursor.fetchall() else set()
        assert found == some
    connection.close()


@pytest.mark.parametrize("page", [10, 200])
def test_a_moment_begins_at_its_earliest_position(
    database: Database, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    now = 2e9
    monkeypatch.setattr("receiver.deliveries.archive.PAGE", page)
    archive = Archive(database)
    archive.add([delivery(received_at=now - HOUR + n) for n in range(40)])
    late = delivery(received_at=now + HOUR)  # imported, or by a receiver whose clock is ahead
    archive.add([late, *(delivery(received_at=now + n) for n in range(3))])
    assert archive.before(now) == 40
    assert archive.before(now - 2 * HOUR) == 0
    assert archive.before(now + DAY) == 44
