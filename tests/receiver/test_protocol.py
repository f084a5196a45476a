"""Raw bytes over a real socket against the real server settings: hostile, broken, slow and idle clients."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from itsdangerous import URLSafeSerializer

from activities.callback_urls import SALT, CallbackURLs
from receiver import protocol
from receiver.body import LARGEST_BODY
from receiver.protocol import LARGEST_HEAD, MOST_HEADERS
from receiver.sending.signals import Signals
from tests.parts.callbacks import BASE, CLAIMS, URLS
from tests.parts.connections import (
    BODY,
    HEAD,
    HEALTH,
    LENGTH,
    PATH,
    SMUGGLED,
    TYPE,
    WHOLE,
    away,
    connected,
    exchange,
    receiver_app,
    serving,
    statuses,
)
from tests.support import KEY, SOON


@pytest.fixture
def patience() -> float:
    """Seconds for a head and for a body. On a busy machine the test itself is a slow client."""
    return SOON


GIVEN_UP_SOON = pytest.mark.parametrize("patience", [0.3], ids=["given-up-soon"])
"""For tests of a slow client: `port` gives it up soon."""


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch, patience: float) -> AsyncIterator[int]:
    """A receiver on a socket, Temporal away: a callback that gets through every check is answered 503."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", patience)
    monkeypatch.setattr("receiver.body.BODY_SECONDS", patience)
    async with serving(receiver_app(Signals(away))) as number:
        yield number


async def is_served(port: int) -> bool:
    return statuses(await exchange(port, HEALTH)) == [200]


async def test_a_whole_request_is_served(port: int) -> None:
    assert statuses(await exchange(port, WHOLE)) == [503]


def padded_head(size: int) -> bytes:
    """A good head of so many bytes on the wire."""
    start = HEAD + LENGTH + b"X: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


REFUSED: Final[dict[str, tuple[bytes, set[int]]]] = {
    "garbage": (b"\x00\x01\x02\r\n\r\n", {400}),
    "tls hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), {400}),
    "http/0.9": (b"POST " + PATH + b"\r\n\r\n", {400, 415}),
    "http/9.9": (b"POST " + PATH + b" HTTP/9.9\r\nHost: x\r\n\r\n", {400}),
    "connect": (b"CONNECT " + PATH + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, 405}),
    "no colon": (HEAD + b"nonsense\r\n\r\n", {400}),
    "space before colon": (HEAD + b"Content-Length : 22\r\n\r\n" + BODY, {400}),
    "folded header": (HEAD + b"X: a\r\n b\r\n" + LENGTH + b"\r\n" + BODY, {400, 503}),
    "nul in header": (HEAD + b"X: a\x00b\r\n" + LENGTH + b"\r\n" + BODY, {400}),
    "two lengths": (HEAD + LENGTH + LENGTH + b"\r\n" + BODY, {400}),
    "two different lengths": (HEAD + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY, {400}),
    "a list of lengths": (HEAD + b"Content-Length: 22, 22\r\n\r\n" + BODY, {400}),
    "a signed length": (HEAD + b"Content-Length: +22\r\n\r\n" + BODY, {400}),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\n" + BODY, {400}),
    "a hexadecimal length": (HEAD + b"Content-Length: 0x16\r\n\r\n" + BODY, {400}),
    "an overflowing length": (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", {400}),
    "length and chunked": (HEAD + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "chunked and length": (HEAD + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n0\r\n\r\n", {400}),
    "chunked, identity": (HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", {400}),
    "unknown coding": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", {400}),
    "a chunk size that is none": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {400}),
    "an overflowing chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", {400}),
    "a chunk without its end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX", {400}),
    "endless trailers": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: aaaaaaaaaaaaaaaaaaa\r\n" * 400_000,
        {413, 408},
    ),
    "endless chunk extensions": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a=b;" * 2_000_000 + b"\r\n{}",
        {413, 408},
    ),
    "a million empty lines": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"\r\n" * 500_000, {413}),
    "a huge header": (HEAD + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", {431}),
    "200,000 headers": (HEAD + b"X: a\r\n" * 200_000 + b"\r\n", {431}),
    "one header too many": (HEAD + b"a:\r\n" * (MOST_HEADERS - 1) + LENGTH + b"\r\n" + BODY, {431}),
    "a head one byte too large": (padded_head(LARGEST_HEAD + 1) + BODY, {431}),
    "a head one byte too large, and nothing behind": (padded_head(LARGEST_HEAD + 1), {431}),
    "a head two bytes too large, and nothing behind": (padded_head(LARGEST_HEAD + 2), {431}),
    "a huge path": (b"POST /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n", {404}),
    "a huge query": (b"POST " + PATH + b"?" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n", {404}),
    "two content types": (HEAD + TYPE + LENGTH + b"\r\n" + BODY, {400}),
    "two hosts": (HEAD + b"Host: y\r\n" + LENGTH + b"\r\n" + BODY, {400}),
    "compressed": (HEAD + b"Content-Encoding: gzip\r\n" + LENGTH + b"\r\n" + BODY, {415}),
    "10 MB": (HEAD + b"Content-Length: 10485760\r\n\r\n" + bytes(LARGEST_BODY + 65536), {413}),
    "a respelt token": (WHOLE.replace(PATH, PATH.replace(b".", b"%2E")), {404}),
    "a path behind the token": (WHOLE.replace(PATH, PATH + b"/x"), {404}),
    "dots before the token": (WHOLE.replace(PATH, b"/x/.." + PATH), {404}),
    "two slashes": (WHOLE.replace(PATH, b"/" + PATH), {404}),
    "an absolute target": (WHOLE.replace(PATH, b"http://elsewhere" + PATH), {503, 404, 400}),
    "lower-case method": (b"post" + WHOLE[4:], {400}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_broken_or_hostile_request_gets_one_clear_answer(port: int, name: str) -> None:
    request, expected = REFUSED[name]
    answer = await exchange(port, request)
    assert len(statuses(answer)) == 1, answer[:300]
    assert set(statuses(answer)) <= expected, answer[:300]
    assert PATH[-30:] not in answer
    assert b"location:" not in answer.lower()
    assert await is_served(port)


IN_SHORT = replace(CLAIMS, chain_id="01a20379-1751-78ce-ac76-c1d64654450f")
SHORT = URLS.issue(IN_SHORT, 2).removeprefix(BASE).encode()


async def test_every_token_that_is_none_gets_the_same_bytes(port: int) -> None:
    """Down to the order of the headers; only the date may differ."""
    tokens = [
        b"x",
        PATH[:-1],
        PATH.replace(b".", b"%2E"),
        PATH + b"/",
        PATH + b"=",
        PATH + b"\xc3\xa9",
        PATH + b"#x",
        PATH[:-1] + (b"A" if PATH[-1:] != b"A" else b"B"),
        token_signed_with("another.purpose", [1, "run", "chain", 1, 1, "bank", 1_790_000_000, 4_000_000_000]),
        token_signed_with(SALT.decode(), [1, "run", "chain", True, 1, "bank", 1_790_000_000, 4_000_000_000]),
        token_signed_with("another.purpose", ["A" * 1_000_000]),
        PATH[:60] + b"A" * 5000,
        b"A" * 10_000_000,
        CallbackURLs("", ["another-key-for-tests-0123456789-abc"]).issue(CLAIMS).encode(),
        SHORT[:-1],
        SHORT + b"=",
        SHORT + b"A",
        SHORT.replace(b"sh2", b"%73h2"),
        SHORT.upper(),
        SHORT[:-1] + (b"A" if SHORT[-1:] != b"A" else b"B"),
        b"sh2",
        b"sh2" + b"A" * 10_000_000,
        CallbackURLs("", ["another-key-for-tests-0123456789-abc"]).issue(IN_SHORT, 2).encode(),
    ]
    paths = [token if token.startswith(b"/") else b"/callbacks/" + token for token in tokens]
    answers = {re.sub(rb"date: [^\r]*", b"date", await exchange(port, WHOLE.replace(PATH, path))) for path in paths}
    assert len(answers) == 1
    assert statuses(answers.pop()) == [404]


def token_signed_with(salt: str, fields: list[object]) -> bytes:
    """A token that is signed by our key, and is none: for another purpose, of another form, or a bomb."""
    options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    return str(URLSafeSerializer(KEY, salt=salt.encode(), signer_kwargs=options).dumps(fields)).encode()


@pytest.mark.parametrize(
    "outer",
    [
        HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % len(SMUGGLED),
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
        HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n",
    ],
    ids=["cl-te", "te-cl", "te-te", "te-vt", "cl-cl", "bare-lf"],
)
async def test_no_request_is_smuggled_behind_another(port: int, outer: bytes) -> None:
    assert 200 not in statuses(await exchange(port, outer + SMUGGLED))


async def test_a_pipelined_request_survives_the_answer_before_it(port: int) -> None:
    """The first answer is given while half of the second body is there."""
    assert statuses(await exchange(port, WHOLE + WHOLE[:-5], WHOLE[-5:], pause=0.1)) == [503, 503]


async def test_the_largest_head_and_the_most_headers_are_served(port: int) -> None:
    for head in (padded_head(LARGEST_HEAD), HEAD + LENGTH + b"a:\r\n" * (MOST_HEADERS - 3) + b"\r\n"):
        assert statuses(await exchange(port, head + BODY)) == [503]


async def test_a_trailer_is_not_read_as_a_header(port: int) -> None:
    """A second Content-Type among the headers would be 400."""
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    assert statuses(await exchange(port, HEAD + chunks + TYPE * 200 + b"\r\n")) == [503]


async def test_line_ends_between_requests_are_no_request(port: int) -> None:
    assert statuses(await exchange(port, SMUGGLED + b"\r\n\r\n")) == [200]


async def test_memory_stays_flat_whatever_is_sent_behind_a_body(port: int) -> None:
    if sys.platform != "linux":
        pytest.skip("this system does not tell")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    piece = (b"X-Trailer: " + b"a" * 1000 + b"\r\n") * 1000
    before = resident()
    start = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    await asyncio.gather(*(exchange(port, start, *[piece] * 50) for _ in range(4)))
    assert resident() - before < 100 * 1024 * 1024


async def test_pipelined_requests_are_answered_once_each_in_order(port: int) -> None:
    assert statuses(await exchange(port, WHOLE + SMUGGLED + WHOLE + HEALTH)) == [503, 200, 503, 200]


@GIVEN_UP_SOON
async def test_half_a_body_is_given_up(port: int) -> None:
    answer = await exchange(port, HEAD + b"Content-Length: 99\r\n\r\n" + BODY)
    assert statuses(answer) == [408]
    assert PATH[-30:] not in answer
    assert await is_served(port)


@GIVEN_UP_SOON
@pytest.mark.parametrize(
    "first", [b"", b"P", HEAD, HEAD + b"X: half"], ids=["silent", "one byte", "half head", "half header"]
)
async def test_a_connection_that_stays_silent_is_closed(port: int, first: bytes) -> None:
    async with connected(port) as (reader, writer):
        writer.write(first)
        answer = await asyncio.wait_for(reader.read(), SOON)
    assert statuses(answer) == ([408] if first else [])


@GIVEN_UP_SOON
async def test_a_dripped_head_is_cut_off_however_busy_it_looks(port: int) -> None:
    answer = await exchange(port, *(bytes([byte]) for byte in HEAD), pause=0.02)
    assert statuses(answer) == [408]


@GIVEN_UP_SOON
async def test_a_dripped_body_is_cut_off(port: int) -> None:
    answer = await exchange(port, HEAD + LENGTH + b"\r\n", *(bytes([byte]) for byte in BODY), pause=0.05)
    assert statuses(answer) == [408]


@GIVEN_UP_SOON
async def test_a_kept_connection_has_full_time_for_its_next_request(port: int) -> None:
    async with connected(port) as (reader, writer):
        for _ in range(3):
            writer.write(SMUGGLED)
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), SOON)
            await asyncio.sleep(0.7)


@GIVEN_UP_SOON
@pytest.mark.parametrize("target", [b"/healthz", b"/elsewhere", PATH])
async def test_an_endless_body_is_not_read_for_ever(port: int, target: bytes) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n")
        closed = asyncio.create_task(reader.read())
        async with asyncio.timeout(SOON):
            try:
                while not closed.done():
                    writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)
            except ConnectionError:
                pass  # closed by the server, as it should be
    closed.cancel()
    assert await is_served(port)


async def test_eight_hundred_idle_connections_starve_nobody(port: int) -> None:
    idle = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(800)))
    try:
        assert statuses(await asyncio.wait_for(exchange(port, WHOLE), SOON)) == [503]
        assert await is_served(port)
    finally:
        for _, writer in idle:
            writer.close()


async def test_forwarded_headers_change_nothing(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    forged = b"Forwarded: for=1.2.3.4;host=evil\r\nX-Forwarded-Host: evil\r\nX-Forwarded-For: 1.2.3.4\r\n"
    answer = await exchange(port, HEAD + forged + LENGTH + b"\r\n" + BODY)
    assert statuses(answer) == [503]
    assert b"evil" not in answer
    assert "evil" not in caplog.text


async def test_an_upgrade_is_answered_like_any_request(port: int) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    answer = await exchange(port, SMUGGLED[:-2] + upgrade + b"\r\n")
    assert statuses(answer) == [200]


async def test_a_body_behind_an_offered_upgrade_is_read(port: int) -> None:
    """Clients that speak HTTP/2 offer it with every request; refusing the body would lose the callback."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    whole = HEAD + offer + LENGTH + b"\r\n" + BODY
    for pieces in ([whole], [whole[:-5], whole[-5:]], [whole[: -len(BODY)], BODY]):
        assert statuses(await exchange(port, *pieces, pause=0.05)) == [503]
    unread = HEAD + offer + LENGTH + b"\r\n" + b"x" * len(BODY)
    assert statuses(await exchange(port, unread)) == [422]
    chunked = HEAD + offer + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    for pieces in ([chunked], [chunked[:-3], chunked[-3:]], [chunked[:-40], chunked[-40:]]):
        assert statuses(await exchange(port, *pieces, pause=0.05)) == [503]
    assert statuses(await exchange(port, chunked.replace(b"\r\n16\r\n", b"\r\nzz\r\n"))) == [400]


JAVAS_OFFER: Final = (
    b"Connection: Upgrade, HTTP2-Settings\r\n",
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n",
    b"Upgrade: h2c\r\n",
    b"User-Agent: Java-http-client/21.0.2\r\n",
)


@pytest.mark.parametrize("framing", [LENGTH, b"Transfer-encoding: chunked\r\n"], ids=["length", "chunked"])
@pytest.mark.parametrize("place", [0, 1, 3, 4])
async def test_javas_offer_of_h2c_is_served_with_its_body(port: int, framing: bytes, place: int) -> None:
    """Whatever stands where in the head, and however the body is cut into chunks and packets."""
    head = HEAD + b"".join([*JAVAS_OFFER[:place], framing, *JAVAS_OFFER[place:]]) + b"\r\n"
    bodies = [BODY] if framing == LENGTH else [chunked_in(BODY, size) for size in (1, 7, len(BODY))]
    for body in bodies:
        for pieces in ([head + body], [head, body], [head + body[:3], body[3:]], [head[:-2], head[-2:] + body]):
            assert statuses(await exchange(port, *pieces, pause=0.02)) == [503]


@pytest.mark.parametrize("framing", [LENGTH, b"Transfer-encoding: chunked\r\n"], ids=["length", "chunked"])
async def test_javas_offer_of_h2c_may_wait_for_100_continue(port: int, framing: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(SOON):
        writer.write(HEAD + b"".join([*JAVAS_OFFER, framing, b"Expect: 100-continue\r\n\r\n"]))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 Continue\r\n")
        writer.write(BODY if framing == LENGTH else chunked_in(BODY, 5))
        assert statuses(await reader.read()) == [503]
    writer.close()


def chunked_in(body: bytes, size: int) -> bytes:
    pieces = [body[begin : begin + size] for begin in range(0, len(body), size)]
    return b"".join([b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""]])


async def test_no_raw_request_leaves_a_token_in_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for request, _ in REFUSED.values():
        if len(request) < 10_000:
            await exchange(port, request + b"\r\n\r\n")
    assert PATH.decode()[-30:] not in caplog.text
