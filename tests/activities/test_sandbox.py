"""The sandbox partner told to stop or undo work, by the requests that the sample partners' files build."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx
import pytest

from activities.callback_urls import CALLBACKS_PATH, BadToken, Claims, version_of
from activities.environment import Environment
from activities.partners import load_partners
from receiver.cli.demo.stack import sample_partners
from receiver.sandbox.app import SandboxPartner, _forge
from receiver.sandbox.roles import ROLES
from receiver.sandbox.work import Work
from tests.parts.callbacks import BASE, URLS
from tests.support import SOON
from workflows.contract import TOKEN_VERSIONS, StageCall

SAMPLES = load_partners([*ROLES, "sandbox"], Environment(sample_partners("http://sandbox.test")))
CALL = StageCall("run", "chain", 3, "contract", "esign", 1, 1_800_000_000, 1_900_000_000, {"signer": "Ada"})
DELAY = 0.2
Build = Callable[[StageCall, str], httpx.Request]


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxPartner]:
    """Its callbacks are taken by whoever is there."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda request: httpx.Response(202))) as to_receiver:
        app = SandboxPartner(to_receiver, delay=DELAY)
        yield app
        await app.aclose()


async def send(sandbox: SandboxPartner, request: httpx.Request) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox.app)) as http:
        return (await http.send(request)).status_code


async def called(sandbox: SandboxPartner, partner: str) -> Work:
    """The work that a call has begun."""
    call = replace(CALL, partner=partner)
    request = SAMPLES[partner].build_call(call, "http://receiver.test/callbacks/a.b")
    request.headers["Idempotency-Key"] = Claims.of(call).idempotency_key
    assert await send(sandbox, request) == 202
    [work] = sandbox.ledger.values()
    return work


async def called_back(work: Work) -> None:
    async with asyncio.timeout(SOON):
        while not work.deliveries:
            await asyncio.sleep(0.01)


def built(build: Build | None, reference: str) -> httpx.Request:
    assert build is not None
    return build(replace(CALL, data={}), reference)


async def test_an_envelope_that_is_stopped_sends_no_callback(sandbox: SandboxPartner) -> None:
    work = await called(sandbox, "esign")
    for _ in range(2):
        assert await send(sandbox, built(SAMPLES["esign"].build_stop, work.id)) == 200
    await asyncio.sleep(2 * DELAY)
    assert (work.stopped, work.done, work.deliveries) == (True, False, [])


async def test_a_card_is_cancelled_once_it_is_made(sandbox: SandboxPartner) -> None:
    work = await called(sandbox, "cards")
    assert await send(sandbox, built(SAMPLES["cards"].build_undo, work.id)) == 409
    await called_back(work)
    assert await send(sandbox, built(SAMPLES["cards"].build_undo, work.id)) == 200
    assert (work.undone, [delivery.answered for delivery in work.deliveries]) == (True, [202])


async def test_what_is_finished_is_not_stopped(sandbox: SandboxPartner) -> None:
    work = await called(sandbox, "esign")
    await called_back(work)
    assert await send(sandbox, built(SAMPLES["esign"].build_stop, work.id)) == 409
    assert (work.stopped, len(work.deliveries)) == (False, 1)


@pytest.mark.parametrize(
    ("partner", "method", "below", "body"),
    [
        ("esign", "PUT", "", b""),
        ("esign", "PUT", "", b"{"),
        ("esign", "PUT", "", b"[]"),
        ("esign", "PUT", "", b'{"status": "sent"}'),
        ("esign", "PUT", "/recipients", b'{"status": "voided"}'),
        ("esign", "POST", "/cancel", b""),
        ("bank", "POST", "/cancel", b""),
        ("sandbox", "PUT", "", b'{"status": "voided"}'),
    ],
)
async def test_a_partner_does_only_what_it_is_told_in_its_own_form(
    sandbox: SandboxPartner, partner: str, method: str, below: str, body: bytes
) -> None:
    work = await called(sandbox, partner)
    collection = ROLES[partner].collection if partner in ROLES else "calls"
    url = f"http://sandbox.test/{partner}/{collection}/{work.id}{below}"
    assert await send(sandbox, httpx.Request(method, url, content=body)) == 404
    assert (work.stopped, work.undone) == (False, False)


@pytest.mark.parametrize(("partner", "field"), [("esign", "build_stop"), ("cards", "build_undo")])
async def test_work_that_nobody_asked_for_is_unknown(sandbox: SandboxPartner, partner: str, field: str) -> None:
    """Whatever its id is made of: it cannot lead the request to another path."""
    request = built(getattr(SAMPLES[partner], field), "../x?y")
    assert "..%2Fx%3Fy" in str(request.url)
    assert await send(sandbox, request) == 404


@pytest.mark.parametrize("version", TOKEN_VERSIONS)
def test_a_forged_token_is_well_formed_and_differs_in_one_letter(version: int) -> None:
    claims = Claims("run", "01a20379-1751-78ce-ac76-c1d64654450f", 1, 1, "bank", 1_790_000_000, 4_000_000_000)
    url = URLS.issue(claims, version)
    forged = _forge(url)
    assert [one != other for one, other in zip(url, forged, strict=True)].count(True) == 1
    assert forged.startswith(f"{BASE}{CALLBACKS_PATH}")
    assert version_of(forged.rpartition("/")[2]) == version
    with pytest.raises(BadToken, match="not signed by us"):
        URLS.redeem(forged.rpartition("/")[2])
