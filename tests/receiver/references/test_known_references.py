"""Events whose reference is known, and events that come before it."""

from __future__ import annotations

import time

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import CLOCK_GRACE
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.database import Database
from receiver.deliveries.delivery import Fate
from tests.parts.callbacks import for_temporal
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    WITH_ID,
    Listening,
    called,
    claims,
    event,
    kept,
    partner,
    receiving,
    said,
    send,
    set_all,
    until_idle,
    verdicts,
)
from tests.support import ScriptedPartner, result_of, stage, start, until, waiting, working
from workflows.durations import HOUR

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
