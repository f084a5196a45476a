"""A captured request with several events is sent again as one request, each event to its new run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from activities.callback_urls import Claims
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.reading import items_at, read_object, text_at
from activities.partners.received import Part, Received
from activities.store.calls import Calls
from activities.store.database import Database
from activities.store.store import Store
from receiver.app import create_app
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.filters import Filters
from receiver.replay.errors import NotReplayable
from receiver.replay.sending import Replay, select
from tests.parts.callbacks import BASE, CLAIMS, URLS
from tests.parts.one_url import GITHUB, PLAIN, post
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT
from workflows.contract import Answer

RUNS = [replace(CLAIMS, workflow_id=f"run-{n}", chain_id=f"chain-{n}") for n in (1, 2, 3)]


def split(received: Received) -> Sequence[Part]:
    return [received.part(item) for item in items_at(read_object(received), "events")]


def by_token(part: Received) -> Event:
    return Event(Answer("succeeded", {"n": text_at(part.json(), "n")}), token=text_at(part.json(), "hook"))


def by_reference(part: Received) -> Event:
    return Event(Answer("succeeded", {"n": text_at(part.json(), "n")}), reference=text_at(part.json(), "hook"))


KINDS: dict[str, dict[str, Any]] = {
    "two": {"stage_by": "token", "read_event": by_token},
    "three": {"stage_by": "reference", "read_event": by_reference},
}


def batch(kind: str) -> dict[str, Any]:
    hooks = [URLS.issue(claims) if kind == "two" else f"ref-{claims.workflow_id}" for claims in RUNS]
    return {"events": [{"n": str(n), "hook": hook} for n, hook in enumerate(hooks)]}


@asynccontextmanager
async def receiving(partner: Partner, temporal: Switchable, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(URLS, {"bank": partner}, temporal, store=Store(database), timing=PATIENT)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http


class Elsewhere:
    """Aims at other runs."""

    async def claims(self, delivery: Delivery) -> Claims:
        claims = delivery.claims
        assert claims is not None
        return replace(claims, workflow_id=f"new-{claims.workflow_id}", chain_id=f"new-{claims.chain_id}")

    def is_begun(self, chain_id: str) -> bool:
        return False

    async def late(self, replayed: Any) -> list[str]:
        return []

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exported", [False, True], ids=["from the store", "from a file"])
async def test_a_batch_for_three_runs_goes_to_three_others(kind: str, *, exported: bool, database: Database) -> None:
    partner, temporal = replace(PLAIN, signature=GITHUB, split=split, **KINDS[kind]), Switchable()
    calls = Calls(database)
    async with receiving(partner, temporal, database) as http:
        if kind == "three":
            for claims in RUNS:
                await calls.refer(claims, f"ref-{claims.workflow_id}")
        assert (await post(http, "/partners/bank", batch(kind))).status_code == 202
        await eventually(lambda: len(temporal.sent) == 3)
        # What the filters choose are the events; the request that they came in is added.
        captured = Archive(database).with_requests(list(Archive(database).every(Filters(workflow="run-1"))))
        captured = Archive(database).with_requests(captured)
        if exported:
            captured = [Delivery.from_json(json.loads(json.dumps(one.as_json()))) for one in captured]
        chosen, left = select(captured)
        assert (len(chosen), left) == (3, [])
        replay = Replay(http, URLS, {"bank": partner}, refer=calls.refer)
        replay.check(chosen)
        replayed = [one async for one in replay.send_all(chosen, Elsewhere())]
        assert [(one.answered, one.same, one.says) for one in replayed] == [(202, True, "succeeded")] * 3
        await eventually(lambda: len(temporal.sent) == 6)
    assert sorted(chain for chain, _, _ in temporal.sent[3:]) == ["new-chain-1", "new-chain-2", "new-chain-3"]


async def test_references_need_the_store_of_the_receiver(database: Database) -> None:
    partner, temporal = replace(PLAIN, signature=GITHUB, split=split, **KINDS["three"]), Switchable()
    async with receiving(partner, temporal, database) as http:
        await Calls(database).refer(RUNS[0], f"ref-{RUNS[0].workflow_id}")
        await post(http, "/partners/bank", batch("three"))
        chosen, left = select(list(Archive(database).every()))
    assert len(chosen) == 1
    assert left == []  # the other two references were not ours
    with pytest.raises(NotReplayable, match="DATABASE_URL"):
        Replay(http, URLS, {"bank": partner}).check(chosen)


async def test_no_token_of_a_batch_is_shown(database: Database) -> None:
    partner, temporal = replace(PLAIN, signature=GITHUB, split=split, **KINDS["two"]), Switchable()
    async with receiving(partner, temporal, database) as http:
        await post(http, "/partners/bank", batch("two"))
        await eventually(lambda: len(temporal.sent) == 3)
    shown = json.dumps([one.as_json() for one in Archive(database).every()])
    bodies = b"".join(one.body or b"" for one in Archive(database).every())
    for claims in RUNS:
        token = URLS.issue(claims).rpartition("/")[2]
        assert token not in shown
        assert token.encode() not in bodies
        assert f"{{{claims.workflow_id}/1/1}}".encode() in bodies
