"""Partners' files that raise where they should read, and what is recorded of their callbacks."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest
import sqlalchemy as sa

from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.received import Received
from activities.store.database import Database
from activities.store.schema import DELIVERIES
from activities.store.store import Store
from receiver.app import create_app
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery
from receiver.sending.signals import Signals
from tests.commands import Done, command
from tests.parts.callbacks import BASE, URLS
from tests.parts.partner_list import list_only
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT, url_of
from tests.support import KEY
from workflows.contract import LARGEST_OUTCOME, Answer

FORGED = "2026-01-02T03:04:05Z INFO stagehook.callbacks callback verdict=accepted"


def mended() -> File:
    file = File(None)
    file.mended = True
    return file


def raising(error: BaseException) -> Any:
    def read(received: Received) -> Answer:
        raise error

    return read


def nested(levels: int) -> Any:
    return json.loads("[" * levels + "]" * levels)


BROKEN: dict[str, Any] = {
    "a number as code": Answer("failed", code=1042),  # type: ignore[arg-type]
    "null as message": Answer("failed", message=None),  # type: ignore[arg-type]
    "a list as data": Answer("succeeded", data=[]),  # type: ignore[arg-type]
    "NaN": Answer("succeeded", data={"x": [math.nan]}),
    "infinity": Answer("succeeded", data={"x": -math.inf}),
    "a lone surrogate": Answer("failed", message="Zoe \ud83d"),
    "a number as key": Answer("succeeded", data={1: 1}),  # type: ignore[dict-item]
    "too deep": Answer("succeeded", data={"x": nested(100)}),
    "too large": Answer("succeeded", data={"x": "y" * LARGEST_OUTCOME}),
    "an unknown status": Answer("done"),  # type: ignore[arg-type]
    "nothing": None,
    "a dict": {"status": "succeeded"},
    "progress with an object": Answer("progress", message={"step": 2}),  # type: ignore[arg-type]
    "a KeyError": raising(KeyError("status")),
    "a RecursionError": raising(RecursionError()),
    "an error that forges a line": raising(ValueError(f"bad\n{FORGED}\r\x1b]52;c;eA==\x07")),
}


class File:
    """A partner's file that is wrong until it is mended. token: reads the token, at the partner's one URL."""

    def __init__(self, wrong: Any, token: Callable[[Received], str] | None = None) -> None:
        self.wrong = wrong
        self.token = token
        self.mended = False

    def read_event(self, received: Received) -> Event:
        token = self.token(received) if self.token else ""
        if self.mended:
            return replace(sandbox.read_event(received), token=token)
        answer: Answer = self.wrong(received) if callable(self.wrong) else self.wrong
        return Event(answer, token)

    def partner(self, name: str = "partner-1", **parts: Any) -> Partner:
        made = sandbox.partner(name, Environment({}))
        return replace(made, read_event=self.read_event, stage_by="token" if self.token else "url", **parts)


@asynccontextmanager
async def receiver(
    partner: Partner, signals: Signals | None = None, database: Database | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    kept = None if database is None else Store(database)
    app = create_app(URLS, {partner.name: partner}, signals or Switchable(), store=kept, timing=PATIENT)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http


async def recorded(database: Database, number: int = 1) -> list[Delivery]:
    await eventually(lambda: len(list(Archive(database).every())) == number)
    return list(Archive(database).every())


def column(database: Database, name: str) -> Any:
    with database.begin() as connection:
        return connection.execute(sa.select(DELIVERIES.c[name])).scalar()


async def release(database: Database, partner: Partner, *args: str, monkeypatch: pytest.MonkeyPatch) -> Done:
    list_only(monkeypatch, {partner.name: lambda environment: partner})
    env: dict[str, Any] = {"DATABASE_URL": url_of(database), "CALLBACK_KEYS": KEY}
    return await anyio.to_thread.run_sync(lambda: command("delivery", "release", *args, **env))
