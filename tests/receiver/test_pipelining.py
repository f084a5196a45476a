"""Several requests on one connection: answered in order, one at a time, at a bounded cost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from receiver import protocol, server
from receiver.cli.demo.processes import free_port
from receiver.cli.demo.stack import local_environment, stagehook_command
from receiver.protocol import BoundedProtocol
from receiver.sending.signals import Reached, Signals
from tests.local_stack import running
from tests.parts.connections import (
    BODY,
    HEAD,
    HEALTH,
    LENGTH,
    SMUGGLED,
    WHOLE,
    away,
    connected,
    exchange,
    receiver_app,
    serving,
    statuses,
)
from tests.support import SOON

pytestmark = pytest.mark.system

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
GET = SMUGGLED


class SlowSignals(Signals):
    """Temporal takes a signal only when the test lets it."""

    def __init__(self) -> None:
        super().__init__(away)
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def send(self, *_: Any, **__: Any) -> Reached:
        self.asked.set()
        await self.answers.wait()
        return Reached.TAKEN


@pytest.fixture
def signals() -> SlowSignals:
    return SlowSignals()


@pytest.fixture
async def port(signals: SlowSignals, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr("receiver.body.BODY_SECONDS", 0.3)
    async with serving(receiver_app(signals)) as number:
        yield number


BEHIND: dict[str, tuple[bytes, int]] = {
    "garbage": (b"\x00\x01garbage\r\n\r\n", 400),
    "a bad length": (HEAD + b"Content-Length: +22\r\n\r\n" + BODY, 400),
    "a bad chunk": (HEAD + CHUNKED + b"zz\r\n", 400),
    "a bad second chunk": (HEAD + CHUNKED + b"2\r\n{}\r\nzz\r\n", 400),
    "a path that is not ascii": (b"POST /callbacks/\xc3\xa9 HTTP/1.1\r\n\r\n", 404),
    "a huge head": (HEAD + b"X: " + b"a" * 100_000, 431),
    "many headers": (HEAD + b"a:\r\n" * 200, 431),
    "half a head": (HEAD, 408),
    "half a body": (WHOLE[:-5], 408),
    "another request": (WHOLE, 202),
}


@pytest.mark.parametrize("at_once", [True, False], ids=["in one piece", "while the first is answered"])
@pytest.mark.parametrize("name", BEHIND)
async def test_requests_before_a_refused_one_get_their_answers_first(
    port: int, signals: SlowSignals, name: str, at_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    behind, status = BEHIND[name]
    async with connected(port) as (reader, writer):
        writer.write(WHOLE + (WHOLE + behind if at_once else b""))
        await asyncio.wait_for(signals.asked.wait(), SOON)
        if not at_once:
            writer.write(WHOLE + behind)
        if status in {400, 404, 431}:
            # It is all there, and nothing of it is answered as long as the first request is not.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.2)
        signals.answers.set()
        answer = b""
        while statuses(answer) != [202, 202, status]:
            more = await asyncio.wait_for(reader.read(65536), SOON)
            assert more, answer
            answer += more
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_client_that_sends_after_a_refusal_is_not_reset(port: int, signals: SlowSignals) -> None:
    """Closed while the client's bytes are unread, the connection would be reset, and unread answers would be lost."""
    signals.answers.set()
    garbage, number = b"\x00\x01garbage\r\n\r\n", 300

    def send_all_and_then_read() -> bytes:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.settimeout(SOON)
            client.connect(("127.0.0.1", port))
            client.sendall(GET * number + WHOLE + garbage + b"x" * 3_000_000)
            answer = b""
            while more := client.recv(65536):
                answer += more
        return answer

    assert statuses(await asyncio.to_thread(send_all_and_then_read)) == [200] * number + [202, 400]


@pytest.mark.parametrize("number", [20, 1_000, pytest.param(5_000, marks=pytest.mark.fault)])
async def test_many_small_requests_at_once_are_all_served(port: int, number: int) -> None:
    answer = await exchange(port, GET * (number - 1) + HEALTH)
    assert statuses(answer) == [200] * number


async def test_requests_cut_anywhere_are_answered_alike(
    port: int, signals: SlowSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pieces lies every boundary: of a line, of a head, of a chunk, of a request."""
    for limit in ("receiver.protocol.HEADER_SECONDS", "receiver.body.BODY_SECONDS"):
        monkeypatch.setattr(limit, SOON)  # the test's own pauses are not what is tested
    signals.answers.set()
    chunked = HEAD + CHUNKED + b"%x\r\n%s\r\n0\r\nX: trailer\r\n\r\n" % (len(BODY), BODY)
    whole = GET + chunked + b"\r\n" + HEAD + LENGTH + b"\r\n" + BODY + HEALTH

    async def cut(at: int) -> list[int]:
        return statuses(await exchange(port, whole[:at], whole[at:], pause=0.01))

    for start in range(1, len(whole), 40):
        answers = await asyncio.gather(*map(cut, range(start, min(start + 40, len(whole)))))
        assert answers == [[200, 202, 202, 200]] * len(answers)


@pytest.mark.parametrize("number", [1, 3])
async def test_a_client_that_has_ended_its_side_gets_its_answers(
    port: int, signals: SlowSignals, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(port) as (reader, writer):
        writer.write(WHOLE * number)
        writer.write_eof()
        await asyncio.wait_for(signals.asked.wait(), SOON)
        signals.answers.set()
        assert statuses(await asyncio.wait_for(reader.read(), SOON)) == [202] * number
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_body_that_the_client_has_ended_early_is_400(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(WHOLE[:-5])
        writer.write_eof()
        assert statuses(await asyncio.wait_for(reader.read(), SOON)) == [400]


async def test_a_client_that_reads_no_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = asyncio.Event()

    class Watched(BoundedProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    monkeypatch.setattr(protocol, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr(server, "BoundedProtocol", Watched)
    large = PlainTextResponse("x" * 10_000_000)
    async with serving(large) as port, connected(port) as (reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET)
        await asyncio.wait_for(lost.wait(), SOON)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises(asyncio.IncompleteReadError):
            await asyncio.wait_for(reader.readexactly(10_000_000), SOON)


@pytest.mark.fault
@pytest.mark.skipif(sys.platform != "linux", reason="this system does not tell")
@pytest.mark.timeout(120)
async def test_memory_stays_flat_under_unread_pipelined_requests(tmp_path: Path) -> None:
    web = free_port()
    env = local_environment(
        tmp_path,
        address=f"127.0.0.1:{free_port()}",
        public_port=web,
        sandbox_url=f"http://127.0.0.1:{free_port()}",
        partners="sandbox",
    )
    with running(stagehook_command("serve"), env, tmp_path / "web.log") as process:
        async with asyncio.timeout(3 * SOON):
            while True:
                with contextlib.suppress(ConnectionError):
                    assert statuses(await exchange(web, HEALTH)) == [200]
                    break
                await asyncio.sleep(0.1)

        def resident() -> int:
            return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096

        before = resident()
        async with connected(web) as (_, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(GET * (6_000_000 // len(GET)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(writer.drain(), 5)
            assert statuses(await exchange(web, HEALTH)) == [200]
            assert resident() - before < 50_000_000
