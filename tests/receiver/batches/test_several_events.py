"""Requests that carry several events: all are committed together, and each finds its own stage."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.environment import Environment
from activities.partners import payments
from activities.partners.events import Event, NotOurs
from activities.partners.received import Part, Received
from activities.store.calls import Calls
from activities.store.database import Database
from receiver.deliveries.delivery import Fate
from receiver.deliveries.statements import Statements
from tests.parts.callbacks import URLS, for_temporal
from tests.parts.flawed_events import BROKEN, SPLITTING, read_or_fail
from tests.parts.one_url import GITHUB
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    OTHER,
    WITH_ID,
    Listening,
    batch,
    called,
    claims,
    event,
    kept,
    partner,
    read_event,
    receiving,
    said,
    send,
    split,
    until_idle,
    verdicts,
)
from tests.support import ScriptedPartner, result_of, stage, start, waiting, working

# --- several runs, several events of a run


async def test_three_runs_in_one_request_are_settled(real: WorkflowEnvironment, database: Database) -> None:
    splitting = partner("partner-1", **SPLITTING)
    signals = for_temporal(real.client)
    async with receiving(database, signals, splitting) as http, working(real.client, ScriptedPartner()):
        handles = [await start(real.client, stage(1), id=f"run-{n}") for n in range(3)]
        for n, handle in enumerate(handles):
            await waiting(handle)
            call = claims(n, chain_id=handle.first_execution_run_id or "", partner="partner-1")
            await Calls(database).begin(call)
            await Calls(database).refer(call, f"w-{n}")
        body = batch(*(event(f"w-{n}", n=n) for n in range(3)))
        assert await said(await send(http, body, "/partners/partner-1")) == (202, "accepted")
        found = [(await result_of(handle)).outcomes["step-1"] for handle in handles]
    assert [(outcome.cause, outcome.data) for outcome in found] == [("callback", {"n": n}) for n in range(3)]


async def test_a_request_is_a_row_and_each_event_is_one_too(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, 2)
    body = batch(event("w-1"), OTHER, event("w-2", "failed"), event("w-elsewhere"))
    await send(http, body)
    await until_idle(database)
    [whole] = [one for one in kept(database) if not one.part]
    parts = [one for one in kept(database) if one.part]
    assert (whole.verdict, whole.workflow_id, whole.fate, whole.status) == ("accepted", "", Fate.NONE, 202)
    assert whole.body is not None
    assert json.loads(whole.body) == body
    assert [(one.part_of, one.part, one.workflow_id, one.reference, one.says, one.fate) for one in parts] == [
        (whole.id, 1, "run-1", "w-1", "succeeded", Fate.TAKEN),
        (whole.id, 3, "run-2", "w-2", "failed", Fate.TAKEN),
    ]
    assert all(one.body is None and not one.headers for one in parts), "they are the request's"
    # Random ids of one millisecond could be equal, and the store would leave one of the events out.
    assert [one.id for one in parts] == [f"{whole.id}-{one.part:04}" for one in parts]


async def test_all_events_are_committed_together(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails at the last statement keeps none of them."""
    insert = "receiver.deliveries.statements.Statements.insert"
    temporal, inserted = Listening(), list[int]()

    def failing(self: Any, cursor: Any, new: Any) -> set[str]:
        inserted.append(len(new))
        if any(not row.get("request_id") for row in new):
            raise RuntimeError("disk full")
        return real(self, cursor, new)

    async with receiving(database, temporal, partner(**SPLITTING)) as http:
        await called(database, 1, 2)
        real = Statements.insert
        monkeypatch.setattr(insert, failing)
        answer = await send(http, batch(event("w-1"), event("w-2")))
        monkeypatch.setattr(insert, real)
        assert (answer.status_code, inserted[0]) == (503, 2)
        # The 503 itself may be recorded, as soon as the store works again.
        assert (kept(database, "accepted"), temporal.heard) == ([], [])
        assert (await send(http, batch(event("w-1"), event("w-2")))).status_code == 202
        await until_idle(database)
    assert sorted(temporal.heard) == [("run-1", 1), ("run-2", 1)]


async def test_the_events_of_a_stage_keep_their_order(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, 2)
    mixed = [event(f"w-{1 + n % 2}", "progress", n) for n in range(20)]
    await send(http, batch(*mixed, event("w-2", "failed", 20), event("w-1", "succeeded", 21)))
    await until_idle(database)
    numbers = {run: [n for heard, n in temporal.heard if heard == run] for run in ("run-1", "run-2")}
    assert numbers == {"run-1": [*range(0, 20, 2), 21], "run-2": [*range(1, 20, 2), 20]}


async def test_an_early_event_waits_and_the_others_go(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1)
    await called(database, 2, answered=False)
    await send(http, batch(event("w-2", "progress", 0), event("w-1"), event("w-2", "succeeded", 2)))
    await eventually(lambda: temporal.heard == [("run-1", 1)])
    await Calls(database).refer(claims(2), "w-2")
    await eventually(lambda: temporal.heard == [("run-1", 1), ("run-2", 0), ("run-2", 2)])


@pytest.mark.parametrize("answered", [True, False], ids=["known", "unmatched"])
async def test_two_equal_reports_in_a_request_are_two_events(
    database: Database, temporal: Listening, *, answered: bool
) -> None:
    """The signed id is that of the request: the places of the reports tell them apart."""
    async with receiving(database, temporal, partner(**SPLITTING, signature=WITH_ID)) as http:
        await called(database, 1, answered=answered)
        body = batch(event("w-1", "progress"), event("w-1", "progress"))
        await send(http, body, scheme=WITH_ID)
        await Calls(database).refer(claims(), "w-1")
        await eventually(lambda: len(temporal.heard) == 2)
        assert (await send(http, body, scheme=WITH_ID)).status_code == 202
        await until_idle(database)
    assert temporal.heard == [("run-1", 1)] * 2
    assert verdicts(database).count("duplicate") == 3, "the request and its two events"


async def test_the_same_result_twice_in_a_request_is_one_signal(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1)
    await send(http, batch(event("w-1"), event("w-1")))
    await until_idle(database)
    assert temporal.heard == [("run-1", 1)]
    assert sorted(verdicts(database)) == ["accepted", "accepted", "duplicate"]


# --- other kinds and partners


def read_without_reference(received: Received) -> Event | NotOurs:
    found = read_or_fail(received)
    return replace(found, reference="") if isinstance(found, Event) else found


async def test_a_callback_url_may_carry_several_events(database: Database, temporal: Listening) -> None:
    splitting = partner(stage_by="url", split=split, read_event=read_without_reference)
    async with receiving(database, temporal, splitting) as http:
        url = URLS.issue(claims()).removeprefix("http://receiver.test")
        body = batch(event("", "progress", 0), BROKEN, event("", "succeeded", 2))
        assert await said(await send(http, body, url)) == (202, "accepted")
        await until_idle(database)
        assert await said(await send(http, batch(event("", "succeeded", 3)), url)) == (409, "this")
        assert await said(await send(http, batch(), url)) == (202, "ignored")
    assert temporal.heard == [("run-1", 0), ("run-1", 2)]


async def test_the_partners_own_words_are_the_whole_answer(database: Database, temporal: Listening) -> None:
    """Adyen sends again until it reads "[accepted]"."""
    sample = payments.partner(
        Environment({"PAYMENTS_KEY": "a-key-for-tests-0123456789", "PAYMENTS_SECRET": "a-secret-for-tests-0123456789"})
    )
    sample = replace(sample, signature=GITHUB)
    call, over = claims(1, partner="payments"), claims(2, partner="payments", expires_at=1)
    await Calls(database).refer(call, "psp-1")
    await Calls(database).refer(over, "psp-2")

    def item(code: str, reference: str) -> dict[str, Any]:
        return {"NotificationRequestItem": {"eventCode": code, "pspReference": reference, "success": "true"}}

    accepted, ignored = item("AUTHORISATION", "psp-1"), item("REPORT_AVAILABLE", "psp-9")
    bodies = [[accepted], [accepted], [ignored], [item("AUTHORISATION", "psp-8")], [item("AUTHORISATION", "psp-2")]]
    async with receiving(database, temporal, sample) as http:
        answers = [await send(http, {"notificationItems": items}, "/partners/payments") for items in bodies]
        await eventually(lambda: len(kept(database)) == 7)
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, "[accepted]")}
    wholes = [one for one in kept(database) if not one.part]
    assert [one.verdict for one in wholes] == ["accepted", "duplicate", "ignored", "ignored", "gone"]


async def test_events_with_tokens_find_their_stages_too(database: Database, temporal: Listening) -> None:
    """The partner has one URL, and each event holds the token of its call."""

    def read(received: Received) -> Event | NotOurs:
        found = read_event(received)
        return replace(found, token=found.reference, reference="") if isinstance(found, Event) else found

    async with receiving(database, temporal, partner(stage_by="token", split=split, read_event=read)) as http:
        tokens = [URLS.issue(claims(n)) for n in (1, 2, 3)]
        overlooked = {**OTHER, "about": tokens[2]}
        body = batch(event(tokens[0]), OTHER, event(tokens[1], n=2), overlooked, event("another system's"))
        assert await said(await send(http, body)) == (202, "accepted")
        await until_idle(database)
    assert sorted(temporal.heard) == [("run-1", 1), ("run-2", 2)]
    assert [(one.part, one.verdict) for one in kept(database) if one.fate is Fate.PARKED] == [(4, "broken")]


def split_bytes(received: Received) -> list[Part]:
    return [received.part(line) for line in received.body.splitlines()]


async def test_events_as_lines_of_text_are_read_too(database: Database, temporal: Listening) -> None:
    async with receiving(database, temporal, partner(split=split_bytes)) as http:
        await called(database, 1, 2)
        lines = b"\n".join(json.dumps(event(f"w-{n}")).encode() for n in (1, 2))
        assert (await send(http, lines)).status_code == 202
        await until_idle(database)
    assert sorted(temporal.heard) == [("run-1", 1), ("run-2", 1)]
