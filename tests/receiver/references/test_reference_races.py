"""An event and its reference are matched whichever is committed last, and at one receiver only."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest

from activities.store.calls import Calls
from activities.store.database import Database
from receiver.deliveries.delivery import Fate
from receiver.deliveries.driver import Driver
from receiver.deliveries.inbox import Inbox
from receiver.sending.unmatched import signal_of, unmatched_row
from tests.parts.deliveries import delivery
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    Listening,
    called,
    claims,
    event,
    kept,
    receiving,
    send,
    until_idle,
    verdicts,
)
from tests.stores import PATIENT
from workflows.contract import Answer


async def test_the_reference_written_between_two_looks_is_not_missed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL the worker commits between any two statements of the receiver."""
    if database.is_sqlite:
        pytest.skip("a transaction that writes is alone there")
    table = Calls(database)
    await table.begin(claims())
    look = Driver.rows
    found: list[Any] = []

    def refer_after_the_first(self: Driver, cursor: Any, query: str, parameters: Any) -> Any:
        result = look(self, cursor, query, parameters)
        if not found and "calls" in query:
            found.append(query)
            asyncio.run(table.refer(claims(), "w-1"))
        return result

    inbox = Inbox(database, PATIENT)
    async with inbox.running():
        monkeypatch.setattr(Driver, "rows", refer_after_the_first)
        known = await inbox.find_calls("bank", ["w-1"], signal_of)
    assert found
    assert known.is_waiting or known.claims == {"w-1": claims()}


class Transactions:
    """Two connections to PostgreSQL: one commits an event, the other the reference that it waits for."""

    def __init__(self, database: Database) -> None:
        url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self.receiver, self.worker = psycopg.connect(url), psycopg.connect(url)

    def insert_event(self, database: Database) -> None:
        nothing: dict[str, Any] = {
            "workflow_id": "",
            "chain_id": "",
            "stage": 0,
            "attempt": 0,
            "issued_at": 0,
            "expires_at": 0,
        }
        one = replace(delivery(), verdict="unmatched", reference="w-1", **nothing)
        row = unmatched_row(one, Answer("succeeded", data={"n": 1}))
        row |= {"request_id": None, "due_at": None, "promised": None}
        names = ", ".join(row)
        values = ", ".join(f"%({name})s" for name in row)
        self.receiver.execute(f"INSERT INTO deliveries ({names}) VALUES ({values})", row)

    def write_reference(self) -> None:
        self.worker.execute("UPDATE calls SET reference = 'w-1'")

    def close(self) -> None:
        self.receiver.close()
        self.worker.close()


Order = Callable[[Transactions], tuple[psycopg.Connection[Any], psycopg.Connection[Any]]]


@pytest.mark.parametrize(
    "order",
    [lambda two: (two.receiver, two.worker), lambda two: (two.worker, two.receiver)],
    ids=["event", "reference"],
)
async def test_whichever_commit_comes_last_the_next_look_finds_both(database: Database, order: Order) -> None:
    if database.is_sqlite:
        pytest.skip("a transaction that writes is alone there")
    await called(database, 1, answered=False)
    inbox, two = Inbox(database, PATIENT), Transactions(database)
    async with inbox.running():
        two.insert_event(database)
        two.write_reference()
        assert await inbox.match(signal_of) == 0, "neither is committed"
        first, last = order(two)
        first.commit()
        assert await inbox.match(signal_of) == 0
        last.commit()
        assert await inbox.match(signal_of) == 1
        [queued] = await inbox.claim(10)
    two.close()
    assert (queued.claims, queued.fate) == (claims(), Fate.PENDING)


async def test_a_kept_event_that_cannot_be_read_is_parked_alone(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    """Such as an event that a later version has kept."""
    await called(database, 1, 2, answered=False)
    await send(http, event("w-1"))
    await send(http, event("w-2"))
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET callback = '{}' WHERE reference = 'w-1'")
    await called(database, 1, 2)
    await until_idle(database)
    await eventually(lambda: [one.fate for one in kept(database)] == [Fate.PARKED, Fate.TAKEN])
    assert temporal.heard == [("run-2", 1)]


async def test_claims_that_a_stranger_has_written_can_be_shown(http: httpx.AsyncClient, database: Database) -> None:
    """A partner repeats texts of its customers. Claims in them are not verified, and may hold half a character."""
    await called(database, 1)
    stated = json.dumps([1, "\ud800", "chain", 1, 1, "bank", 1_790_000_000, 4_000_000_000], separators=(",", ":"))
    token = base64.urlsafe_b64encode(stated.encode()).decode().rstrip("=") + "." + "A" * 43
    assert (await send(http, event("w-1") | {"note": token})).status_code == 202
    [one] = kept(database)
    assert one.body is not None
    assert token.encode() not in one.body


@pytest.mark.usefixtures("unhurried_locks")
async def test_two_receivers_match_an_event_once(database: Database) -> None:
    temporals = [Listening(), Listening()]
    await called(database, 1, answered=False)
    async with receiving(database, temporals[0]) as one, receiving(database, temporals[1]) as other:
        for n in range(10):
            await asyncio.gather(send(one, event("w-1", "failed", n)), send(other, event("w-1", "failed", n)))
        await Calls(database).refer(claims(), "w-1")
        await eventually(lambda: "unmatched" not in verdicts(database))
        await until_idle(database)
    heard = [n for temporal in temporals for _, n in temporal.heard]
    assert sorted(heard) == list(range(10))
