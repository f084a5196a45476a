"""Exchanges with partners over real connections: what an answer may cost, and what of it counts when it breaks off."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import MAX_ANSWER_BYTES, BoundedTransport, http_client
from activities.partners import sandbox
from tests.support import KEY, SOON
from workflows.contract import Answer, Receipt, StageCall

CALL = StageCall("run-1", "chain-1", 2, "account-check", "bank", 1, 1_800_000_000, 1_900_000_000, {"iban": "GB33"})
RECEIPT = b'{"id": "w-1"}'


def answer(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Server:
    """A partner that sends bytes as they are: an answer for each request, the last one again and again."""

    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)
    stays_open: bool = False
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            await writer.drain()
            if self.stays_open:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes, stays_open: bool = False) -> AsyncIterator[Server]:
    server = Server(list(answers), stays_open=stays_open)
    listening = await asyncio.start_server(server.handle, "127.0.0.1")
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


async def call(server: Server, auth: httpx.Auth | None = None, *, within: float = SOON, **parts: Any) -> Receipt:
    partner = sandbox.partner("bank", Environment({"SANDBOX_URL": f"http://127.0.0.1:{server.port}"}))
    env = ActivityEnvironment()
    env.info = dataclasses.replace(env.info, start_to_close_timeout=timedelta(seconds=within))
    async with http_client() as http:
        urls = CallbackURLs("https://hooks.test", [KEY])
        calls = PartnerCalls(http, urls, {"bank": dataclasses.replace(partner, auth=auth, **parts)})
        return await asyncio.wait_for(env.run(calls.call_partner, CALL), 3 * SOON)


async def refused(server: Server, auth: httpx.Auth | None = None) -> ApplicationError:
    with pytest.raises(ApplicationError) as raised:
        await call(server, auth)
    return raised.value


def packed(body: bytes) -> bytes:
    """The same bytes each time, for tests are named by them."""
    return gzip.compress(body, mtime=0)


BOMB = packed(gzip.compress(bytes(64 * 1024 * 1024), compresslevel=1, mtime=0))
"""64 MiB of zeros in a few kilobytes. Each process of the tests makes them: quickly rather than well."""

CUT = "its body broke off (RemoteProtocolError)"
CHUNKED = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (answer("202 Accepted", RECEIPT, length=100), CUT),
        (CHUNKED + b"d\r\n" + RECEIPT, CUT),
        (CHUNKED + b"d\r\n" + RECEIPT + b"\r\nno size\r\n", CUT),
        (answer("202 Accepted", b"x" * (MAX_ANSWER_BYTES + 1)), "its body has more than"),
        (answer("202 Accepted", packed(bytes(2 * MAX_ANSWER_BYTES)), "Content-Encoding: gzip"), "more than"),
        (answer("202 Accepted", RECEIPT, "Content-Encoding: gzip"), "not encoded as its Content-Encoding says"),
        (answer("202 Accepted", RECEIPT, "Content-Encoding: br"), "not one of gzip and deflate, once"),
        (answer("202 Accepted", BOMB, "Content-Encoding: gzip, gzip"), "not one of gzip and deflate, once"),
        (answer("202 Accepted", BOMB, "Content-Encoding: gzip", "Content-Encoding: gzip"), "gzip and deflate, once"),
        (answer("202 Accepted", packed(RECEIPT)[:-9], "Content-Encoding: gzip"), "broke off within"),
        (answer("204 No Content", b""), "not JSON"),
    ],
)
async def test_a_2xx_whose_body_cannot_be_read_is_an_accepted_call(sent: bytes, why: str) -> None:
    async with serving(sent) as server:
        receipt = await call(server)
    assert (receipt.reference, receipt.answer) == ("", None)
    assert receipt.note.startswith("partner bank took the call (20")
    assert why in receipt.note
    assert len(server.requests) == 1


async def test_a_reference_in_a_header_outlives_its_body() -> None:
    sent = answer("202 Accepted", b"", "X-Work-Id: w-7", length=100)

    def read_receipt(response: httpx.Response) -> Receipt:
        return Receipt(response.headers["X-Work-Id"], answer=Answer("succeeded"))

    async with serving(sent) as server:
        receipt = await call(server, read_receipt=read_receipt)
    assert (receipt.reference, receipt.answer) == ("w-7", None)
    assert CUT in receipt.note


async def test_a_2xx_whose_body_does_not_come_is_an_accepted_call() -> None:
    async with serving(answer("202 Accepted", RECEIPT, length=100), stays_open=True) as server:
        receipt = await call(server, within=1.0)
    assert "its body did not arrive (TimeoutError)" in receipt.note


class Hanging(httpx.AsyncBaseTransport, httpx.AsyncByteStream):
    """Answers 202, and never sends the body."""

    def __init__(self) -> None:
        self.awaited = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(202, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.awaited.set()
        await asyncio.Event().wait()
        yield b""


async def test_a_2xx_with_a_half_read_body_at_a_stop_is_accepted() -> None:
    hanging, env = Hanging(), ActivityEnvironment()
    bank = sandbox.partner("bank", Environment({}))
    async with httpx.AsyncClient(transport=BoundedTransport(hanging)) as http:
        calls = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": bank})
        calling = asyncio.create_task(env.run(calls.call_partner, CALL))
        await asyncio.wait_for(hanging.awaited.wait(), SOON)
        env.cancel()
        receipt = await asyncio.wait_for(calling, SOON)
    assert "its body did not arrive (CancelledError)" in receipt.note


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (packed(RECEIPT), "gzip"),
        (packed(RECEIPT), "x-gzip"),
        (zlib.compress(RECEIPT), "Deflate"),
        (zlib.compress(RECEIPT, wbits=-15), "deflate"),
        (RECEIPT, "identity"),
        (RECEIPT, "utf-8"),
        (RECEIPT, "none"),
        (packed(RECEIPT), "utf-8, gzip"),
    ],
)
async def test_one_encoding_is_undone_though_none_was_asked_for(body: bytes, encoding: str) -> None:
    async with serving(answer("202 Accepted", body, f"Content-Encoding: {encoding}")) as server:
        receipt = await call(server)
    assert (receipt.reference, receipt.note) == ("w-1", "")
    assert b"accept-encoding: identity\r\n" in server.requests[0].lower()


@pytest.mark.parametrize("status", ["200 OK", "422 Unprocessable"])
@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
async def test_an_answer_that_unpacks_to_megabytes_costs_no_memory(status: str, encoding: str) -> None:
    async with serving(answer(status, BOMB, f"Content-Encoding: {encoding}")) as server:
        tracemalloc.start()
        try:
            await (call if status == "200 OK" else refused)(server, OAuth(server.port))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 * MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (answer("422 No", packed(b"no such iban"), "Content-Encoding: gzip"), ": no such iban"),
        (answer("422 No", BOMB, "Content-Encoding: gzip, gzip"), ""),
        (answer("422 No", b"no such iban", length=100), ": no such iban"),
    ],
)
async def test_a_refusal_is_final_whatever_becomes_of_its_body(sent: bytes, said: str) -> None:
    async with serving(sent) as server:
        error = await refused(server)
    assert (error.type, error.message) == ("PartnerRefused", f"partner bank answered 422{said}")


class OAuth(httpx.Auth):
    """httpx's pattern for credentials that run out: it reads every answer, and fetches a token after a 401."""

    requires_response_body = True

    def __init__(self, port: int) -> None:
        self._token_url = f"http://127.0.0.1:{port}/token"
        self._token = "expired"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == 401:
            answered = yield httpx.Request("POST", self._token_url)
            self._token = json.loads(answered.content)["access_token"]
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request


class Careless(httpx.Auth):
    """Looks into every answer for its own purposes."""

    requires_response_body = True

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        response = yield request
        json.loads(response.content)["nonce"]


async def test_a_refusal_that_the_auth_has_read_keeps_its_words() -> None:
    async with serving(answer("422 No", b'{"error": "no such iban"}')) as server:
        error = await refused(server, OAuth(server.port))
    assert (error.type, error.non_retryable) == ("PartnerRefused", True)
    assert error.message == 'partner bank answered 422: {"error": "no such iban"}'
    assert len(server.requests) == 1


async def test_an_expired_token_is_fetched_again_within_one_try() -> None:
    token = answer("200 OK", b'{"access_token": "fresh-token"}')
    async with serving(answer("401 No", b""), token, answer("202 Accepted", RECEIPT)) as server:
        assert (await call(server, OAuth(server.port))).reference == "w-1"
    assert b"Bearer fresh-token" in server.requests[2]


async def test_what_an_auth_reads_besides_is_bounded_too() -> None:
    token = answer("200 OK", BOMB, "Content-Encoding: gzip, gzip")
    async with serving(answer("401 No", b""), token) as server:
        error = await refused(server, OAuth(server.port))
    assert (error.type, error.non_retryable) == ("PartnerUnclear", False)
    assert error.message == "the request to partner bank failed, perhaps in its auth (JSONDecodeError)"


@pytest.mark.parametrize("sent", [answer("202 Accepted", b"<html>"), answer("202 Accepted", RECEIPT, length=100)])
async def test_a_2xx_is_an_accepted_call_whatever_the_auth_makes_of_it(sent: bytes) -> None:
    async with serving(sent) as server:
        assert "took the call (202)" in (await call(server, Careless())).note
    assert len(server.requests) == 1


class Chatty(httpx.Auth):
    """Writes the call anew, and says good-bye after the answer."""

    def __init__(self, port: int) -> None:
        self._good_bye = f"http://127.0.0.1:{port}/session"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        anew = httpx.Request(request.method, request.url.copy_with(query=b"signed=1"), content=request.content)
        yield anew
        yield httpx.Request("DELETE", self._good_bye)


@pytest.mark.parametrize("status", ["500 Broken", "401 No"])
async def test_what_an_auth_is_answered_after_the_call_changes_nothing(status: str) -> None:
    async with serving(answer("202 Accepted", RECEIPT), answer(status, b"")) as server:
        assert (await call(server, Chatty(server.port))).reference == "w-1"
    assert [request.split()[0] for request in server.requests] == [b"POST", b"DELETE"]


async def test_a_call_that_an_auth_rewrote_is_taken_by_its_head() -> None:
    async with serving(answer("202 Accepted", b"", length=100), stays_open=True) as server:
        receipt = await call(server, Chatty(server.port), within=1.0)
    assert "took the call (202)" in receipt.note
    assert len(server.requests) == 1


async def test_no_cookie_is_kept() -> None:
    set_cookie = answer("202 Accepted", RECEIPT, "Set-Cookie: session=secret; Path=/", "Connection: close")
    async with serving(set_cookie) as server, http_client() as http:
        for _ in range(2):
            await http.get(f"http://127.0.0.1:{server.port}/")
        assert list(http.cookies.jar) == []
    assert len(server.requests) == 2
    assert b"cookie" not in server.requests[1].lower()
