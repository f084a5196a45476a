"""Events that hold only the partner's own id: which stage they are for, now or once the id is known."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import CLOCK_GRACE
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.database import Database
from receiver.app import create_app
from receiver.budget import BURST, RESERVE
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.driver import Driver
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.rows import to_row
from receiver.sending.signals import Signals
from receiver.sending.unmatched import signal_of, unmatched_row
from tests.parts.callbacks import BASE, URLS, for_temporal, no_temporal
from tests.parts.deliveries import delivery
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    OTHER,
    WITH_ID,
    Away,
    Listening,
    called,
    claims,
    event,
    kept,
    partner,
    receiving,
    rows,
    said,
    send,
    set_all,
    until_idle,
    verdicts,
)
from tests.stores import PATIENT
from tests.support import ScriptedPartner, result_of, stage, start, until, waiting, working
from workflows.contract import Answer
from workflows.durations import HOUR


@pytest.fixture
def temporal() -> Listening:
    return Listening()


@pytest.fixture
async def http(database: Database, temporal: Listening) -> AsyncIterator[httpx.AsyncClient]:
    async with receiving(database, temporal) as http:
        yield http


# --- a reference that is known


async def test_a_known_reference_settles_its_stage(real: WorkflowEnvironment, database: Database) -> None:
    signals = for_temporal(real.client)
    async with receiving(database, signals, partner("partner-1")) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        call = claims(workflow_id=handle.id, chain_id=handle.first_execution_run_id or "", partner="partner-1")
        await Calls(database).begin(call)
        await Calls(database).refer(call, "w-1")
        answer = await send(http, event("w-1"), "/partners/partner-1")
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert await said(answer) == (202, "accepted")
    assert (outcome.cause, outcome.data) == ("callback", {"n": 1})
    [one] = kept(database)
    assert (one.workflow_id, one.reference, one.says) == (handle.id, "w-1", "succeeded")


async def test_an_event_before_the_receipt_settles_its_stage(real: WorkflowEnvironment, database: Database) -> None:
    signals = for_temporal(real.client)
    async with receiving(database, signals, partner("partner-1")) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        call = claims(workflow_id=handle.id, chain_id=handle.first_execution_run_id or "", partner="partner-1")
        await Calls(database).begin(call)
        progress = await send(http, event("w-1", "progress", 0), "/partners/partner-1")
        done = await send(http, event("w-1"), "/partners/partner-1")
        await Calls(database).refer(call, "w-1")
        await until(handle, 1, lambda one: one.outcome is not None)
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert [await said(answer) for answer in (progress, done)] == [(202, "accepted")] * 2
    assert (outcome.cause, outcome.data) == ("callback", {"n": 1})


@pytest.mark.parametrize("status", ["succeeded", "failed", "progress", "ask"])
async def test_whatever_an_event_says_it_is_signalled_once(
    http: httpx.AsyncClient, database: Database, temporal: Listening, status: str
) -> None:
    await called(database, 1)
    assert await said(await send(http, event("w-1", status))) == (202, "accepted")
    await until_idle(database)
    assert temporal.heard == [("run-1", 1)]


async def test_of_two_calls_with_one_reference_the_latest_is_meant(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, 2)
    await Calls(database).refer(claims(2), "w-1")
    await send(http, event("w-1"))
    await until_idle(database)
    assert temporal.heard == [("run-2", 1)]


async def test_a_reference_is_known_for_its_own_partner_only(database: Database, temporal: Listening) -> None:
    async with receiving(database, temporal, partner(), partner("other")) as http:
        await called(database, 1)
        answer = await send(http, event("w-1"), "/partners/other")
    assert (await said(answer), temporal.heard) == ((202, "ignored"), [])


async def test_an_event_for_an_expired_call_is_2xx_and_not_sent(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    expired = claims(expires_at=int(time.time() - CLOCK_GRACE) - 1)
    await Calls(database).begin(expired)
    await Calls(database).refer(expired, "w-1")
    assert await said(await send(http, event("w-1"))) == (202, "this")
    await eventually(lambda: verdicts(database) == ["gone"])
    assert temporal.sent == []


# --- a reference that is not known


async def test_an_unknown_reference_is_ignored_if_no_call_waits(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1)
    assert await said(await send(http, event("w-elsewhere"))) == (202, "ignored")
    await eventually(lambda: verdicts(database) == ["ignored"])
    await Calls(database).begin(claims(2))
    await Calls(database).refer(claims(2), "w-elsewhere")
    await send(http, event("w-1"))
    await until_idle(database)
    assert temporal.heard == [("run-1", 1)]


async def test_a_call_of_another_kind_waits_for_no_reference(http: httpx.AsyncClient, database: Database) -> None:
    """Such as those before the partner's file changed: their references are never recorded."""
    for number, kind in enumerate(("url", "token"), 1):
        await Calls(database).note([NotedCall(claims(number), CallOrigin(stage_by=kind), time.time())])
    assert await said(await send(http, event("w-1"))) == (202, "ignored")
    await Calls(database).begin(claims(3))
    await send(http, event("w-2"))
    await eventually(lambda: sorted(verdicts(database)) == ["ignored", "unmatched"])


async def test_an_expired_call_waits_for_no_reference(http: httpx.AsyncClient, database: Database) -> None:
    await Calls(database).begin(claims(expires_at=int(time.time()) - 1))
    assert await said(await send(http, event("w-1"))) == (202, "ignored")


async def test_an_event_before_its_reference_is_sent_once_it_is_known(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, answered=False)
    assert (await send(http, event("w-1"))).json()["answer"] == "accepted; its call is not known yet"
    [waits] = kept(database)
    assert (waits.verdict, waits.reference, waits.fate, temporal.heard) == ("unmatched", "w-1", Fate.NONE, [])
    await Calls(database).refer(claims(), "w-1")
    await eventually(lambda: temporal.heard == [("run-1", 1)])
    await until_idle(database)
    [sent] = kept(database)
    assert (sent.id, sent.verdict, sent.workflow_id, sent.fate) == (waits.id, "accepted", "run-1", Fate.TAKEN)


async def test_a_reference_two_hours_after_its_event_still_finds_it(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, answered=False)
    await send(http, event("w-1"))
    set_all(database, received_at=time.time() - 2 * HOUR)
    await Calls(database).refer(claims(), "w-1")
    await eventually(lambda: temporal.heard == [("run-1", 1)])


async def test_an_operators_reference_finds_its_event(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 2, answered=False)
    await send(http, event("w-1"))
    await Calls(database).refer(claims(), "w-1")
    await eventually(lambda: temporal.heard == [("run-1", 1)])


@pytest.mark.system
@pytest.mark.parametrize("status", ["succeeded", "progress"])
async def test_a_repeat_of_an_unmatched_event_is_one_signal(
    database: Database, temporal: Listening, status: str
) -> None:
    """By its content, or by the signed id if it settles nothing."""
    async with receiving(database, temporal, partner(signature=WITH_ID)) as http:
        await called(database, 1, answered=False)
        for _ in range(3):
            assert (await send(http, event("w-1", status), scheme=WITH_ID)).status_code == 202
        await Calls(database).refer(claims(), "w-1")
        await eventually(lambda: "unmatched" not in verdicts(database))
        assert await said(await send(http, event("w-1", status), scheme=WITH_ID)) == (202, "accepted")
        await until_idle(database)
    assert temporal.heard == [("run-1", 1)]
    assert sorted(verdicts(database)) == ["accepted", *["duplicate"] * 3]
    [first] = kept(database, "accepted")
    assert {one.duplicate_of for one in kept(database, "duplicate")} == {first.id}


async def test_two_reports_without_an_id_are_two_signals(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    """Two identical reports of progress may mean something new each."""
    await called(database, 1, answered=False)
    for _ in range(2):
        await send(http, event("w-1", "progress"))
    await Calls(database).refer(claims(), "w-1")
    await eventually(lambda: temporal.heard == [("run-1", 1)] * 2)


async def test_unmatched_events_of_a_stage_are_sent_in_their_order(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, answered=False)
    for n in range(8):
        await send(http, event("w-1", "progress", n))
    await send(http, event("w-1", "succeeded", 8))
    await Calls(database).refer(claims(), "w-1")
    await eventually(lambda: len(temporal.heard) == 9)
    assert temporal.heard == [("run-1", n) for n in range(9)]


async def test_an_event_is_matched_with_the_latest_of_two_calls(
    http: httpx.AsyncClient, database: Database, temporal: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the statement's limit falls between the rows of the two calls."""
    monkeypatch.setattr("receiver.deliveries.inbox.MATCHED_TOGETHER", 1)
    await called(database, 1, 2, answered=False)
    await send(http, event("w-1"))
    with database.begin() as connection:  # both at once
        connection.exec_driver_sql("UPDATE calls SET reference = 'w-1'")
    await eventually(lambda: temporal.heard == [("run-2", 1)])


@pytest.mark.parametrize("reference", ["w\0-1", "x" * 301, "x" * 30_000])
async def test_a_reference_that_cannot_be_ours_is_ignored(
    http: httpx.AsyncClient, database: Database, reference: str
) -> None:
    """No receipt's reference is so long, and PostgreSQL takes no NUL: a 503 would come again and again."""
    await called(database, 1, answered=False)
    assert await said(await send(http, event(reference))) == (202, "ignored")
    await eventually(lambda: [(one.verdict, one.reference) for one in kept(database)] == [("ignored", "")])


# --- both orders of two commits


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
        known = await inbox.find_calls("bank", ["w-1"])
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


# --- what goes wrong


@pytest.mark.parametrize("away", ["find_calls", "keep_unmatched"])
async def test_while_the_store_is_away_the_answer_is_503(
    database: Database, temporal: Listening, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    monkeypatch.setattr("receiver.app.Inbox", Away)
    await called(database, 1, answered=False)
    async with receiving(database, temporal) as http:
        monkeypatch.setattr(Away, "away", (away,))
        answer = await send(http, event("w-1"))
        monkeypatch.setattr(Away, "away", ())
        again = await send(http, event("w-1"))
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0, again.status_code) == (503, True, 202)


async def test_without_a_store_the_answer_is_503() -> None:
    app = create_app(URLS, {"bank": partner()}, Signals(no_temporal))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http:
        assert (await send(http, event("w-1"))).status_code == 503


@pytest.mark.parametrize("body", [{**OTHER, "about": "w-1000"}, {**OTHER, "items": [{"x": {"id": "w-1000"}}]}])
async def test_not_ours_for_a_known_reference_is_the_files_mistake(
    http: httpx.AsyncClient, database: Database, body: Any
) -> None:
    await called(database, 1000)
    assert (await send(http, body)).status_code == 503
    assert await said(await send(http, OTHER)) == (202, "ignored")
    await eventually(lambda: sorted(verdicts(database)) == ["broken", "ignored"])


async def test_rows_of_an_older_receiver_are_sent_and_never_matched(database: Database, temporal: Listening) -> None:
    """An older receiver writes no reference, no part: the columns have their defaults."""
    await called(database, 1)
    one = delivery("chain-2", workflow_id="run-2")
    row = to_row(one) | {"request_id": "r-1", "callback": to_callback(2), "due_at": 0.0, "promised": None}
    older = {name: value for name, value in row.items() if name not in {"reference", "part_of", "part"}}
    names = ", ".join(older)
    with database.begin() as connection:
        values = ", ".join(f":{name}" for name in older)
        connection.execute(sa.text(f"INSERT INTO deliveries ({names}) VALUES ({values})"), older)
    async with receiving(database, temporal):
        await eventually(lambda: temporal.heard == [("run-2", 2)])
        await until_idle(database)
    found = Archive(database).get(one.id)
    assert (found.reference, found.part_of, found.part, found.fate) == ("", "", 0, Fate.TAKEN)


def to_callback(n: int) -> str:
    callback: str = unmatched_row(delivery(), Answer("succeeded", data={"n": n}))["callback"]
    return callback


async def test_unmatched_events_are_not_in_the_queue(http: httpx.AsyncClient, database: Database) -> None:
    await called(database, 1, answered=False)
    await send(http, event("w-1"))
    [row] = rows(database)
    assert (row["due_at"], row["request_id"], row["fate"]) == (None, None, "")


@pytest.mark.system
async def test_events_over_their_budget_are_kept_and_sent_later(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    """At this URL a 429 would cost the account's other calls their events too."""
    await called(database, 1)
    temporal.answering.clear()  # so that only the first event, if any, is on its way
    began, allowed, over = time.time(), BURST - RESERVE, 3
    answers = [(await send(http, event("w-1", "progress", n))).status_code for n in range(allowed + over)]
    due = [row["due_at"] - began for row in rows(database) if row["due_at"] is not None]
    assert (set(answers), len(due)) == ({202}, allowed + over)
    assert max(due[1:-over]) < min(due[-over:])
    set_all(database, due_at=0.0)
    temporal.answering.set()
    await eventually(lambda: temporal.heard == [("run-1", n) for n in range(allowed + over)])
