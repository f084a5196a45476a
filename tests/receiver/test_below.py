"""A receiver below a path of its address, behind a balancer that passes the path on, and one that strips it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.partners import sandbox
from activities.signatures import SCHEMES
from receiver.app import create_app
from tests.parts.callbacks import CLAIMS
from tests.parts.switchable import Switchable
from tests.support import KEY

URLS_BELOW = CallbackURLs("https://example.com/hooks", [KEY])
TOKEN = URLS_BELOW.issue(CLAIMS).rpartition("/")[2]
SQUARE = SCHEMES["square"](secrets=["a-secret-of-square"])
"""A signature that covers the URL."""


@asynccontextmanager
async def below() -> AsyncIterator[httpx.AsyncClient]:
    partner = replace(sandbox.partner("bank", Environment({})), signature=SQUARE)
    app = create_app(URLS_BELOW, {"bank": partner}, Switchable())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://example.com") as http:
        yield http


@pytest.mark.parametrize("prefix", ["/hooks", ""], ids=["passed on", "stripped"])
async def test_a_callback_is_taken_whether_or_not_the_path_is_stripped(prefix: str) -> None:
    body = b'{"status": "succeeded"}'
    proof = dict(SQUARE.sign(body, url=f"https://example.com/hooks/callbacks/{TOKEN}", now=0, delivery_id="d"))
    async with below() as http:
        headers = {**proof, "Content-Type": "application/json"}
        answer = await http.post(f"{prefix}/callbacks/{TOKEN}", content=body, headers=headers)
        probes = [(await http.get(f"{prefix}/{probe}")).status_code for probe in ("healthz", "readyz")]
    assert (answer.status_code, probes) == (202, [200, 200])


@pytest.mark.parametrize("path", ["/hooks", "/hooksx", "/hooks/hooks", "/%68ooks", "/Hooks"])
async def test_only_the_path_itself_is_taken_off(path: str) -> None:
    async with below() as http:
        assert (await http.get(f"{path}/healthz" if path != "/hooks" else path)).status_code == 404
