"""References while the store is away, in rows of older receivers, and over the budget."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from activities.store.database import Database
from receiver.app import create_app
from receiver.budget import BURST, RESERVE
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Fate
from receiver.deliveries.rows import to_row
from receiver.sending.signals import Signals
from receiver.sending.unmatched import unmatched_row
from tests.parts.callbacks import BASE, URLS, no_temporal
from tests.parts.deliveries import delivery
from tests.parts.waits import eventually
from tests.parts.webhooks import (
    OTHER,
    Away,
    Listening,
    called,
    event,
    partner,
    receiving,
    rows,
    said,
    send,
    set_all,
    until_idle,
    verdicts,
)
from workflows.contract import Answer


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
