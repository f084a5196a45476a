"""How much of what needs no action is recorded, by a clock of the test's own."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from activities.callback_urls import Claims
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from receiver.budget import (
    ALL_BYTES_PER_DAY,
    BYTES_PER_DAY,
    BYTES_PER_MINUTE,
    PER_MINUTE,
    URL_BYTES,
    URL_RESULT_BYTES,
    RecordBudget,
    UrlBudget,
)
from receiver.deliveries.rows import stored_size, to_row
from tests.parts.clocks import Clock
from tests.parts.deliveries import delivery
from workflows.durations import DAY


def test_so_many_of_a_kind_are_recorded_in_a_minute() -> None:
    clock = Clock()
    budget = RecordBudget(clock)
    assert [budget.allows("unknown", "", 10) for _ in range(PER_MINUTE + 1)] == [True] * PER_MINUTE + [False]
    assert budget.allows("unproven", "bank", 10), "of another kind"
    clock.now += 60
    assert budget.allows("unknown", "", 10)


def test_long_ones_are_fewer() -> None:
    budget = RecordBudget(Clock())
    assert sum(budget.allows("unknown", "", 30_000) for _ in range(PER_MINUTE)) == BYTES_PER_MINUTE // 30_000
    assert not budget.allows("unknown", "", 30_000)
    assert budget.allows("unknown", "", 10)


def record_all_day(budget: RecordBudget, clock: Clock, kinds: list[tuple[str, str]], size: int) -> int:
    """Ask for as many requests as a minute allows, all day; returns the bytes that were recorded."""
    recorded, end = 0, clock.now - clock.now % DAY + DAY
    while clock.now < end:
        for kind in kinds:
            for _ in range(BYTES_PER_MINUTE // size):
                recorded += size * budget.allows(*kind, size)
        clock.now += 60
    return recorded


def test_one_kind_is_recorded_up_to_its_bytes_of_a_day() -> None:
    clock = Clock()
    budget = RecordBudget(clock)
    size = BYTES_PER_MINUTE // 4
    assert record_all_day(budget, clock, [("unknown", "")], size) == BYTES_PER_DAY
    assert budget.allows("unknown", "", size), "on the next day"


def test_all_kinds_together_have_a_budget_of_bytes_a_day() -> None:
    clock = Clock()
    kinds = [("unproven", f"partner-{n}") for n in range(20)]
    assert record_all_day(RecordBudget(clock), clock, kinds, BYTES_PER_MINUTE) == ALL_BYTES_PER_DAY


def test_what_is_not_recorded_is_counted_once() -> None:
    unrecorded: list[tuple[str, str]] = []
    budget = RecordBudget(Clock())
    budget.on_unrecorded = lambda verdict, partner: unrecorded.append((verdict, partner))
    assert budget.may_allow("unknown", "", 10)
    assert budget.allows("unknown", "", 10)
    assert unrecorded == []
    assert not budget.may_allow("unknown", "", BYTES_PER_MINUTE)
    assert not budget.allows("gone", "bank", BYTES_PER_DAY + 1)
    assert unrecorded == [("unknown", ""), ("gone", "bank")]


@pytest.mark.system
@pytest.mark.parametrize("headers", [(), (("a", ""),) * 500, (("x", "\xe9" * 2000),)])
@pytest.mark.parametrize("body", [b"", bytes(20_000)])
def test_a_request_counts_as_many_bytes_as_its_row_takes(
    database: Database, headers: tuple[tuple[str, str], ...], body: bytes
) -> None:
    """As both databases say, to a tenth and what PostgreSQL compresses."""
    rows = [
        to_row(delivery(f"chain-{n}", headers=headers, body=body, body_size=len(body), verdict="unproven"))
        for n in range(400)
    ]
    before = size_of(database)
    with database.begin() as connection:
        connection.execute(sa.insert(DELIVERIES), rows)
    assert size_of(database) - before <= 1.1 * sum(map(stored_size, rows))


def size_of(database: Database) -> int:
    with database.begin() as connection:
        if database.is_sqlite:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            return int(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one())
        return int(connection.exec_driver_sql("SELECT pg_total_relation_size('deliveries')").scalar_one())


def test_each_url_has_a_budget_of_bytes_and_more_for_results() -> None:
    budget, mebibyte = UrlBudget(), 1024 * 1024
    claims, other = Claims("run", "chain", 1, 1, "bank", 1, 2), Claims("run", "chain", 1, 2, "bank", 1, 2)
    assert sum(budget.allows(claims, mebibyte, settles=False) for _ in range(120)) == URL_BYTES // mebibyte
    assert sum(budget.allows(claims, mebibyte, settles=True) for _ in range(120)) == URL_RESULT_BYTES // mebibyte
    assert budget.allows(claims, 10, settles=False) is False
    assert budget.allows(other, mebibyte, settles=False)
