"""A partner whose name cannot be in the name of a task queue: its calls are on the main queue, which is never held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import respx
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import http_client
from activities.lanes import Hold, hold_lane, look_at_lane, release_lane
from activities.partners import sandbox
from activities.settings import Settings
from activities.worker import build_worker, run_worker
from receiver.console.app import create_console
from receiver.console.options import ConsoleOptions
from receiver.console.pages.partners import ShownPartner
from receiver.console.sources import Sources
from tests.parts.consoles import URL, browsing, with_client
from tests.parts.least_settings import LEAST_SETTINGS
from tests.parts.partner_list import list_only
from tests.parts.told import told
from tests.support import KEY, QUEUE, stage, start, waiting

LONG = "a" * 101
"""The only kind of these names that a pipeline's definition may have."""

NAMES = ("acme.eu", "bänk", "a b", LONG)


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    list_only(monkeypatch, {name: partial(sandbox.partner, name) for name in (*NAMES, "bank")})


@pytest.fixture(autouse=True)
def http() -> Iterator[respx.MockRouter]:
    with respx.mock as router:
        router.post(host="127.0.0.1").mock(return_value=httpx.Response(202, json={"id": "work-1"}))
        yield router


@asynccontextmanager
async def built(client: Client) -> AsyncIterator[None]:
    async with http_client() as http:
        made = {name: sandbox.partner(name, Environment({})) for name in (*NAMES, "bank")}
        calls = PartnerCalls(http, CallbackURLs("http://receiver.test", [KEY]), made)
        async with build_worker(client, calls, task_queue=QUEUE):
            yield


@asynccontextmanager
async def run(client: Client) -> AsyncIterator[None]:
    settings = Settings.from_env({**LEAST_SETTINGS, "PARTNERS": ",".join((*NAMES, "bank")), "TASK_QUEUE": QUEUE})
    running = asyncio.create_task(run_worker(client, settings))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("worker", [built, run])
async def test_a_worker_calls_partners_without_a_lane(real: WorkflowEnvironment, worker: object) -> None:
    async with worker(real.client):  # type: ignore[operator]
        for name in (LONG, "bank"):
            await waiting(await start(real.client, stage(1, partner=name), id=f"calls-{name}"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_partner_without_a_lane_is_not_paused(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    paused = await told(real, "partner", "pause", name, "--reason", "x", TASK_QUEUE=QUEUE)
    assert (paused.code, "cannot be paused: its name cannot be that of a lane" in paused.err) == (2, True)
    only = {name: sandbox.partner(name, Environment({}))}
    console = create_console(ConsoleOptions(URL, actor="ada"), Sources(with_client(real.client), None, only))
    async with browsing(console) as browser:
        assert "/partners/pause" not in (await browser.get("/partners")).text
        monkeypatch.setattr(ShownPartner, "can_be_paused", True)  # as a form of an earlier version
        refused = await browser.send(await browser.get("/partners"), "/partners/pause", reason="x")
    assert (refused.status_code, "cannot be paused: its name" in refused.text) == (409, True)
    for queue in (QUEUE, "stagehook"):
        assert (await look_at_lane(real.client, queue)).hold is None


async def test_a_hold_of_the_main_queue_is_shown_and_ended(real: WorkflowEnvironment) -> None:
    """An earlier version has set it, by a pause of a partner without a lane."""
    await hold_lane(real.client, QUEUE, Hold("operator", "x", actor="ada"))
    held = await told(real, "partner", "list", TASK_QUEUE=QUEUE, PARTNERS="acme.eu")
    resumed = await told(real, "partner", "resume", "acme.eu", TASK_QUEUE=QUEUE)
    await release_lane(real.client, QUEUE, actor="ada", reason="x")
    assert "paused by ada" in held.out
    assert resumed.code == 0


async def test_a_partner_without_a_lane_is_listed_as_such(real: WorkflowEnvironment) -> None:
    async with built(real.client):
        await waiting(await start(real.client, stage(1, partner=LONG)))
        listed = await told(real, "partner", "list", TASK_QUEUE=QUEUE, PARTNERS="acme.eu")
    assert "served on the main queue, so it cannot be paused" in " ".join(listed.out.split())
