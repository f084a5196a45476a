"""Requests that carry several events: all are committed together, and each finds its own stage."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.environment import Environment
from activities.partners import payments
from activities.partners.events import Event, NotOurs
from activities.partners.received import Part, Received, Unreadable
from activities.store.calls import KEPT_AFTER_EXPIRY, Calls
from activities.store.database import Database
from receiver.body import LARGEST_BODY
from receiver.budget import BURST, PER_MINUTE, RESERVE
from receiver.deliveries import retention
from receiver.deliveries.delivery import Fate
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.statements import Statements
from receiver.reading import MAX_PARTS
from receiver.sending.signals import Reached
from tests.parts import webhooks
from tests.parts.callbacks import URLS, for_temporal
from tests.parts.one_url import GITHUB
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    OTHER,
    WITH_ID,
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
    rows,
    said,
    send,
    set_all,
    split,
    until_idle,
    verdicts,
)
from tests.support import RUN_TIMEOUT, ScriptedPartner, result_of, stage, start, waiting, working
from workflows.contract import Answer
from workflows.durations import DAY, HOUR


def read_or_fail(received: Received) -> Event | NotOurs:
    """A file that cannot read some events, and is wrong about others."""
    match received.json():
        case {"bad": "unreadable"}:
            raise Unreadable("there is no reference")
        case {"bad": "broken"}:
            raise KeyError("reference")
    return read_event(received)


UNREADABLE, BROKEN = {"bad": "unreadable"}, {"bad": "broken"}
SPLITTING: dict[str, Any] = {"split": split, "read_event": read_or_fail}


@pytest.fixture
def temporal() -> Listening:
    return Listening()


@pytest.fixture
async def http(database: Database, temporal: Listening) -> AsyncIterator[httpx.AsyncClient]:
    async with receiving(database, temporal, partner(**SPLITTING)) as http:
        yield http


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


# --- limits


async def test_too_many_events_are_413(http: httpx.AsyncClient, database: Database, temporal: Listening) -> None:
    await called(database, 1)
    assert (await send(http, batch(*[event("w-1")] * (MAX_PARTS + 1)))).status_code == 413
    assert temporal.heard == []


async def test_as_many_events_as_allowed_are_kept(
    http: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.reading.FILE_SECONDS", 30.0)  # the machine may be busy
    await called(database, 1, answered=False)
    assert (await send(http, batch(*(event(f"w-{n}") for n in range(MAX_PARTS))))).status_code == 202
    assert sorted(one.part for one in kept(database, "unmatched")) == list(range(1, MAX_PARTS + 1))


async def test_a_large_request_is_read_and_a_larger_one_is_413(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1)
    padding = "x" * (LARGEST_BODY - 200)
    assert (await send(http, batch(event("w-1"), {**OTHER, "pad": padding}))).status_code == 202
    assert (await send(http, batch(event("w-1"), {**OTHER, "pad": padding + "x" * 200}))).status_code == 413
    await until_idle(database)
    assert temporal.heard == [("run-1", 1)]


async def test_an_event_over_its_budget_is_kept_and_sent_later(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1)
    allowed, over = BURST - RESERVE, 3
    temporal.answering.clear()  # so that only the first event, if any, is on its way
    began = time.time()
    await send(http, batch(*(event("w-1", "progress", n) for n in range(allowed + over))))
    due = [row["due_at"] - began for row in rows(database) if row["due_at"] is not None]
    assert len(due) == allowed + over
    assert min(due[-over:]) > 4
    assert max(due[1:-over]) < min(due[-over:])
    temporal.answering.set()
    await eventually(lambda: len(temporal.heard) >= allowed)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET due_at = 0 WHERE due_at IS NOT NULL")
    await eventually(lambda: temporal.heard == [("run-1", n) for n in range(allowed + over)])


# --- again, at once, and while the store is away


async def test_a_whole_request_again_is_a_duplicate(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    await called(database, 1, 2)
    body = batch(event("w-1"), event("w-2"))
    answers = [await said(await send(http, body)) for _ in range(3)]
    await until_idle(database)
    assert answers == [(202, "accepted")] * 3
    assert sorted(temporal.heard) == [("run-1", 1), ("run-2", 1)]
    wholes = [one.verdict for one in kept(database) if not one.part]
    assert wholes == ["accepted", "duplicate", "duplicate"]


async def test_a_request_that_only_contradicts_is_a_conflict(
    http: httpx.AsyncClient, database: Database, temporal: Listening
) -> None:
    """Kept within the budget: a partner may repeat it for ever, with a body of up to a mebibyte."""
    await called(database, 1)
    await send(http, batch(event("w-1")))
    await until_idle(database)
    for n in range(PER_MINUTE + 5):
        assert await said(await send(http, batch(event("w-1", n=n + 2)))) == (202, "this")
    assert temporal.heard == [("run-1", 1)]
    conflicts = [one for one in kept(database, "conflict") if not one.part]
    assert len(conflicts) < PER_MINUTE
    assert all(one.body is None for one in conflicts)
    await eventually(lambda: all(one.status in {202, 409} for one in kept(database)))


async def until_taken(http: httpx.AsyncClient, body: Any) -> int:
    """Send until the answer is not 503, as the partner does. Returns the status."""
    async with asyncio.timeout(RUN_TIMEOUT):
        while (status := (await send(http, body)).status_code) == 503:
            await asyncio.sleep(0.1)
    return status


async def test_events_are_inserted_by_stage_whatever_their_order(
    http: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two transactions that insert the same contents in different orders would block each other on PostgreSQL."""
    insert, inserted = Statements.insert, list[list[tuple[str, str]]]()

    def noting(self: Statements, cursor: Any, new: Any) -> set[str]:
        if new[0].get("request_id"):
            inserted.append([(row["chain_id"], row["says"]) for row in new])
        return insert(self, cursor, new)

    monkeypatch.setattr(Statements, "insert", noting)
    await called(database, 1, 2, 3)
    await send(http, batch(event("w-3"), event("w-1", "progress"), event("w-2"), event("w-1", "failed")))
    expected = [("chain-1", "progress"), ("chain-1", "failed"), ("chain-2", "succeeded"), ("chain-3", "succeeded")]
    assert inserted == [expected]


@pytest.mark.usefixtures("unhurried_locks")
async def test_the_same_events_at_two_receivers_are_signalled_once(database: Database) -> None:
    """Also in another order."""
    temporals = [Listening(), Listening()]
    splitting = partner(**SPLITTING)
    async with receiving(database, temporals[0], splitting) as one, receiving(database, temporals[1], splitting) as two:
        await called(database, *range(1, 21))
        for n in range(6):
            events = [event(f"w-{run}", "failed", n) for run in range(1, 21)]
            sent = [(one, events), (two, events[::-1]), (one, events[::-1]), (two, events)]
            statuses = await asyncio.gather(*(until_taken(door, batch(*some)) for door, some in sent))
            assert set(statuses) == {202}
        await until_idle(database)
    heard = sorted([*temporals[0].heard, *temporals[1].heard])
    assert heard == sorted((f"run-{run}", n) for run in range(1, 21) for n in range(6))


@pytest.mark.parametrize("away", ["find_calls", "keep_batch"])
async def test_while_the_store_is_away_the_answer_is_503(
    database: Database, temporal: Listening, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """And the outage uses up nothing of the calls' budgets."""
    monkeypatch.setattr("receiver.app.Inbox", Away)
    monkeypatch.setattr("receiver.budget.SECONDS_PER_CALLBACK", HOUR)
    await called(database, 1)
    async with receiving(database, temporal, partner(**SPLITTING)) as http:
        monkeypatch.setattr(Away, "away", (away,))
        for n in range(BURST):
            assert (await send(http, batch(event("w-1", n=-n)))).status_code == 503
        monkeypatch.setattr(Away, "away", ())
        assert (await send(http, batch(event("w-1")))).status_code == 202
        await eventually(lambda: temporal.heard == [("run-1", 1)])


async def test_an_unknown_run_is_parked(http: httpx.AsyncClient, database: Database, temporal: Listening) -> None:
    await called(database, 1, 2)
    temporal.answers["run-1"] = Reached.UNKNOWN
    assert (await send(http, batch(event("w-1"), event("w-2")))).status_code == 202
    await until_idle(database)
    assert {one.workflow_id: one.fate for one in kept(database) if one.part} == {
        "run-1": Fate.PARKED,
        "run-2": Fate.TAKEN,
    }


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


# --- retention


@pytest.mark.usefixtures("hurried")
async def test_only_a_request_with_a_parked_event_is_kept(
    http: httpx.AsyncClient, inbox: Inbox, database: Database
) -> None:
    await called(database, 1)
    await send(http, batch(event("w-1"), UNREADABLE))
    await until_idle(database)
    [parked] = [one for one in kept(database) if one.fate is Fate.PARKED]
    await send(http, batch(event("w-1", "progress")))
    await until_idle(database)
    set_all(database, received_at=time.time() - 40 * DAY)
    pruning = asyncio.create_task(retention.prune_for_ever(inbox, days=30))
    await eventually(lambda: {one.id for one in kept(database)} == {parked.part_of, parked.id})
    pruning.cancel()


@pytest.mark.usefixtures("hurried")
async def test_unmatched_events_are_kept_longer_than_refused_ones(
    http: httpx.AsyncClient, inbox: Inbox, database: Database, temporal: Listening
) -> None:
    await called(database, 1, answered=False)
    await send(http, batch(event("w-1"), event("w-2")))
    await send(http, batch(OTHER))
    await eventually(lambda: "ignored" in verdicts(database))
    set_all(database, received_at=time.time() - (retention.REFUSED_DAYS + 1) * DAY)
    pruning = asyncio.create_task(retention.prune_for_ever(inbox, days=30))
    await eventually(lambda: "ignored" not in verdicts(database))
    pruning.cancel()
    assert verdicts(database) == ["accepted", "unmatched", "unmatched"]
    await Calls(database).refer(claims(), "w-1")
    await eventually(lambda: temporal.heard == [("run-1", 1)])


@pytest.mark.usefixtures("hurried")
async def test_calls_are_kept_until_a_while_after_their_urls_expire(inbox: Inbox, database: Database) -> None:
    now, table = int(time.time()), Calls(database)
    for n, age in enumerate((-HOUR, HOUR, KEPT_AFTER_EXPIRY - HOUR, KEPT_AFTER_EXPIRY + HOUR)):
        await table.refer(claims(n, expires_at=int(now - age)), f"w-{n}")
    pruning = asyncio.create_task(retention.prune_for_ever(inbox, days=30))
    await eventually(lambda: webhooks.references(database) == ["w-0", "w-1", "w-2"])
    pruning.cancel()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVERY_SECONDS", "AFTER_FAILURE_SECONDS", "BREATH"):
        monkeypatch.setattr(retention, name, 0.05)


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
