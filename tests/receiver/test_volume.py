"""The store at volume: what a statement reads does not grow with what is kept, queued, refused or called."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from activities.store import calls
from activities.store.database import Database
from receiver.deliveries import call_times, queries, received_counts
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.driver import Driver
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Conclusion
from receiver.deliveries.rows import to_row
from receiver.deliveries.statements import NOT_QUEUED
from tests.parts.deliveries import delivery, queued
from tests.parts.volumes import fill, read_of
from tests.stores import PATIENT, store_of, url_of

ROWS = 6000
MOST = 20
"""Limit of each statement that has one."""

CALLS = ("FIND_CALLS", "FIND_ORIGIN", "FIND_ORIGINS", "HAS_OPEN_CALL", "PRUNE_CALLS")
STATS: dict[str, str] = {
    name: text
    for module in (call_times, received_counts)
    for name, text in vars(module).items()
    if isinstance(text, str) and "FROM" in text
}
TEXTS = {name: text for name, text in vars(queries).items() if name.isupper() and isinstance(text, str)}
HOT = {
    **{name: text for name, text in TEXTS.items() if " deliveries" in text},
    **{name: getattr(calls, name) for name in CALLS},
    **STATS,
}

# The oldest come last in the tables, as after an import: a query that reads a table from its beginning shows.
SPREAD = (
    "UPDATE deliveries SET due_at = 1, fate = 'pending', chain_id = 'queued-' || id WHERE request_id::int < 2000",
    "UPDATE deliveries SET due_at = extract(epoch FROM now()) + 600 WHERE request_id::int < 1000",
    "UPDATE deliveries SET verdict = 'unproven' WHERE request_id::int BETWEEN 2000 AND 2999",
    "UPDATE deliveries SET workflow_id = 'run-' || request_id",
    "UPDATE deliveries SET fate = 'parked' WHERE request_id::int BETWEEN 3000 AND 3019",
    "UPDATE deliveries SET received_at = CASE WHEN due_at IS NULL THEN 0 ELSE 10000 END - request_id::int",
    f"""INSERT INTO calls (call_id, workflow_id, chain_id, stage, attempt, issued_at, expires_at, partner, reference,
        called_at) SELECT n::text, 'run', 'chain', 1, 1, 1, -n, 'bank', 'ref-' || n, n
        FROM generate_series(1, {ROWS}) n""",
)


@pytest.fixture(scope="module")
def volume(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A store on PostgreSQL: a third is queued, and half of that put off; some are refused or parked; two chains have
    most progress."""
    with request.getfixturevalue("postgres_databases").lent() as database:
        fill(database, ROWS, 2, says="progress", fate="taken", callback="{}")
        with database.begin() as connection:
            for statement in SPREAD:
                connection.exec_driver_sql(statement)
        yield database


def parameters(database: Database, name: str) -> dict[str, Any]:
    """Texts: a chain, a delivery, its content, a call and a reference, all of which exist."""
    id_ = f"{'0' * 14}{100_000 + 4500}"
    own = {**to_row(delivery()), **NOT_QUEUED} if name == "INSERT" else {**to_row(delivery()), "id": id_}
    numbers = {"most": MOST, "among": MOST, "told": 0, "over": 1, "final": 1, "longest": 1, "due_at": None}
    moments = {"at": time.time(), "since": -1e9, "until": time.time(), "now": time.time(), "before": -3e3}
    known = {"chain-1", id_, "4500", "ref-4500", "run-4500"}
    texts = Driver(database).texts(known) | Driver(database).texts(known, "request_ids")
    if name == "CLAIM":
        moments |= {"since": 0.0, "before": moments["at"]}
    stats = {"first_refusal": 400}
    others = {"request_id": "4500", "earlier_id": "", "call_id": "4500", "callback": "{}", "if_promised": "parked"}
    return {**own, **others, **numbers, **moments, **texts, **stats}


@pytest.mark.parametrize("statistics", ["none", "of now"])
def test_no_statement_reads_more_than_it_returns(volume: Database, statistics: str) -> None:
    """Of the hot path, of retention and of statistics; whatever PostgreSQL has learnt of the tables."""
    with psycopg.connect(url_of(volume).replace("+psycopg", "")) as connection:
        connection.execute("ANALYZE" if statistics == "of now" else "DELETE FROM pg_statistic WHERE starelid > 16384")
        connection.execute("SET enable_seqscan = off")  # cheaper for a few thousand rows
        if statistics == "none":
            connection.execute("SET enable_bitmapscan = off")  # cheaper for the few rows that it then expects
        read = {}
        for name, text in HOT.items():
            with connection.transaction(force_rollback=True):
                explain: Any = f"EXPLAIN (ANALYZE, FORMAT JSON) {volume.sql(text)}"
                row = connection.execute(explain, parameters(volume, name)).fetchone()
                assert row is not None
                read[name] = read_of(row[0][0]["Plan"])
    assert len(read) >= 30
    assert {name: rows for name, rows in read.items() if rows > 4 * MOST} == {}
    assert (read["CLAIM"], read["PRUNE"], read["PRUNE_CALLS"]) >= (MOST, MOST, MOST)


def test_a_lookup_reads_as_much_in_a_store_that_is_new(volume: Database) -> None:
    """Where PostgreSQL has learnt nothing of the queue or of the successes, which came at once."""
    chains = {f"queued-{'0' * 14}{100_000 + n}" for n in range(32)}
    known = Driver(volume).texts(chains) | Driver(volume).texts({str(n) for n in range(32)}, "request_ids")
    with psycopg.connect(url_of(volume).replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DELETE FROM pg_statistic WHERE starelid > 16384")
        connection.execute("BEGIN")
        connection.execute("UPDATE deliveries SET says = 'succeeded' WHERE fate = 'taken'")
        explain: Any = f"EXPLAIN (ANALYZE, FORMAT JSON) {volume.sql(queries.LOOK)}"
        row = connection.execute(explain, known).fetchone()
        connection.execute("ROLLBACK")
    assert row is not None
    assert read_of(row[0][0]["Plan"]) <= 3 * len(chains)


@pytest.mark.parametrize("is_analyzed", [False, True])
def test_a_lookup_reads_one_of_a_long_line(is_analyzed: bool, request: pytest.FixtureRequest) -> None:
    """A callback is the next of a stage in which thousands are queued."""
    with request.getfixturevalue("postgres_databases").lent() as database:
        fill(database, ROWS, 2, says="progress", fate="pending", due_at=1.0, callback="{}")
        connection: Any = database.connect()
        if is_analyzed:
            connection.execute("ANALYZE deliveries")
        of_one = {"request_id": "new", "earlier_id": "new", "chain_id": "chain-1", "stage": 1}
        found = Driver(database).rows(connection.cursor(), queries.LOOK_ONE, of_one)
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {database.sql(queries.LOOK_ONE)}"
        plan = connection.execute(explain, of_one).fetchone()[0][0]["Plan"]
        connection.close()
    assert [row["found"] for row in found] == ["queued"]
    assert read_of(plan) <= 5


def test_a_prefix_of_an_id_is_found_by_the_index(database: Database) -> None:
    Archive(database).add([delivery(id=id_) for id_ in ("0a1", "0a2", "0b1", "of-another-form")])
    asked: list[str] = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *rest: object) -> None:
        asked.append(statement)

    assert [Archive(database).get(id_).id for id_ in ("0a1", "0b", "of-an")] == ["0a1", "0b1", "of-another-form"]
    assert sum("substr" in statement for statement in asked) == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_conflict_is_told_from_successes_alone(kind: str, request: pytest.FixtureRequest) -> None:
    """However much progress the chain has reported."""
    with store_of(kind, request) as database, database.begin() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        texts = Driver(database).texts({"chain-1"}) | Driver(database).texts({"4500"}, "request_ids")
        plan = connection.exec_driver_sql(f"{explain} {database.sql(queries.LOOK)}", texts).all()
        assert "ix_deliveries_succeeded" in str(plan)


async def test_long_values_are_stored_apart_from_the_rows(request: pytest.FixtureRequest) -> None:
    """PostgreSQL writes the whole row again for each change, but not what it stores apart."""
    number, length = 64, 1000
    with request.getfixturevalue("postgres_databases").lent() as database:
        inbox = Inbox(database, PATIENT)
        async with inbox.running():
            for n in range(number):
                text = random.Random(n).randbytes(length // 2).hex()
                one = delivery(f"chain-{n}", body=text.encode(), body_size=length, headers=(("X-Long", text[:600]),))
                await inbox.keep(one, replace(queued(one, one.id), callback=json.dumps({"data": text})), lease=True)
                inbox.conclude(Conclusion(one.id, Fate.TAKEN))
            await inbox.flush()
        with database.begin() as connection:
            size = connection.exec_driver_sql(f"SELECT pg_relation_size('deliveries') / {number}").scalar()
    assert size is not None
    assert 2 * 300 < size < 2 * 1280
