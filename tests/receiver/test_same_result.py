"""The same result again, in other bytes, under another id, after a deploy: a duplicate, from the body to the answer."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from temporalio.testing import WorkflowEnvironment

from activities.partners.events import Event
from activities.partners.received import Received
from activities.signatures import SCHEMES
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from activities.store.store import Store
from receiver.app import create_app
from receiver.deliveries.archive import Archive
from receiver.deliveries.content import earlier_request_id
from receiver.deliveries.delivery import Delivery, Fate, digest
from receiver.deliveries.rows import to_row
from receiver.sending.signal import Signal
from receiver.sending.signals import Reached, Signals
from tests.parts.callbacks import BASE, CLAIMS, URLS, for_temporal, partners, url_for
from tests.parts.deliveries import delivery
from tests.parts.doors import fate_of
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import UNHURRIED
from tests.support import ScriptedPartner, progress_of, result_of, stage, start, waiting, working
from workflows.contract import Answer, Callback

SIGNED = SCHEMES["standard-webhooks"](secrets=["whsec_" + base64.b64encode(bytes(range(32))).decode()])
URL = URLS.issue(CLAIMS)


def read_document(received: Received) -> Event:
    """A partner's file that reads a result's status and document, and nothing of how it was sent."""
    event = received.json()
    return Event(Answer("succeeded" if event["status"] == "done" else "failed", {"doc": event["doc"]}))


@pytest.mark.parametrize("field", ["chain_id", "stage", "attempt", "issued_at"])
def test_the_same_result_of_another_call_has_another_id(field: str) -> None:
    """After a reset a stage makes a call with the same attempt number: its result must not be taken for a repeat."""
    changed: dict[str, Any] = {field: "other" if field == "chain_id" else getattr(CLAIMS, field) + 1}
    other = replace(CLAIMS, **changed)
    for signed_id in ("", "msg-1"):
        ids = [Signal.of(claims, Answer("succeeded"), b"x", signed_id) for claims in (CLAIMS, other)]
        assert ids[0].request_id != ids[1].request_id
        assert ids[0].earlier_id != ids[1].earlier_id


def test_a_result_has_one_id_wherever_it_stands_in_a_request() -> None:
    """Two identical reports of progress in a request are two events; two identical results are one."""
    ids = {
        answer.status: [Signal.of(CLAIMS, answer, b"", "msg-1", part=part).request_id for part in (1, 2)]
        for answer in (Answer("succeeded"), Answer("failed"), Answer("progress"), Answer("ask"))
    }
    assert {status: len(set(both)) for status, both in ids.items()} == {
        "succeeded": 1,
        "failed": 1,
        "progress": 2,
        "ask": 2,
    }


@asynccontextmanager
async def receiver(
    signals: Signals, database: Database | None = None, *, signs: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    reading = {
        name: replace(partner, read_event=read_document, signature=SIGNED if signs else None)
        for name, partner in partners().items()
    }
    app = create_app(URLS, reading, signals, store=Store(database) if database else None, timing=UNHURRIED)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http


async def post(http: httpx.AsyncClient, body: bytes, url: str = URL, signed_id: str = "") -> int:
    headers = {"Content-Type": "application/json"}
    if signed_id:
        headers |= dict(SIGNED.sign(body, url=BASE, now=time.time(), delivery_id=signed_id))
    return (await http.post(url, content=body, headers=headers)).status_code


FIRST = b'{"status": "done", "doc": {"id": "d1", "pages": 3}, "retryCount": 0, "at": "10:00"}'
AGAIN = [
    FIRST,
    b'{"status": "done", "doc": {"id": "d1", "pages": 3}, "retryCount": 1, "at": "10:01"}',
    b'{"at": "10:00", "doc": {"pages": 3, "id": "d1"}, "status": "done"}',
    b'{"status":"done","doc":{"id":"d1","pages":3.0}}',
    b'{"status": "done", "doc": {"id": "\\u0064\\u0031", "pages": 3e0}}',
]
OTHER = b'{"status": "done", "doc": {"id": "d2", "pages": 3}, "retryCount": 0, "at": "10:00"}'


def taken(database: Database) -> list[Delivery]:
    return [one for one in Archive(database).every() if one.fate is Fate.TAKEN]


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("again", AGAIN)
async def test_the_same_result_in_other_bytes_is_a_duplicate(database: Database, again: bytes, *, signs: bool) -> None:
    """Under another signed id too, and another result is a conflict."""
    temporal = Switchable()
    async with receiver(temporal, database, signs=signs) as http:
        assert await post(http, FIRST, signed_id="m-1") == 202
        await eventually(lambda: len(taken(database)) == 1)
        assert await post(http, again, signed_id="m-2") == 202
        assert await post(http, OTHER, signed_id="m-3") == 409
        assert await post(http, again, signed_id="m-4") == 202
    assert len(temporal.sent) == 1
    verdicts = [one.verdict for one in Archive(database).every()]
    assert verdicts == ["accepted", "duplicate", "conflict", "duplicate"]


async def test_a_failure_in_other_bytes_gets_its_answer_after_the_end(database: Database) -> None:
    """A failure makes no conflict, so that only its request id tells it."""
    temporal = Switchable()
    bodies = [json.dumps({"status": "no", "doc": "d1", "retryCount": n}).encode() for n in range(3)]
    async with receiver(temporal, database) as http:
        assert await post(http, bodies[0]) == 202
        await eventually(lambda: len(taken(database)) == 1)
        temporal.answers["run"] = Reached.FINISHED
        assert [await post(http, body) for body in bodies] == [202] * 3
        assert await post(http, b'{"status": "no", "doc": "d2"}') == 410


async def test_without_a_store_it_is_one_signal_and_one_answer(real: WorkflowEnvironment) -> None:
    async with receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        assert [await post(http, body, url_for(handle)) for body in AGAIN] == [202] * len(AGAIN)
        await waiting(handle, 2)
        assert (await progress_of(handle)).stages[0].ledger_total == 0
        await post(http, FIRST, url_for(handle, 2))
        await result_of(handle)
        assert [await post(http, body, url_for(handle)) for body in AGAIN] == [202] * len(AGAIN)
        assert await post(http, OTHER, url_for(handle)) == 410


# --- after a deploy


def kept_by_the_version_before(database: Database, body: bytes, fate: Fate, **changes: Any) -> Delivery:
    """A row whose request id was made of its bytes."""
    answer = read_document(Received(body)).answer
    claims = vars(CLAIMS)
    one = delivery(body=body, body_size=len(body), body_digest=digest(body), says=answer.status, fate=fate, **claims)
    one = replace(one, fate_at=time.time() if fate is not Fate.PENDING else 0.0, **changes)
    row = to_row(one) | {
        "request_id": earlier_request_id(CLAIMS, body, answer, one.signed_id),
        "callback": json.dumps(asdict(Callback(answer, CLAIMS.chain_id, CLAIMS.attempt, CLAIMS.issued_at))),
        "due_at": time.time() + 60 if fate is Fate.PENDING else None,
    }
    with database.begin() as connection:
        connection.execute(sa.insert(DELIVERIES), row)
    return one


@pytest.mark.parametrize("again", AGAIN)
async def test_a_success_kept_by_an_earlier_version_is_known(database: Database, again: bytes) -> None:
    first = kept_by_the_version_before(database, FIRST, Fate.TAKEN)
    temporal = Switchable()
    temporal.answers["run"] = Reached.FINISHED
    async with receiver(temporal, database) as http:
        assert await post(http, again) == 202
        assert await post(http, OTHER) == 409
    assert temporal.sent == []
    assert [one.duplicate_of for one in Archive(database).every()] == ["", first.id, ""]


@pytest.mark.parametrize("fate", [Fate.TAKEN, Fate.REFUSED, Fate.PENDING, Fate.PARKED])
@pytest.mark.parametrize("signed_id", ["", "m-1"])
async def test_a_retry_of_an_earlier_versions_row_gets_its_answer(
    database: Database, fate: Fate, signed_id: str
) -> None:
    body = b'{"status": "no", "doc": {"pages": 3.0}}'
    first = kept_by_the_version_before(database, body, fate, signed_id=signed_id)
    temporal = Switchable()
    temporal.answers["run"] = Reached.FINISHED
    async with receiver(temporal, database, signs=bool(signed_id)) as http:
        assert await post(http, body, signed_id=signed_id) == 202
    assert [one.duplicate_of for one in Archive(database).every()] == ["", first.id]
    assert fate_of(database, first) is fate


@pytest.mark.parametrize("answer", ['{"status": "succeeded", "data": {}, "code": 1042}', "null"])
async def test_a_retry_settles_what_the_version_before_parked(database: Database, answer: str) -> None:
    """The file said another thing of the same bytes then, and is mended now."""
    parked = kept_by_the_version_before(database, FIRST, Fate.PARKED)
    with database.begin() as connection:
        broken = json.dumps({"answer": json.loads(answer), "chain_id": "chain", "attempt": 1, "issued_at": 1})
        connection.execute(sa.update(DELIVERIES).values(callback=broken))
    temporal = Switchable()
    async with receiver(temporal, database) as http:
        assert await post(http, FIRST) == 202
        await eventually(lambda: len(taken(database)) == 1)
    assert (len(temporal.sent), fate_of(database, parked)) == (1, Fate.PARKED)


async def test_a_signal_of_an_earlier_version_is_known_after_the_end(
    real: WorkflowEnvironment,
) -> None:
    signals = for_temporal(real.client)
    async with receiver(signals) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        claims, answer = URLS.redeem(url_for(handle).rpartition("/")[2]), read_document(Received(FIRST)).answer
        callback = Callback(answer, claims.chain_id, claims.attempt, claims.issued_at)
        earlier = Signal(claims, callback, earlier_request_id(claims, FIRST, answer))
        assert await signals.send(earlier) is Reached.TAKEN
        await result_of(handle)
        assert await post(http, FIRST, url_for(handle)) == 202
        assert await post(http, OTHER, url_for(handle)) == 410
