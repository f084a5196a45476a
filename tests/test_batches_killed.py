"""Requests with several events, and a receiver that is killed between their commit and their signals."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import Claims
from activities.signatures import SCHEMES
from activities.store.calls import Calls
from activities.store.database import Database
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate
from tests.parts.web_processes import SOON, Web
from tests.support import Handle, ScriptedPartner, count_events, result_of, stage, start, waiting, working

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

SECRET = "a-secret-for-tests-0123456789"
PAYMENTS = {"PARTNERS": "payments", "PAYMENTS_KEY": "a-key-for-tests-0123456789", "PAYMENTS_SECRET": SECRET}


@pytest.fixture
async def temporal(real: WorkflowEnvironment) -> AsyncIterator[Client]:
    async with working(real.client, ScriptedPartner()):
        yield real.client


@pytest.fixture
def web(database: Database, temporal: Client, tmp_path: Path) -> Web:
    return Web(database, temporal, tmp_path)


async def called(database: Database, handle: Handle, number: int, *, answered: bool = True) -> Claims:
    chain = handle.first_execution_run_id or ""
    claims = Claims(handle.id, chain, 1, 1, "payments", 1_790_000_000, 4_000_000_000)
    await Calls(database).begin(claims)
    if answered:
        await Calls(database).refer(claims, f"psp-{number}")
    return claims


def notified(*numbers: int) -> dict[str, Any]:
    """A request with a successful payment for each."""
    items = [{"eventCode": "AUTHORISATION", "success": "true", "pspReference": f"psp-{n}"} for n in numbers]
    return {"notificationItems": [{"NotificationRequestItem": item} for item in items]}


async def post(web: Web, body: Any) -> tuple[int, str]:
    """Send until the answer is not 503, as the partner does: status and body, 0 if the connection broke."""
    async with asyncio.timeout(SOON):
        while (answer := await post_once(web, body))[0] == 503:
            await asyncio.sleep(0.1)
    return answer


async def post_once(web: Web, body: Any) -> tuple[int, str]:
    content, url = json.dumps(body).encode(), f"{web.url}/partners/payments"
    proof = SCHEMES["github"](secrets=[SECRET]).sign(content, url=url, now=time.time(), delivery_id="")
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
        try:
            answer = await http.post(url, content=content, headers=[("Content-Type", "application/json"), *proof])
        except httpx.TransportError:
            return 0, ""
    return answer.status_code, answer.text


def parts(database: Database) -> list[Delivery]:
    return [one for one in Archive(database).every() if one.part and one.verdict == "accepted"]


async def until_taken(database: Database, number: int) -> None:
    async with asyncio.timeout(SOON):
        while [one.fate for one in parts(database)] != [Fate.TAKEN] * number:
            await asyncio.sleep(0.1)


async def check_settled_once(handles: Sequence[Handle]) -> None:
    for n, handle in enumerate(handles):
        outcome = (await result_of(handle, within=SOON)).outcomes["step-1"]
        assert (outcome.cause, outcome.data) == ("callback", {"payment_id": f"psp-{n}"})
        assert await count_events(handle, "workflow_execution_signaled_event_attributes") == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_before_the_signals_loses_and_doubles_nothing(
    web: Web, temporal: Client, database: Database, when: str
) -> None:
    handles = [await start(temporal, stage(1, partner="payments"), id=f"run-{n}") for n in range(3)]
    for n, handle in enumerate(handles):
        await waiting(handle)
        await called(database, handle, n)
    with web.dying(when, **PAYMENTS) as process:
        assert await post(web, notified(0, 1, 2)) in {(0, ""), (200, "[accepted]")}
        assert await asyncio.to_thread(process.wait, SOON) == -9
    assert [one.fate for one in parts(database)] == [Fate.PENDING] * 3
    with web.serving(None, **PAYMENTS):
        assert await post(web, notified(0, 1, 2)) == (200, "[accepted]"), "the partner tries again"
        await until_taken(database, 3)
        await check_settled_once(handles)


async def test_an_unmatched_event_outlives_a_killed_receiver(web: Web, temporal: Client, database: Database) -> None:
    handles = [await start(temporal, stage(1, partner="payments"), id=f"run-{n}") for n in range(2)]
    claims = [await called(database, handle, n, answered=n > 0) for n, handle in enumerate(handles)]
    for handle in handles:
        await waiting(handle)
    with web.dying("before", **PAYMENTS) as process:
        await post(web, notified(0, 1))
        assert await asyncio.to_thread(process.wait, SOON) == -9
    await Calls(database).refer(claims[0], "psp-0")
    with web.serving(None, **PAYMENTS):
        await until_taken(database, 2)
        await check_settled_once(handles)
