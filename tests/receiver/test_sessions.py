"""PostgreSQL's session: what a receiver's own keeps, and what a pooler's must not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from activities.store import migrations
from activities.store.database import Database
from receiver.deliveries.delivery import Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.judging import How
from receiver.deliveries.queries import PREPARED
from receiver.deliveries.queue import Conclusion
from receiver.deliveries.statements import Statements
from tests.parts.deliveries import delivery, keep
from tests.parts.volumes import fill
from tests.stores import PATIENT, Postgres, Proxy

ROWS = 3000
BOUNDS = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout", "enable_seqscan")
PLANNED_BY = 8
"""Callbacks after which PostgreSQL has planned the prepared queries for good: it tries five times."""

SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan"}


@pytest.fixture
def direct(postgres: Postgres) -> Database:
    """A new store on PostgreSQL."""
    database = Database(postgres.new_database())
    migrations.upgrade(database)
    return database


@pytest.fixture
def pooled(direct: Database, proxy: Proxy) -> Database:
    """The same store behind a pooler."""
    proxy.is_pooler = True
    return Database(proxy.url_of(direct))


def asked(cursor: Any, query: str) -> list[Any]:
    return [row[0] for row in cursor.execute(query).fetchall()]


def bounds(cursor: Any) -> list[str]:
    return [asked(cursor, f"SHOW {name}")[0] for name in BOUNDS]


async def kept_and_taken(inbox: Inbox, number: int, run: str) -> None:
    for n in range(number):
        one = delivery(f"{run}-{n}")
        assert await keep(inbox, one, f"{run}-{n}") is How.LEASED
        inbox.conclude(Conclusion(one.id, Fate.TAKEN))
    await inbox.flush()


def owns_session(database: Database) -> bool:
    connection: Any = database.connect()
    connection.close()
    return bool(connection.owns_session)


def test_a_pooler_is_recognized(direct: Database, proxy: Proxy) -> None:
    """A plain TCP proxy gives each client a process of its own; a pooler does not."""
    proxied = Database(proxy.url_of(direct))
    assert (owns_session(direct), owns_session(proxied)) == (True, True)
    proxy.is_pooler = True
    assert not owns_session(proxied)


async def test_nothing_stays_in_a_poolers_session(pooled: Database) -> None:
    """It gives the session to other clients."""
    inbox = Inbox(pooled, PATIENT)
    async with inbox.running():
        within = await inbox._writer.do(bounds, within=None)
        await kept_and_taken(inbox, PLANNED_BY, "run")
        connection: Any = inbox._writer._connection
        session, prepared = bounds(connection), asked(connection, "SELECT name FROM pg_prepared_statements")
    assert within == ["5s", "5s", "200ms", "on"]
    assert session == ["0", "0", "0", "on"]
    assert prepared == []


async def test_an_own_session_keeps_bounds_and_prepared_queries(direct: Database) -> None:
    inbox = Inbox(direct, PATIENT)
    async with inbox.running():
        await kept_and_taken(inbox, PLANNED_BY, "run")
        for _ in range(PLANNED_BY):
            await inbox.claim(10)
        await inbox._writer.do(partial(of_several, direct), within=None)
        connection: Any = inbox._writer._connection
        session = bounds(connection)
        prepared = set(asked(connection, "SELECT statement FROM pg_prepared_statements"))
    assert session == ["5s", "5s", "200ms", "off"]
    assert prepared
    assert prepared <= {numbered(direct.sql(query)) for query in PREPARED}


def of_several(database: Database, cursor: Any) -> None:
    """Queries that psycopg runs for several rows."""
    statements, ids = Statements(database), ["a", "b"]
    statements.requeue(cursor, ids, 1.0)
    statements.drop(cursor, ids)
    statements.describe(cursor, [{"id": id_, "pipeline": "p", "definition": ""} for id_ in ids])


async def test_a_changed_commit_setting_holds_for_the_next_transaction(direct: Database) -> None:
    """And none lets the server answer before the disk has the transaction."""
    inbox, found = Inbox(direct, PATIENT), []
    async with inbox.running():
        await inbox.depth()
        connection: Any = inbox._writer._connection
        for setting in ("local", "remote_apply", "off"):
            connection.execute(f"SET synchronous_commit = {setting}")  # as the server does when it reads its file again
            found += await inbox._writer.do(lambda cursor: asked(cursor, "SHOW synchronous_commit"), within=None)
    assert found == ["local", "remote_apply", "on"]


def test_a_transaction_of_a_worker_or_a_command_is_durable_too(direct: Database) -> None:
    with direct.begin() as connection:
        connection.exec_driver_sql(f'ALTER DATABASE "{direct.url.database}" SET synchronous_commit = off')
    with direct.begin() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


STATES = {
    "new": [],
    "of two chains that are taken": ["UPDATE deliveries SET fate = 'taken', says = 'succeeded'"],
    "of two chains that are queued": ["UPDATE deliveries SET fate = 'pending', due_at = 1"],
    "of refused requests": ["UPDATE deliveries SET request_id = NULL, chain_id = '', verdict = 'unproven'"],
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("is_analyzed", [False, True])
def test_each_prepared_query_is_planned_by_its_key(direct: Database, state: str, is_analyzed: bool) -> None:
    """Whatever the parameters, and whatever PostgreSQL knows of the tables, each of them is read by an index."""
    if state != "new":
        fill(direct, ROWS, 2, callback="{}")
    connection: Any = direct.connect()
    for statement in STATES[state]:
        connection.execute(statement)
    if is_analyzed:
        connection.execute("ANALYZE")
    without = {}
    for query in PREPARED:
        explain = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered(direct.sql(query))}"
        plan = connection.execute(explain).fetchone()[0][0]["Plan"]
        if whole := list(read_as_a_whole(plan)):
            without[query] = whole
    connection.close()
    assert len(PREPARED) >= 8
    assert without == {}


def numbered(query: str) -> str:
    """The query with numbers in place of its parameters' names."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", query)))
    return re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", query)


def read_as_a_whole(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan that read a table or an index from its beginning to its end."""
    if node["Node Type"] in SCANS and " = " not in node.get("Index Cond", ""):
        yield node
    for inner in node.get("Plans", []):
        yield from read_as_a_whole(inner)


async def test_a_session_that_lost_its_prepared_queries_is_left(direct: Database) -> None:
    """No callback fails for it."""
    inbox = Inbox(direct, PATIENT)
    async with inbox.running():
        await kept_and_taken(inbox, PLANNED_BY, "run")
        connection: Any = inbox._writer._connection
        for name in asked(connection, "SELECT name FROM pg_prepared_statements"):
            connection.execute(f"DEALLOCATE {name}")
        await kept_and_taken(inbox, 2, "later")
        assert inbox._writer._connection is not connection
