"""Requests in which some events cannot be read or kept, or are not for us: the others are settled."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from activities.partners.events import Event, NotOurs
from activities.partners.received import Part, Received, Unreadable
from activities.store.calls import Calls
from activities.store.database import Database
from receiver.deliveries.delivery import Fate
from tests.parts.callbacks import URLS
from tests.parts.flawed_events import BROKEN, SPLITTING, UNREADABLE
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    OTHER,
    Away,
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
from workflows.contract import Answer

# --- events that cannot be read


@pytest.mark.parametrize("flaw", [UNREADABLE, BROKEN], ids=["unreadable", "broken"])
async def test_one_that_cannot_be_read_is_parked_and_the_others_settle(
    http: httpx.AsyncClient, database: Database, temporal: Listening, flaw: Any
) -> None:
    await called(database, 1, 2)
    assert await said(await send(http, batch(event("w-1"), flaw, event("w-2")))) == (202, "accepted")
    await until_idle(database)
    assert sorted(temporal.heard) == [("run-1", 1), ("run-2", 1)]
    [parked] = [one for one in kept(database) if one.fate is Fate.PARKED]
    assert (parked.part, parked.verdict) == (2, flaw["bad"])
    assert f"part 2 of {parked.part_of} cannot be read" in parked.fate_reason


async def test_a_request_of_flaws_only_is_parked_whole(http: httpx.AsyncClient, database: Database) -> None:
    assert await said(await send(http, batch(UNREADABLE, BROKEN))) == (202, "accepted")
    assert [one.part for one in kept(database) if one.fate is Fate.PARKED] == [1, 2]


async def test_many_flaws_of_a_request_are_logged_once(
    http: httpx.AsyncClient, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await send(http, batch(*[BROKEN] * 50, *[UNREADABLE] * 50))
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "partner-file-broken",
        "delivery-parked",
    ]
    assert len([one for one in kept(database) if one.fate is Fate.PARKED]) == 100


async def test_nothing_is_said_to_be_parked_that_is_not_kept(
    database: Database, temporal: Listening, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("receiver.app.Inbox", Away)
    async with receiving(database, temporal, partner(**SPLITTING)) as http:
        monkeypatch.setattr(Away, "away", ("keep_batch",))
        assert (await send(http, batch(UNREADABLE, UNREADABLE))).status_code == 503
    assert "delivery-parked" not in [record.message for record in caplog.records]


@pytest.mark.parametrize(("flaw", "status"), [(UNREADABLE, 422), (BROKEN, 503)])
async def test_a_sole_event_that_cannot_be_read_is_refused(
    http: httpx.AsyncClient, database: Database, flaw: Any, status: int
) -> None:
    assert (await send(http, batch(flaw))).status_code == status
    await eventually(lambda: verdicts(database) == [flaw["bad"]])


async def test_a_part_without_a_form_of_its_own_is_the_files_mistake(database: Database, temporal: Listening) -> None:
    def split_wrongly(received: Received) -> list[Part]:
        return [received.part({1: 2, "n": 3})]

    async with receiving(database, temporal, partner(split=split_wrongly)) as http:
        assert (await send(http, batch())).status_code == 503
    [one] = kept(database, "broken")
    assert "split made a part of something else" in one.reason


async def test_a_request_that_cannot_be_split_is_refused(http: httpx.AsyncClient) -> None:
    assert (await send(http, {"no": "events"})).status_code == 503
    assert (await send(http, b"[")).status_code == 422


async def test_an_event_of_ours_taken_for_anothers_is_parked(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    """The others settle. Alone, it is refused as the file's mistake."""
    await called(database, 1, 2000)
    overlooked = {**OTHER, "about": "w-2000"}
    assert await said(await send(http, batch(event("w-1"), overlooked, OTHER))) == (202, "accepted")
    await until_idle(database)
    [parked] = [one for one in kept(database) if one.fate is Fate.PARKED]
    assert (parked.part, parked.verdict, temporal.heard) == (2, "broken", [("run-1", 1)])
    assert (await send(http, batch(overlooked))).status_code == 503
    assert (await send(http, batch(overlooked, OTHER))).status_code == 503


# --- requests with nothing for us


@pytest.mark.parametrize("events", [[], [OTHER], [OTHER, OTHER], [event("w-elsewhere"), OTHER]])
async def test_a_request_with_nothing_of_ours_is_ignored(
    http: httpx.AsyncClient, database: Database, events: list[Any]
) -> None:
    await called(database, 1)
    assert await said(await send(http, batch(*events))) == (202, "ignored")
    await eventually(lambda: verdicts(database) == ["ignored"])


async def test_events_for_calls_that_are_over_are_answered_2xx(http: httpx.AsyncClient, database: Database) -> None:
    await Calls(database).refer(claims(expires_at=1), "w-1")
    assert await said(await send(http, batch(event("w-1"), event("w-elsewhere")))) == (202, "this")
    await eventually(lambda: verdicts(database) == ["gone"])


@pytest.mark.parametrize("reference", ["a\0b", "x" * 100_000])
async def test_a_reference_that_cannot_be_kept_is_left_out(
    database: Database, temporal: Listening, reference: str
) -> None:
    """PostgreSQL takes no NUL: the request would be 503 for ever."""

    def read_both(received: Received) -> Event:
        return Event(Answer("succeeded", {"n": 1}), token=received.json()["token"], reference=reference)

    reading = partner(stage_by="token", split=split, read_event=read_both)
    async with receiving(database, temporal, reading) as http:
        assert (await send(http, batch({"token": URLS.issue(claims())}))).status_code == 202
        await until_idle(database)
    assert temporal.heard == [("run-1", 1)]
    assert {one.reference for one in kept(database)} == {""}


async def test_what_the_store_refuses_costs_the_others_nothing(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    """PostgreSQL takes no NUL in text: the reference cannot be ours, and the data is kept as JSON."""
    await called(database, 1, 2)
    strange = {**event("w-2"), "data": {"n": 2, "nul": "\0", "surrogate": "é"}}
    assert (await send(http, batch(event("w-1"), event("w-\0"), strange))).status_code == 202
    await until_idle(database)
    assert sorted(temporal.heard) == [("run-1", 1), ("run-2", 2)]


async def test_a_flaw_with_strange_words_is_recorded(database: Database, temporal: Listening) -> None:
    def read(received: Received) -> Event | NotOurs:
        if received.json() == UNREADABLE:
            raise Unreadable("no \0 reference \ud83d")
        return read_event(received)

    async with receiving(database, temporal, partner(split=split, read_event=read)) as http:
        await called(database, 1)
        assert (await send(http, batch(event("w-1"), UNREADABLE))).status_code == 202
        await until_idle(database)
    assert temporal.heard == [("run-1", 1)]
