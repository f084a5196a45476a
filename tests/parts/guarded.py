"""A Temporal that asks for TLS and an API key, as Temporal Cloud does: an HTTP/2 proxy in front of the dev server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from receiver.cli.demo.processes import bare_environment
from tests.parts.certificates import HERE, Issued, issue
from tests.parts.temporal import connected

GOOD = "a-valid-api-key"
READER = "an-api-key-that-may-only-connect"
UNKNOWN = "an-api-key-that-was-never-issued"

OPEN_TO_ALL = b"GetSystemInfo"
"""The only method that needs no permission."""

UNAUTHENTICATED, PERMISSION_DENIED = 16, 7
Headers = list[tuple[bytes, bytes]]


@dataclass
class Guarded:
    """The proxy. ports: by door: `tls`; `other-host` and `expired`, with such certificates; `mutual`; `plain`.

    keys: the keys that are let in. expired: keys that are refused as expired. asked: keys and methods of requests.
    """

    address: str
    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    keys: set[str] = field(default_factory=lambda: {GOOD, READER})
    expired: set[str] = field(default_factory=set)
    asked: list[tuple[str, bytes]] = field(default_factory=list)

    def env(self, door: str = "tls", key: str = GOOD, *, trusted: bool = True, **changes: Any) -> dict[str, Any]:
        """The environment of a client at this door."""
        given = {"TEMPORAL_ADDRESS": f"127.0.0.1:{self.ports[door]}", "TEMPORAL_NAMESPACE": "default"}
        given |= {"TEMPORAL_API_KEY": key} if key else {}
        given |= {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(self.folder / "authority.pem")} if trusted else {}
        return {**bare_environment(), **given, **changes}

    def certified(self, name: str = "client") -> dict[str, str]:
        """The variables of a client certificate: `client`, or `stranger` by an authority that the proxy rejects."""
        files = {"CERT": f"{name}.pem", "KEY": f"{name}.key"}
        return {f"TEMPORAL_TLS_CLIENT_{kind}_PATH": str(self.folder / file) for kind, file in files.items()}

    def refusal(self, headers: Headers) -> tuple[int, str] | None:
        """The gRPC status and text that a request with these headers is refused with."""
        key = key_of(headers)
        self.asked.append((key, dict(headers)[b":path"]))
        if key in self.expired:
            return UNAUTHENTICATED, "API key expired"
        if key not in self.keys:
            return UNAUTHENTICATED, f"unknown API key {key}"
        if key == READER and not dict(headers)[b":path"].endswith(OPEN_TO_ALL):
            return PERMISSION_DENIED, "Request unauthorized."
        return None


def key_of(headers: Headers) -> str:
    """The API key of a request, or ""."""
    return dict(headers).get(b"authorization", b"").decode().removeprefix("Bearer ")


class Side:
    """One of the two HTTP/2 connections of a proxied client."""

    def __init__(self, writer: asyncio.StreamWriter, *, client_side: bool) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=client_side, header_encoding=None))
        self.writer = writer
        self.other: dict[int, int] = {}  # the other side's number of each stream
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())


async def proxied(guarded: Guarded, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass a client's requests on, those with a good key. Bodies fit a window: nothing waits for room."""
    host, _, port = guarded.address.rpartition(":")
    server_reader, server_writer = await asyncio.open_connection(host, int(port))
    client, server = Side(writer, client_side=False), Side(server_writer, client_side=True)
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(guarded, reader, client, server))
            both.create_task(_pump(guarded, server_reader, server, client))
    except* (OSError, asyncio.CancelledError, EOFError):
        pass
    finally:
        writer.transport.abort()
        server_writer.transport.abort()


async def _pump(guarded: Guarded, reader: asyncio.StreamReader, source: Side, target: Side) -> None:
    while data := await reader.read(65_536):
        for event in source.h2.receive_data(data):
            _pass_on(guarded, event, source, target)
        source.flush()
        target.flush()
    raise EOFError


def _pass_on(guarded: Guarded, event: Event, source: Side, target: Side) -> None:
    if isinstance(event, RequestReceived):
        headers: Headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        if refusal := guarded.refusal(headers):
            _refuse(source, event.stream_id, *refusal)
            return
        number = target.h2.get_next_available_stream_id()
        source.other[event.stream_id], target.other[number] = number, event.stream_id
        target.h2.send_headers(number, [pair for pair in headers if pair[0] != b"authorization"])
        return
    if isinstance(event, DataReceived):
        source.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    if (number := source.other.get(getattr(event, "stream_id", 0) or 0, 0)) == 0:
        return
    if isinstance(event, ResponseReceived | TrailersReceived):
        target.h2.send_headers(number, event.headers, end_stream=event.stream_ended is not None)
    elif isinstance(event, DataReceived):
        target.h2.send_data(number, event.data, end_stream=event.stream_ended is not None)
    elif isinstance(event, StreamReset):
        with contextlib.suppress(ProtocolError):  # the other side has ended the stream meanwhile
            target.h2.reset_stream(number, event.error_code)


def _refuse(client: Side, stream: int, status: int, text: str) -> None:
    answer = {":status": "200", "content-type": "application/grpc", "grpc-status": str(status), "grpc-message": text}
    with contextlib.suppress(ProtocolError):  # the client has given up the request meanwhile
        client.h2.send_headers(stream, list(answer.items()), end_stream=True)


def _contexts(folder: Path) -> dict[str, ssl.SSLContext | None]:
    """The TLS of each door; None for plaintext."""
    authority = issue("authority")
    authority.saved(folder, "authority")
    issue("client", authority).saved(folder, "client")
    issue("stranger").saved(folder, "stranger")

    def context(name: str, issued: Issued, *, mutual: bool = False) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(*issued.saved(folder, name))
        made.set_alpn_protocols(["h2"])
        if mutual:
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(folder / "authority.pem")
        return made

    here = issue("here", authority, hosts=HERE)
    return {
        "tls": context("here", here),
        "mutual": context("here", here, mutual=True),
        "other-host": context("other", issue("other", authority, hosts=(x509.DNSName("other.example"),))),
        "expired": context("expired", issue("expired", authority, hosts=HERE, valid_to=-1)),
        "plain": None,
    }


async def _serve(guarded: Guarded, ready: threading.Event, stop: asyncio.Event) -> None:
    async with contextlib.AsyncExitStack() as doors:
        for door, context in _contexts(guarded.folder).items():
            server = await asyncio.start_server(partial(proxied, guarded), "127.0.0.1", 0, ssl=context)
            doors.callback(server.close)
            guarded.ports[door] = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()


@contextmanager
def guarding(address: str, folder: Path) -> Iterator[Guarded]:
    """Run the proxy in front of this address, in a thread: commands and tests run loops of their own."""
    guarded, ready, stop = Guarded(address, folder), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(guarded, ready, stop)))
    thread.start()
    try:
        assert ready.wait(30)
        yield guarded
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()


@pytest.fixture(scope="session")
def guarded(dev_server: str) -> Iterator[Guarded]:
    """The dev server behind TLS and API keys, for the whole test process. Its keys are `GOOD` and `READER`."""
    asyncio.run(connected(dev_server))
    with tempfile.TemporaryDirectory(prefix="stagehook-guarded-") as folder, guarding(dev_server, Path(folder)) as one:
        yield one
