"""The table of calls, written behind the call: what it tells, and that no call waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
import respx
import sqlalchemy as sa
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs, Claims, fingerprint
from activities.calls import PartnerCalls, http_client
from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.partner import Partner
from activities.store import call_notes
from activities.store.call_notes import CallNotes
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.database import Database
from activities.store.errors import StoreAway
from activities.store.schema import CALLS
from tests.parts.waits import eventually
from tests.support import KEY, SOON
from workflows.contract import StageCall

CALL = StageCall(
    "run-1",
    "chain-1",
    2,
    "account-check",
    "bank",
    1,
    1_800_000_000,
    4_000_000_000,
    pipeline="onboarding",
    definition="0123456789ab",
)
CLAIMS = Claims.of(CALL)
ORIGIN = CallOrigin("onboarding", "0123456789ab", fingerprint(KEY), "url")
BANK = sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"}))
ENDPOINT = "http://sandbox.test/bank/calls"


def told(database: Database) -> list[tuple[str, ...]]:
    columns = (CALLS.c.workflow_id, CALLS.c.pipeline, CALLS.c.definition, CALLS.c.key_fingerprint, CALLS.c.stage_by)
    with database.begin() as connection:
        return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(CALLS.c.position))]


async def make(notes: CallNotes, call: StageCall = CALL, partner: Partner = BANK, calls: Calls | None = None) -> None:
    async with http_client() as http:
        made = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": partner}, calls, notes)
        env = ActivityEnvironment()
        env.info = replace(env.info, start_to_close_timeout=timedelta(minutes=10))  # the store's share is a twentieth
        await env.run(made.call_partner, call)


class Away(Calls):
    """The table of a store that is away until it is back, and that counts what it is asked to write."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.away = True
        self.asked = 0

    async def note(self, calls: Sequence[NotedCall]) -> None:
        self.asked += 1
        if self.away:
            raise StoreAway("the store cannot be reached")
        await super().note(calls)


@pytest.mark.system
@respx.mock
@pytest.mark.parametrize("kind", ["url", "token"])
async def test_a_call_is_recorded_with_what_it_is_of(database: Database, kind: str) -> None:
    respx.post(ENDPOINT).respond(202, json={"id": "w-1"})
    notes = CallNotes(Calls(database))
    before = time.time()
    async with notes.running():
        await make(notes, partner=replace(BANK, stage_by=kind))  # type: ignore[arg-type]
    assert told(database) == [("run-1", "onboarding", "0123456789ab", fingerprint(KEY), kind)]
    with database.begin() as connection:
        [row] = connection.execute(sa.select(CALLS)).mappings()
    assert (row["call_id"], row["reference"]) == (CLAIMS.idempotency_key, "")
    assert before <= row["called_at"] <= time.time()


@respx.mock
async def test_a_call_by_reference_is_recorded_before_with_the_same(database: Database) -> None:
    respx.post(ENDPOINT).respond(202, json={"id": "w-1"})
    table = Calls(database)
    await make(CallNotes(table), partner=replace(BANK, stage_by="reference"), calls=table)
    assert told(database) == [("run-1", "onboarding", "0123456789ab", fingerprint(KEY), "reference")]


@respx.mock
async def test_a_store_that_hangs_delays_no_call(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    route = respx.post(ENDPOINT).respond(202, json={"id": "w-1"})
    table, never = Calls(database), asyncio.Event()
    monkeypatch.setattr(table, "note", lambda calls: never.wait())
    monkeypatch.setattr(call_notes, "WRITE_REST_WITHIN", 0.1)
    notes = CallNotes(table)
    async with asyncio.timeout(3 * SOON), notes.running():
        for number in range(3):
            await make(notes, replace(CALL, attempt=number + 1))
    assert route.call_count == 3


async def test_an_outage_is_logged_once_with_what_it_cost(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    table = Away(database)
    notes = CallNotes(table)
    async with notes.running():
        for number in range(1, 4):
            notes.put(replace(CLAIMS, attempt=number), ORIGIN)
            await eventually(lambda number=number: table.asked == number)  # type: ignore[misc]
        table.away = False
        notes.put(replace(CLAIMS, attempt=4), ORIGIN)
    assert [record.message for record in caplog.records] == ["calls-not-recorded", "calls-recorded-again"]
    assert (caplog.records[0].why, caplog.records[1].dropped) == ("the store cannot be reached", 3)  # type: ignore[attr-defined]
    assert len(told(database)) == 1


async def test_more_calls_than_may_wait_are_dropped(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(call_notes, "MOST_CALLS_WAITING", 10)
    notes = CallNotes(Calls(database))
    for number in range(1, 26):
        notes.put(replace(CLAIMS, attempt=number), ORIGIN)
    async with notes.running():
        pass
    assert len(told(database)) == 10
    assert caplog.records[-1].dropped == 15  # type: ignore[attr-defined]


async def test_an_unexpected_error_ends_no_writing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Calls(database)
    note, failed = table.note, asyncio.Event()

    async def fail_once(calls: Sequence[NotedCall]) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError
        await note(calls)

    monkeypatch.setattr(table, "note", fail_once)
    notes = CallNotes(table)
    async with notes.running():
        notes.put(CLAIMS, ORIGIN)
        await asyncio.wait_for(failed.wait(), SOON)
        notes.put(replace(CLAIMS, attempt=2), ORIGIN)
    assert len(told(database)) == 1


@respx.mock
async def test_only_the_first_try_is_recorded(database: Database) -> None:
    """The table tells when the call was first sent."""
    respx.post(ENDPOINT).respond(202, json={"id": "w-1"})
    notes = CallNotes(Calls(database))
    async with notes.running():
        await make(notes, replace(CALL, repeated=True))
    assert told(database) == []


async def test_notes_and_calls_share_one_connection(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    open_now, most, counting = 0, 0, threading.Lock()
    begin = Database.begin

    class Counted:
        def __init__(self, transaction: object) -> None:
            self.transaction = transaction

        def __enter__(self) -> object:
            nonlocal open_now, most
            with counting:
                open_now += 1
                most = max(most, open_now)
            return self.transaction.__enter__()  # type: ignore[attr-defined]

        def __exit__(self, *args: object) -> object:
            nonlocal open_now
            with counting:
                open_now -= 1
            return self.transaction.__exit__(*args)  # type: ignore[attr-defined]

    monkeypatch.setattr(Database, "begin", lambda self, **options: Counted(begin(self, **options)))
    table = Calls(database)
    notes = CallNotes(table)
    async with notes.running():
        for number in range(1, 21):
            notes.put(replace(CLAIMS, attempt=number), ORIGIN)
            await table.begin(replace(CLAIMS, workflow_id=f"by-reference-{number}"))
    assert most == 1


async def test_a_note_changes_no_call_that_is_recorded(database: Database) -> None:
    table = Calls(database)
    await table.begin(CLAIMS, replace(ORIGIN, stage_by="reference"))
    await table.refer(CLAIMS, "w-1")
    await table.note([NotedCall(CLAIMS, CallOrigin("another"), 1.0)])
    assert told(database) == [("run-1", "onboarding", "0123456789ab", fingerprint(KEY), "reference")]
    noted = replace(CLAIMS, workflow_id="run-2")
    await table.note([NotedCall(noted, ORIGIN, 1.0)])
    await table.begin(noted, replace(ORIGIN, stage_by="reference"))  # its partner's file has changed
    assert told(database)[1][-1] == "reference"


def test_an_earlier_worker_writes_calls_by_reference(database: Database) -> None:
    """Its statement does not name the new columns."""
    row = {"call_id": "c", "workflow_id": "w", "chain_id": "c", "stage": 1, "attempt": 1, "issued_at": 1}
    row |= {"expires_at": 2, "partner": "bank", "reference": "", "called_at": 1.0}
    old = sa.Table("calls", sa.MetaData(), *(sa.Column(name) for name in row))
    with database.begin() as connection:
        connection.execute(sa.insert(old).values(row))
    assert told(database) == [("w", "", "", "", "reference")]
