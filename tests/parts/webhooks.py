"""A partner with one webhook URL whose events hold only its own id, a receiver for it, and the calls that it got."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import sqlalchemy as sa

from activities.callback_urls import Claims
from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.events import NOT_OURS, Event, NotOurs
from activities.partners.partner import Partner
from activities.partners.reading import read_object, text_at
from activities.partners.received import Part, Received
from activities.signatures import SCHEMES, Scheme
from activities.store.calls import Calls
from activities.store.database import Database
from activities.store.errors import StoreAway
from activities.store.schema import CALLS, DELIVERIES
from activities.store.store import Store
from receiver.app import create_app
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.inbox import Inbox
from receiver.sending.signal import Signal
from receiver.sending.signals import Reached, Signals
from receiver.timing import Timing
from tests.parts.callbacks import BASE, URLS
from tests.parts.one_url import GITHUB
from tests.parts.switchable import Switchable
from tests.stores import PATIENT
from tests.support import RUN_TIMEOUT
from workflows.contract import Answer

WITH_ID = SCHEMES["standard-webhooks"](secrets=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
"""A scheme whose signature covers the delivery's id."""


def event(reference: str, status: str = "succeeded", n: int = 1) -> dict[str, Any]:
    """An event as the partner sends it."""
    return {"reference": reference, "status": status, "data": {"n": n}}


OTHER: dict[str, Any] = {"type": "payout.paid", "about": "something else"}


def read_event(received: Received) -> Event | NotOurs:
    body = read_object(received)
    if "type" in body:
        return NOT_OURS
    answer = Answer(text_at(body, "status"), data=body["data"])  # type: ignore[arg-type]
    return Event(answer, reference=body["reference"])


def split(received: Received) -> Sequence[Part]:
    return [received.part(item) for item in received.json()["events"]]


def batch(*events: Any) -> dict[str, Any]:
    return {"events": list(events)}


def partner(name: str = "bank", **changes: Any) -> Partner:
    """A partner of kind three. changes: its parts, such as `split=split`."""
    made = sandbox.partner(name, Environment({}))
    return replace(made, **{"stage_by": "reference", "signature": GITHUB, "read_event": read_event, **changes})


def claims(n: int = 1, **changes: Any) -> Claims:
    """The claims of a call of run n."""
    return replace(Claims(f"run-{n}", f"chain-{n}", 1, 1, "bank", 1_790_000_000, 4_000_000_000), **changes)


class Listening(Switchable):
    """A Temporal that notes what it takes: run and number, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, Any]] = []

    async def send(self, signal: Signal, *, within: float = 2.2) -> Reached:
        reached = await super().send(signal, within=within)
        if reached is Reached.TAKEN:
            self.heard.append((signal.claims.workflow_id, signal.callback.answer.data.get("n")))
        return reached


class Away(Inbox):
    """A store that is away for the methods of these names."""

    away: tuple[str, ...] = ()

    def __getattribute__(self, name: str) -> Any:
        if name in Away.away:
            raise StoreAway("away")
        return super().__getattribute__(name)


@asynccontextmanager
async def receiving(
    database: Database, signals: Signals, *partners: Partner, timing: Timing = PATIENT
) -> AsyncIterator[httpx.AsyncClient]:
    """A receiver on this store. Without partners: `partner()`."""
    by_name = {one.name: one for one in partners or [partner()]}
    app = create_app(URLS, by_name, signals, store=Store(database), timing=timing)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http


async def send(
    http: httpx.AsyncClient, body: Any, url: str = "/partners/bank", *, scheme: Scheme = GITHUB, id_: str = "d-1"
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    proof = scheme.sign(content, url=BASE + url, now=time.time(), delivery_id=id_)
    return await http.post(url, content=content, headers=[("Content-Type", "application/json"), *proof])


async def said(response: httpx.Response) -> tuple[int, str]:
    """Status and first word of the answer."""
    return response.status_code, response.json()["answer"].partition(" ")[0].strip(":;")


async def called(database: Database, *numbers: int, answered: bool = True) -> None:
    """Record a call for each run n, and its reference `w-n` if it is answered."""
    table = Calls(database)
    for n in numbers:
        await table.begin(claims(n))
        if answered:
            await table.refer(claims(n), f"w-{n}")


def kept(database: Database, *verdicts: str) -> list[Delivery]:
    """The recorded deliveries in order, of these verdicts if some are given."""
    return [one for one in Archive(database).every() if not verdicts or one.verdict in verdicts]


def verdicts(database: Database) -> list[str]:
    return [one.verdict for one in kept(database)]


def references(database: Database) -> list[str]:
    """The recorded references of calls, in order."""
    with database.begin() as connection:
        return list(connection.execute(sa.select(CALLS.c.reference).order_by(CALLS.c.position)).scalars())


def set_all(database: Database, **columns: Any) -> None:
    """Change every delivery's row."""
    with database.begin() as connection:
        connection.execute(sa.update(DELIVERIES).values(columns))


def rows(database: Database) -> list[Mapping[str, Any]]:
    with database.begin() as connection:
        return [dict(row) for row in connection.execute(sa.select(DELIVERIES).order_by("position")).mappings()]


async def until_idle(database: Database) -> None:
    """Wait until no delivery is pending, and the records of refused requests are written."""
    async with asyncio.timeout(RUN_TIMEOUT):
        while any(row["due_at"] is not None for row in rows(database)):
            await asyncio.sleep(0.02)
