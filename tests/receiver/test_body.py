"""What is recorded of a body that was refused before it was read, or while it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from starlette.requests import Request
from starlette.types import Message

from activities.store.database import Database
from activities.store.store import Store
from receiver.answers import Refused
from receiver.app import create_app
from receiver.body import LARGEST_BODY, SKIMMED, Incoming
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, digest
from receiver.sending.signals import Signals
from tests.parts.callbacks import BASE, CLAIMS, URLS, no_temporal, partners
from tests.stores import PATIENT

JSON = {"Content-Type": "application/json"}
FORGED = URLS.issue(CLAIMS)[:-2] + "xx"


@asynccontextmanager
async def recording(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A receiver with this store; all is written when it has ended."""
    app = create_app(URLS, partners(), Signals(no_temporal), store=Store(database, days=30), timing=PATIENT)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http


def incoming(*chunks: bytes, announced: int | None = None) -> tuple[Incoming, list[bytes]]:
    """A body that arrives in these chunks, and the chunks that were not fetched yet."""
    left = list(chunks)

    async def receive() -> Message:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    length = announced if announced is not None else sum(map(len, chunks))
    headers = [(b"content-length", str(length).encode())]
    return Incoming(Request({"type": "http", "method": "POST", "headers": headers}, receive)), left


async def test_a_body_may_have_all_the_bytes_that_are_allowed() -> None:
    body, _ = incoming(bytes(LARGEST_BODY - 1), b"x")
    assert len(await body.read()) == LARGEST_BODY
    over, _ = incoming(bytes(LARGEST_BODY), b"x")
    with pytest.raises(Refused, match="TOO_LARGE"):
        await over.read()


async def test_of_a_refused_body_that_says_it_is_huge_nothing_is_read() -> None:
    body, left = incoming(*[bytes(65536)] * 3, announced=SKIMMED + 1)
    assert await body.skim() is None
    assert (len(left), body.size, body.digest) == (3, 0, "")


async def test_of_a_refused_body_no_more_is_held_than_may_be_kept() -> None:
    body, left = incoming(*[bytes(65536)] * 48)
    assert await body.skim() is None
    assert (left, body.size, body.digest) == ([], 48 * 65536, digest(bytes(48 * 65536)))
    assert len(body._kept) == LARGEST_BODY


def only(database: Database) -> Delivery:
    (one,) = Archive(database).every()
    return one


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        (URLS.issue(CLAIMS), {"Content-Type": "text/plain"}, 415),
        (URLS.issue(CLAIMS), {**JSON, "Content-Encoding": "gzip"}, 415),
        (URLS.issue(replace(CLAIMS, expires_at=1)), JSON, 410),
        (URLS.issue(replace(CLAIMS, partner="not-enabled")), JSON, 503),
        (FORGED, JSON, 404),
    ],
)
async def test_what_was_refused_unread_can_be_looked_at(
    database: Database, url: str, headers: dict[str, str], status: int
) -> None:
    async with recording(database) as http:
        assert (await http.post(url, content=b"hello", headers=headers)).status_code == status
    one = only(database)
    assert (one.status, one.body, one.body_size, one.body_digest) == (status, b"hello", 5, digest(b"hello"))


async def test_a_live_token_at_a_missing_partners_url_is_not_kept(database: Database) -> None:
    url = URLS.issue(CLAIMS)
    async with recording(database) as http:
        assert (await http.post("/partners/unheard-of", content=url.encode(), headers=JSON)).status_code == 404
    one = only(database)
    assert one.body is not None
    assert url.rpartition("/")[2].encode() not in one.body


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_has_its_whole_size_and_digest(database: Database, chunked: bool) -> None:
    body = bytes(2 * LARGEST_BODY)

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    async with recording(database) as http:
        answer = await http.post(URLS.issue(CLAIMS), content=chunks() if chunked else body, headers=JSON)
    one = only(database)
    assert answer.status_code == 413
    assert (one.body, one.body_size, one.body_digest) == (None, len(body), digest(body))


async def test_a_body_without_end_is_read_so_far_and_has_no_digest(database: Database) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async with recording(database) as http:
        answer = await http.post(URLS.issue(CLAIMS), content=chunks(), headers=JSON)
    one = only(database)
    assert answer.status_code == 413
    assert (one.body, one.body_digest) == (None, "")
    assert SKIMMED < one.body_size < SKIMMED + 2 * 65536


async def test_a_refused_body_that_never_comes_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.body.SKIM_SECONDS", 0.1)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        await asyncio.sleep(30)

    began = time.monotonic()
    async with recording(database) as http:
        answer = await http.post(URLS.issue(CLAIMS), content=chunks(), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert time.monotonic() - began < 15
    assert (only(database).body_size, only(database).body_digest) == (4, "")
