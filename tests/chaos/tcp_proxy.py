"""A TCP proxy whose connections can be cut, mute or late, also at a chosen text that a client sends."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal

from tests.chaos.grpc_messages import GrpcMessages

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Manner = Literal["cut", "lost", "mute", "delayed"]
"""What happens at the chosen text: the connection is cut before the text is passed on, or right after it ("lost"), or
goes mute before it; or the text is passed on late."""

DELAY: Final = 1.5
REQUEST_ID: Final = re.compile(rb"(?<![0-9a-f-])(?:[0-9a-f]{64}|[0-9a-f]{32})(?![0-9a-f-])")


class TcpProxy:
    """Passes connections on to a server.

    connect: opens a connection to the server. listens: whether the request ids that clients send are noted.
    """

    def __init__(self, connect: Callable[[], Awaitable[Streams]], *, listens: bool = False) -> None:
        self._connect = connect
        self._listens = listens
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._aim: tuple[bytes, Manner] | None = None
        self._hit = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.ids: list[tuple[float, str]] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen on a port of loopback while the block runs."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            self._server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._pairs)

    def cut(self) -> int:
        """Cut every connection, and return how many there were."""
        cut = len(self._pairs)
        for pair in list(self._pairs):
            _abort(pair)
        return cut

    @asynccontextmanager
    async def mute(self) -> AsyncIterator[None]:
        """Let nothing through while the block runs; afterwards what was held back arrives."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Cut every connection, and refuse others while the block runs."""
        self._server.close()
        self.cut()
        try:
            yield
        finally:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    @asynccontextmanager
    async def aiming(self, text: bytes, manner: Manner) -> AsyncIterator[asyncio.Event]:
        """Meet the first connection whose client sends the text. Gives an event that is set when that has happened."""
        self._aim, self._hit = (text, manner), asyncio.Event()
        try:
            yield self._hit
        finally:
            self._aim = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        # asyncio reports the task of a connection that was cancelled as an error.
        with contextlib.suppress(asyncio.CancelledError):
            await self._lead_on(reader, writer)
        self._tasks.discard(task)

    async def _lead_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        pair = writer, server_writer
        self._pairs.add(pair)
        ways = [
            asyncio.create_task(self._pass(reader, server_writer, of_client=True)),
            asyncio.create_task(self._pass(server_reader, writer, of_client=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            _abort(pair)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, of_client: bool) -> None:
        messages = GrpcMessages()
        while chunk := await reader.read(65_536):
            if of_client and self._listens:
                self._note_ids(messages, chunk)
            manner = self._manner(chunk) if of_client else None
            if manner == "cut":
                break
            if manner == "mute":
                await asyncio.Event().wait()  # until the client or the server gives the connection up
            if manner == "delayed":
                await asyncio.sleep(DELAY)
            await self._open.wait()
            writer.write(chunk)
            await writer.drain()
            if manner == "lost":
                break

    def _manner(self, chunk: bytes) -> Manner | None:
        if self._aim is None or self._aim[0] not in chunk:
            return None
        manner = self._aim[1]
        self._aim = None
        self._hit.set()
        return manner

    def _note_ids(self, messages: GrpcMessages, chunk: bytes) -> None:
        now = time.time()
        for message in messages.feed(chunk):
            self.ids += [(now, found[0].decode()) for found in REQUEST_ID.finditer(message)]


def _abort(pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
    for writer in pair:
        writer.transport.abort()
