"""Callbacks whose bodies are signed: what is proven, and how a signed id makes them known again."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.signatures import SCHEMES
from receiver.app import create_app
from receiver.sending.signals import Signals
from tests.parts.callbacks import BASE, CLAIMS, URLS, for_temporal, no_temporal, partners, url_for
from tests.support import (
    ScriptedPartner,
    progress_of,
    result_of,
    stage,
    start,
    waiting,
    working,
)

SIGNED = SCHEMES["standard-webhooks"](secrets=["whsec_" + base64.b64encode(bytes(range(32))).decode()])


@asynccontextmanager
async def signed_receiver(signals: Signals | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A receiver whose partner-1 signs its callbacks."""
    signing = {name: replace(partner, signature=SIGNED) for name, partner in partners().items()}
    app = create_app(URLS, signing, signals or Signals(no_temporal))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http:
        yield http


def proof(body: bytes, delivery_id: str = "msg_1", now: float | None = None) -> dict[str, str]:
    headers = dict(SIGNED.sign(body, url=BASE, now=time.time() if now is None else now, delivery_id=delivery_id))
    return {**headers, "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (lambda: {"Content-Type": "application/json"}, "missing-header"),
        (lambda: proof(b"another body"), "mismatch"),
        (lambda: proof(b"{", now=1_000_000_000), "stale"),
    ],
    ids=["unsigned", "another body", "old"],
)
async def test_an_unproven_body_is_401_before_anything_reads_it(
    headers: Callable[[], dict[str, str]], reason: str
) -> None:
    """The body is no JSON: a 422 would show that it was parsed. Signed here: a signature is valid for five minutes."""
    async with signed_receiver() as http:
        answer = await http.post(URLS.issue(CLAIMS), content=b"{", headers=headers())
    assert (answer.status_code, answer.json()["detail"]) == (401, reason)


async def test_a_signed_callback_is_known_again_by_its_signed_id(real: WorkflowEnvironment) -> None:
    """A partner's retry has a new signature, and may have other bytes: the signed id makes both the same delivery."""
    async with signed_receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle, 1)
        url = url_for(handle)
        for body in (b'{"status":"succeeded"}', b'{ "status": "succeeded" }'):
            assert (await http.post(url, content=body, headers=proof(body))).status_code == 202
        await waiting(handle, 2)
        assert (await progress_of(handle)).stages[0].ledger_total == 0


async def test_a_result_under_the_id_of_its_progress_is_no_duplicate(real: WorkflowEnvironment) -> None:
    """Some partners give all that they say about one piece of work one id: nothing of it may be lost."""
    async with signed_receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        for body in (b'{"status":"progress"}', b'{"status":"succeeded"}'):
            assert (await http.post(url_for(handle), content=body, headers=proof(body))).status_code == 202
        await result_of(handle)


async def test_a_signed_url_is_the_public_one_with_its_query(real: WorkflowEnvironment) -> None:
    square = SCHEMES["square"](secrets=["secret"])
    signing = {name: replace(partner, signature=square) for name, partner in partners().items()}
    app = create_app(URLS, signing, for_temporal(real.client))
    handle = await start(real.client, stage(1))
    url = url_for(handle) + "?source=square"
    body = b'{"status":"succeeded"}'
    headers = dict(square.sign(body, url=url, now=0, delivery_id=""))
    elsewhere = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://another.test")
    async with elsewhere as http:
        path = url.removeprefix(BASE)
        answer = await http.post(path, content=body, headers={**headers, "Content-Type": "application/json"})
        other = await http.post(f"{path}x", content=body, headers={**headers, "Content-Type": "application/json"})
    assert (answer.status_code, other.status_code) == (202, 401)
