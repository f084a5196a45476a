"""Raw connections to a receiver on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from temporalio.client import Client

from activities.callback_urls import CallbackURLs
from receiver.app import create_app
from receiver.cli.demo.processes import free_port
from receiver.sending.signals import Signals
from receiver.server import uvicorn_options
from tests.parts.callbacks import CLAIMS, URLS, partners
from tests.support import KEY, SOON

PATH: Final = URLS.issue(CLAIMS).removeprefix("http://receiver.test").encode()


BODY: Final = b'{"status":"succeeded"}'


TYPE: Final = b"Content-Type: application/json\r\n"


HEAD: Final = b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\n" + TYPE


LENGTH: Final = b"Content-Length: %d\r\n" % len(BODY)


WHOLE: Final = HEAD + LENGTH + b"\r\n" + BODY


SILENCE: Final = 0.6


HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def away() -> Client:
    raise RuntimeError("no connection")


def receiver_app(signals: Signals) -> ASGIApp:
    return create_app(CallbackURLs("http://receiver.test", [KEY]), partners(), signals)


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """Serve the app with the real server settings; gives the port."""
    number = free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=number, **{**uvicorn_options(), "log_config": None})
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())  # without its signal handlers
    async with asyncio.timeout(SOON):
        while not server.started:
            await asyncio.sleep(0.01)
    yield number
    server.should_exit = True
    await asyncio.wait_for(serving, SOON)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchange(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send the pieces and read meanwhile, until the server closes, or falls silent for a while after an answer."""
    answer = b""
    async with connected(port) as (reader, writer):

        async def send() -> None:
            with contextlib.suppress(ConnectionError):  # refused before the end
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)

        sending = asyncio.create_task(send())
        with contextlib.suppress(TimeoutError, ConnectionError):
            while chunk := await asyncio.wait_for(reader.read(65536), SILENCE if answer else SOON):
                answer += chunk
        sending.cancel()
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


SMUGGLED: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
