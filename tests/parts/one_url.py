"""A partner that sends every callback to one URL, with the token in the body."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx

from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.events import Event
from activities.partners.reading import read_object, text_at
from activities.partners.received import Received
from activities.signatures import SCHEMES, Scheme
from receiver.app import create_app
from receiver.sending.signals import Signals
from tests.parts.callbacks import BASE, DONE, URLS, no_temporal

PLAIN = sandbox.partner("bank", Environment({}))


GITHUB = SCHEMES["github"](secrets=["secret"])


def read_token(received: Received) -> str:
    return text_at(read_object(received), "metadata", "callback")


def read_event(received: Received) -> Event:
    return replace(sandbox.read_event(received), token=read_token(received))


ONE_URL: dict[str, Any] = {"stage_by": "token", "read_event": read_event}
"""The parts of a partner's file that read the token in the body."""


@asynccontextmanager
async def receiver(signals: Signals | None = None, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A receiver whose partners `bank` and `partner-1` have these parts."""
    partners = {name: replace(PLAIN, **{"name": name, **changes}) for name in ("bank", "partner-1")}
    app = create_app(URLS, partners, signals or Signals(no_temporal))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http:
        yield http


async def post(http: httpx.AsyncClient, url: str, body: Any, scheme: Scheme | None = GITHUB) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = url if url.startswith("http") else BASE + url
    proof = scheme.sign(content, url=url, now=time.time(), delivery_id="d-1") if scheme else []
    return await http.post(url, content=content, headers=[("Content-Type", "application/json"), *proof])


def carrying(url_or_token: str) -> dict[str, Any]:
    return {**DONE, "metadata": {"callback": url_or_token}}
