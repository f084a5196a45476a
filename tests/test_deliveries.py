"""Every capture in `tests/deliveries/<partner>/` is answered as it was, and settles its stage as it says.

Drop in what `stagehook delivery export` wrote. The variables of partners, with secrets of no worth, are in `test.env`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.partners import PARTNERS, answers, load_partners
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.runs import Runs
from activities.store.calls import Calls
from activities.store.store import Store
from receiver.app import create_app
from receiver.cli.delivery.selection import read_file
from receiver.deliveries.delivery import Delivery
from receiver.replay.sending import Replay, select
from receiver.replay.stand_ins import StandIns
from tests.parts.callbacks import for_temporal
from tests.parts.deliveries import delivery
from tests.parts.empty_stores import SQLiteFiles
from tests.stores import PATIENT
from tests.support import KEY, QUEUE, ScriptedPartner, working

FOLDER = Path(__file__).parent / "deliveries"
FILES = sorted(FOLDER.glob("*/*.jsonl")) + sorted(FOLDER.glob("*/*.json"))
BASE = "http://receiver.test"


REPRODUCED = {"accepted", "duplicate", "conflict", "unreadable", "wrong_type"}
"""Verdicts that depend on the deliveries alone."""


def variables() -> dict[str, str]:
    lines = (FOLDER / "test.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def replayable(file: Path) -> list[Delivery]:
    """The file's deliveries, but for those whose answer was due to what was around them: an outage, an ended run."""
    captured, left = select(list(read_file(str(file))))
    assert captured, f"nothing to replay: {left}"
    partners = {one.partner for one in captured}
    assert partners == {file.parent.name}, f"export with --partner {file.parent.name}: the file has {partners}"
    found = [one for one in captured if one.verdict in REPRODUCED]
    why = ", ".join(sorted({one.verdict for one in captured}))
    assert found, f"nothing here to run: the answers were due to what was around the deliveries ({why})"
    return found


def settled(deliveries: Sequence[Delivery]) -> dict[int, str]:
    """What the deliveries that were taken say of their stages; the first one counts."""
    outcomes: dict[int, str] = {}
    for one in deliveries:
        if one.verdict == "accepted" and one.says in {"succeeded", "failed"}:
            outcomes.setdefault(one.stage, one.says)
    return outcomes


@pytest.mark.parametrize("name", PARTNERS)
def test_a_capture_of_any_partner_can_be_dropped_in(name: str) -> None:
    environment = Environment(variables())
    load_partners([name], environment)
    environment.check()


class AsSent(httpx.ASGITransport):
    """Gives the app the query as a replay sends it; httpx writes some of its characters anew."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            query = request.extensions["target"].partition(b"?")[2]
            await self.app({**scope, "query_string": query}, receive, send)

        return await httpx.ASGITransport(app).handle_async_request(request)


def test_a_capture_of_nothing_that_can_be_run_again_is_no_test(tmp_path: Path) -> None:
    file = tmp_path / "bank" / "late.jsonl"
    file.parent.mkdir()
    refused = [delivery(verdict=verdict, partner="bank").as_json() for verdict in ("gone", "unknown", "unavailable")]
    file.write_text("".join(json.dumps(one) + "\n" for one in refused))
    with pytest.raises(AssertionError, match=r"nothing here to run: .* \(gone, unavailable, unknown\)"):
        replayable(file)


def read_again(partner: Partner, one: Delivery, body: bytes) -> str:
    """What the partner's file reads in a delivery, or in the part of a request that it is."""
    received = one.received(body)
    event = partner.read_event(answers.split(partner, received)[one.part - 1] if one.part else received)
    return event.answer.status if isinstance(event, Event) else "nothing of ours"


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
async def test_a_capture_is_answered_as_it_was(
    file: Path, real: WorkflowEnvironment, sqlite_files: SQLiteFiles, tmp_path: Path
) -> None:
    captured, environment, urls = replayable(file), Environment(variables()), CallbackURLs(BASE, [KEY])
    partners = load_partners([file.parent.name], environment)
    environment.check()
    for one in captured:
        if one.verdict in {"accepted", "duplicate", "conflict"} and one.body is not None:
            read = read_again(partners[one.partner], one, one.body)
            assert read == one.says, f"{one.id} says {one.says}, and {one.partner}'s file reads {read}: change either"
    runs = Runs(real.client)
    aim = StandIns(runs, captured, QUEUE)
    store = sqlite_files.copy(tmp_path)
    app = create_app(urls, partners, for_temporal(real.client), store=Store(store), timing=PATIENT)
    async with (
        app.router.lifespan_context(app),
        working(real.client, ScriptedPartner()),
        httpx.AsyncClient(transport=AsSent(app)) as http,
    ):
        replayed = [one async for one in Replay(http, urls, partners, refer=Calls(store).refer).send_all(captured, aim)]
        assert [one.answered for one in replayed if not one.same] == []
        assert await aim.late(replayed) == []
        for run in {one.workflow_id for one in replayed}:
            outcomes = {stage.number: stage.outcome for stage in (await runs.progress(run)).stages}
            wanted = settled([one.delivery for one in replayed if one.workflow_id == run])
            assert {stage: outcomes[stage] for stage in wanted} == wanted
        await aim.aclose()
