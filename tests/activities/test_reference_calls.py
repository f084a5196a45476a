"""Calls whose callbacks hold only the partner's own id: what is recorded when, and what a store that is away costs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import respx
import sqlalchemy as sa
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.call_errors import CallError
from activities.callback_urls import CallbackURLs, Claims
from activities.calls import NOT_TAKEN, TAKEN, PartnerCalls, http_client
from activities.environment import Environment, SettingsError
from activities.partners import sandbox
from activities.partners.partner import Partner
from activities.settings import Settings
from activities.store.calls import UNKNOWN_ORIGIN, CallOrigin, Calls
from activities.store.database import Database
from activities.store.errors import StoreAway
from activities.store.schema import CALLS
from activities.worker import build_worker
from receiver.settings import WebSettings
from tests.parts.partner_list import list_only
from tests.support import KEY, QUEUE, RUN_TIMEOUT, result_of, stage, start, until
from workflows.contract import NOT_REACHED, REFUSED, Answer, Receipt, StageCall

CALL = StageCall("run-1", "chain-1", 2, "account-check", "bank", 1, 1_800_000_000, 4_000_000_000, {"iban": "GB33"})
CLAIMS = Claims.of(CALL)
ENDPOINT = "http://sandbox.test/bank/calls"
URLS = CallbackURLs("https://hooks.test", [KEY])
TAKEN_AS_W1 = httpx.Response(202, json={"id": "w-1"})
WITHOUT_ID = httpx.Response(202, json={"status": "queued"})


class Table(Calls):
    """The table of calls of a store that a test takes away, method by method, for so many times."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.away = {"begin": 0, "refer": 0, "forget": 0}

    def _check(self, method: str) -> None:
        if self.away[method] > 0:
            self.away[method] -= 1
            raise StoreAway("the store cannot be reached")

    async def begin(self, claims: Claims, origin: CallOrigin = UNKNOWN_ORIGIN) -> None:
        self._check("begin")
        await super().begin(claims, origin)

    async def refer(self, claims: Claims, reference: str) -> None:
        self._check("refer")
        await super().refer(claims, reference)

    async def forget(self, claims: Claims) -> None:
        self._check("forget")
        await super().forget(claims)


@pytest.fixture
def table(database: Database) -> Table:
    return Table(database)


def partner(name: str = "bank", **changes: Any) -> Partner:
    made = sandbox.partner(name, Environment({"SANDBOX_URL": "http://sandbox.test"}))
    return replace(made, stage_by="reference", **changes)


@asynccontextmanager
async def calling(table: Table | None, **changes: Any) -> AsyncIterator[PartnerCalls]:
    async with http_client() as http:
        yield PartnerCalls(http, URLS, {name: partner(name, **changes) for name in ("bank", "partner-1")}, table)


async def make(
    table: Table | None, *, attempt: int = 1, heartbeats: tuple[Any, ...] = (), within: float = 120.0, **changes: Any
) -> tuple[Receipt | ApplicationError, tuple[Any, ...]]:
    """Run the activity as its n-th try: the receipt or the error, and the heartbeat that the next try finds.

    within: seconds of the try. A store of a busy machine has a twentieth of it to record the reference.
    """
    beats = [heartbeats]
    env = ActivityEnvironment()
    env.info = dataclasses.replace(
        env.info,
        attempt=attempt,
        heartbeat_details=_recorded(heartbeats),
        start_to_close_timeout=timedelta(seconds=within),
    )
    env.on_heartbeat = lambda *details: beats.append(details)
    async with calling(table, **changes) as calls:
        try:
            result: Receipt | ApplicationError = await env.run(calls.call_partner, CALL)
        except ApplicationError as error:
            result = error
    return result, beats[-1]


def _recorded(heartbeats: tuple[Any, ...]) -> list[Any]:
    """Heartbeats as Temporal gives them back: dataclasses as objects."""
    return [dataclasses.asdict(one) if dataclasses.is_dataclass(one) else one for one in heartbeats]  # type: ignore[arg-type]


def recorded(database: Database) -> list[Mapping[str, Any]]:
    """The rows of the table of calls."""
    with database.begin() as connection:
        return [dict(row) for row in connection.execute(sa.select(CALLS)).mappings()]


def references(database: Database) -> list[str]:
    return [row["reference"] for row in recorded(database)]


@respx.mock
async def test_the_calls_row_is_committed_before_the_request(table: Table, database: Database) -> None:
    seen: list[list[Mapping[str, Any]]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(recorded(database))
        return TAKEN_AS_W1

    respx.post(ENDPOINT).mock(side_effect=answer)
    receipt, _ = await make(table)
    [[row]] = seen
    assert (row["call_id"], row["workflow_id"], row["stage"]) == (CLAIMS.idempotency_key, "run-1", 2)
    assert row["reference"] == ""
    assert isinstance(receipt, Receipt)
    assert (receipt.reference, references(database)) == ("w-1", ["w-1"])


@respx.mock
async def test_a_store_away_before_the_call_sends_nothing_and_retries(table: Table, database: Database) -> None:
    route = respx.post(ENDPOINT).mock(return_value=TAKEN_AS_W1)
    table.away["begin"] = 1
    error, beats = await make(table)
    assert isinstance(error, ApplicationError)
    assert (error.type, error.non_retryable, route.call_count) == (NOT_REACHED, False, 0)
    assert beats == (NOT_TAKEN, 1)
    receipt, _ = await make(table, attempt=2, heartbeats=beats)
    assert isinstance(receipt, Receipt)
    assert (route.call_count, references(database)) == (1, ["w-1"])


@respx.mock
async def test_a_store_away_after_the_2xx_costs_tries_but_no_request(table: Table, database: Database) -> None:
    route = respx.post(ENDPOINT).mock(return_value=TAKEN_AS_W1)
    table.away["refer"] = 3
    beats: tuple[Any, ...] = ()
    results = []
    for attempt in range(1, 5):
        result, beats = await make(table, attempt=attempt, heartbeats=beats)
        results.append(result)
    assert [type(result) for result in results] == [CallError] * 3 + [Receipt]
    assert not any(isinstance(result, ApplicationError) and result.non_retryable for result in results)
    assert beats[0] == TAKEN
    assert (route.call_count, references(database)) == (1, ["w-1"])


@respx.mock
async def test_a_store_that_hangs_after_the_2xx_costs_no_request(
    table: Table, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the try would time out, and the next would call the partner again."""
    route = respx.post(ENDPOINT).mock(return_value=TAKEN_AS_W1)
    refer, never = table.refer, asyncio.Event()
    monkeypatch.setattr(table, "refer", lambda *args: never.wait())
    async with asyncio.timeout(RUN_TIMEOUT):
        hung, beats = await make(table, within=1.0)
    assert isinstance(hung, ApplicationError)
    assert "the store does not answer" in str(hung)
    assert beats[0] == TAKEN
    monkeypatch.setattr(table, "refer", refer)
    result, _ = await make(table, attempt=2, heartbeats=beats)
    assert isinstance(result, Receipt)
    assert (route.call_count, references(database)) == (1, ["w-1"])


@pytest.mark.system
async def test_temporal_brings_the_receipt_to_the_next_try(
    real: WorkflowEnvironment, table: Table, database: Database
) -> None:
    """The heartbeat of a failed try reaches the next one through the real server."""
    table.away["refer"] = 3
    async with calling(table) as calls, build_worker(real.client, calls, task_queue=QUEUE):
        with respx.mock(assert_all_called=True) as mock:
            route = mock.post("http://sandbox.test/partner-1/calls").mock(
                return_value=httpx.Response(
                    202, json={"id": "w-1", "status": "succeeded", "data": {"n": 1}}, headers={"X-Try": "1"}
                )
            )
            outcome = (await result_of(await start(real.client, stage(1, call_timeout=120.0)))).outcomes["step-1"]
    assert (outcome.cause, outcome.data, route.call_count) == ("answered", {"n": 1}, 1)
    assert (table.away["refer"], references(database)) == (0, ["w-1"])


@respx.mock
async def test_without_an_id_an_idempotent_partner_is_called_again(table: Table, database: Database) -> None:
    route = respx.post(ENDPOINT).mock(side_effect=[WITHOUT_ID, TAKEN_AS_W1])
    error, beats = await make(table, idempotent=True)
    assert isinstance(error, ApplicationError)
    assert (error.non_retryable, references(database)) == (False, [""])
    receipt, _ = await make(table, attempt=2, heartbeats=beats, idempotent=True)
    assert isinstance(receipt, Receipt)
    keys = {call.request.headers["idempotency-key"] for call in route.calls}
    assert (keys, references(database)) == ({CLAIMS.idempotency_key}, ["w-1"])


@respx.mock
@pytest.mark.parametrize("answer", [WITHOUT_ID, httpx.Response(200, content=b"<html>")])
async def test_without_an_id_another_partner_is_not_called_again(
    table: Table, database: Database, answer: httpx.Response
) -> None:
    respx.post(ENDPOINT).mock(return_value=answer)
    receipt, _ = await make(table)
    assert isinstance(receipt, Receipt)
    assert "`stagehook pipeline reference run-1 2 ID`" in receipt.note
    assert references(database) == [""], "the events of this call wait for the id that an operator records"


async def test_a_stage_without_an_id_waits_and_shows_the_command(real: WorkflowEnvironment, table: Table) -> None:
    async with calling(table) as calls, build_worker(real.client, calls, task_queue=QUEUE):
        with respx.mock as mock:
            mock.post("http://sandbox.test/partner-1/calls").mock(return_value=WITHOUT_ID)
            handle = await start(real.client, stage(1, call_timeout=120.0))
            found = await until(handle, 1, lambda one: one.state == "waiting" and one.note != "")
    assert f"stagehook pipeline reference {handle.id} 1 ID" in found.note


@respx.mock
async def test_an_immediate_result_needs_no_id(table: Table, database: Database) -> None:
    route = respx.post(ENDPOINT).respond(200)
    done = Receipt(answer=Answer("succeeded", data={"n": 1}))
    receipt, _ = await make(table, idempotent=True, read_receipt=lambda response: done)
    assert isinstance(receipt, Receipt)
    assert (receipt.answer, receipt.note, route.call_count) == (done.answer, "", 1)
    assert recorded(database) == [], "no event can be for it"


@respx.mock
@pytest.mark.parametrize(("status", "type_"), [(422, REFUSED), (429, NOT_REACHED)])
async def test_a_call_not_accepted_waits_for_no_id(table: Table, database: Database, status: int, type_: str) -> None:
    """With such a row, every unknown reference of the partner would be kept until the call expires."""
    respx.post(ENDPOINT).respond(status)
    error, _ = await make(table)
    assert isinstance(error, ApplicationError)
    assert (error.type, recorded(database)) == (type_, [])


@respx.mock
async def test_a_call_that_may_have_been_taken_waits_for_its_id(table: Table, database: Database) -> None:
    respx.post(ENDPOINT).mock(side_effect=[httpx.ReadTimeout("slow"), httpx.Response(409)])
    await make(table)
    error, _ = await make(table, attempt=2)
    assert isinstance(error, ApplicationError)
    assert (error.type, error.non_retryable, references(database)) == ("PartnerUnclear", True, [""])


@respx.mock
async def test_a_store_away_after_a_refusal_changes_no_answer(table: Table) -> None:
    respx.post(ENDPOINT).respond(422)
    table.away["forget"] = 1
    error, _ = await make(table)
    assert isinstance(error, ApplicationError)
    assert (error.type, table.away["forget"]) == (REFUSED, 0)


@respx.mock
async def test_an_id_that_no_store_can_hold_is_a_flaw_of_the_answer(table: Table) -> None:
    respx.post(ENDPOINT).respond(202, json={"id": "w\0-1"})
    receipt, _ = await make(table)
    assert isinstance(receipt, Receipt)
    assert (receipt.reference, "NUL" in receipt.note) == ("", True)


@respx.mock
async def test_a_worker_without_a_store_does_not_call(table: Table) -> None:
    route = respx.post(ENDPOINT).mock(return_value=TAKEN_AS_W1)
    error, _ = await make(None)
    assert isinstance(error, ApplicationError)
    assert (error.type, route.call_count, "set DATABASE_URL" in error.message) == (NOT_REACHED, 0, True)


SAMPLE = {
    "IDCHECK_KEY": "a-key-for-tests-0123456789",
    "IDCHECK_SECRET": "a-secret-for-tests-0123456789",
    "PAYMENTS_KEY": "a-key-for-tests-0123456789",
    "PAYMENTS_SECRET": "a-secret-for-tests-0123456789",
    "CALLBACK_KEYS": KEY,
    "PUBLIC_URL": "http://127.0.0.1:8000",
}


@pytest.mark.parametrize("settings", [Settings, WebSettings], ids=["worker", "web"])
@pytest.mark.parametrize("name", ["idcheck", "payments"], ids=["by reference", "split"])
def test_without_a_store_such_a_partner_is_refused_at_start(
    settings: type[Settings] | type[WebSettings], name: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        settings.from_env({**SAMPLE, "PARTNERS": name})
    assert [fault.name for fault in raised.value.faults] == ["PARTNERS"]
    assert f"names {name}" in str(raised.value)
    settings.from_env({**SAMPLE, "PARTNERS": name, "DATABASE_URL": "sqlite:///x.db"})


@pytest.mark.parametrize("settings", [Settings, WebSettings], ids=["worker", "web"])
def test_a_url_per_call_with_split_needs_a_store_too(
    monkeypatch: pytest.MonkeyPatch, settings: type[Settings] | type[WebSettings]
) -> None:
    def factory(environment: Environment) -> Partner:
        return replace(sandbox.partner("bank", Environment({})), split=lambda received: [])

    list_only(monkeypatch, {"bank": factory})
    with pytest.raises(SettingsError, match="needs a store"):
        settings.from_env({**SAMPLE, "PARTNERS": "bank"})


async def test_calls_at_the_same_time_keep_their_own_ids(table: Table, database: Database) -> None:
    several = [replace(CLAIMS, workflow_id=f"run-{n}", chain_id=f"chain-{n}") for n in range(20)]
    await asyncio.gather(*(table.begin(claims) for claims in several))
    await asyncio.gather(*(table.refer(claims, f"w-{claims.workflow_id}") for claims in several))
    assert {row["workflow_id"]: row["reference"] for row in recorded(database)} == {
        f"run-{n}": f"w-run-{n}" for n in range(20)
    }


async def test_a_repeated_try_keeps_the_row_and_its_id(table: Table, database: Database) -> None:
    await table.begin(CLAIMS)
    await table.refer(CLAIMS, "w-1")
    await table.begin(CLAIMS)
    assert references(database) == ["w-1"]
