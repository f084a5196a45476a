"""Callback URLs for tests, and a receiver without a socket that takes callbacks to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
from temporalio.client import Client, WorkflowHandle

from activities.callback_urls import CallbackURLs, Claims
from activities.environment import Environment
from activities.partners import sandbox
from receiver.app import create_app
from receiver.sending.signals import Signals
from tests.support import (
    KEY,
)

BASE = "http://receiver.test"


URLS = CallbackURLs(BASE, [KEY])


CLAIMS = Claims("run", "chain", 1, 1, "bank", 1_790_000_000, 4_000_000_000)


DONE = {"id": "w-1", "status": "succeeded", "data": {"account_id": "a-1"}}


async def no_temporal() -> Client:
    raise AssertionError("Temporal was asked")


@asynccontextmanager
async def receiver(signals: Signals | None = None) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(URLS, partners(), signals or Signals(no_temporal))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http:
        yield http


def partners() -> dict[str, Any]:
    bank = sandbox.partner("bank", Environment({}))
    return {name: replace(bank, name=name) for name in ("bank", "partner-1", "partner-2")}


def for_temporal(client: Client) -> Signals:
    async def connected() -> Client:
        return client

    return Signals(connected)


def url_for(handle: WorkflowHandle[Any, Any], number: int = 1, **changes: Any) -> str:
    """A callback URL as the call of this stage would carry it."""
    chain = handle.first_execution_run_id or ""
    claims = Claims(handle.id, chain, number, 1, f"partner-{number}", 1_790_000_000, 4_000_000_000)
    return URLS.issue(replace(claims, **changes))
