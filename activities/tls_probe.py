"""TLS probe: why a server closes connections. The SDK's error is the same for a server that requires TLS, a server that
requires a client certificate, and a server that has gone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from activities.connection_errors import (
    ANOTHER_SERVER,
    CLIENT_CERTIFICATE_MISSING,
    CLIENT_CERTIFICATE_REFUSED,
    CLOSED,
    TLS_REQUIRED,
    TLS_UNSUPPORTED,
    ConnectionFault,
    recognize,
)
from activities.target import Target

PROBE_TIMEOUT: Final = 0.4
"""Seconds for each step of a probe, of which there are four at most. A caller that has less time bounds the whole."""

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS: Final = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
TYPE_PLACE: Final = 3
"""HTTP/2's greeting, RFC 9113; the place of a frame's type in its head."""


async def explain(error: BaseException, target: Target) -> ConnectionFault | None:
    """The fault that `recognize` finds, with a closer look at the server if the error does not tell enough."""
    fault = recognize(error, target)
    if fault is None or fault.cause not in {CLOSED, ANOTHER_SERVER} or fault.detail:
        return fault
    seen = await _probe_tls(target)
    if seen and target.tls == "off":
        return ConnectionFault(TLS_REQUIRED)
    if seen == "closes":
        missing = target.tls != "mtls"
        return ConnectionFault(CLIENT_CERTIFICATE_MISSING if missing else CLIENT_CERTIFICATE_REFUSED)
    if not seen and target.tls != "off" and await _speaks_plaintext(target):
        return ConnectionFault(TLS_UNSUPPORTED)
    return fault


async def _probe_tls(target: Target) -> Literal["", "serves", "closes"]:
    """Whether the server speaks TLS; "closes" if it closes the connection of a client without a certificate.

    Sends no credential: the server is not verified.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    name = target.server_name or target.host
    async with _connected(target, ssl=context, server_hostname=name) as connection:
        if connection is None:
            return ""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                # A gRPC server sends its settings at once, or waits for ours.
                return "serves" if await connection[0].read(1) else "closes"
        except TimeoutError:
            return "serves"
        except OSError:
            return "closes"


async def _speaks_plaintext(target: Target) -> bool:
    """Whether the server answers HTTP/2 without TLS."""
    async with _connected(target) as connection:
        if connection is None:
            return False
        reader, writer = connection
        writer.write(PREFACE + EMPTY_SETTINGS)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                return (await reader.readexactly(len(EMPTY_SETTINGS)))[TYPE_PLACE] == EMPTY_SETTINGS[TYPE_PLACE]
        except (OSError, EOFError, TimeoutError):
            return False


@asynccontextmanager
async def _connected(
    target: Target, **tls: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None]:
    """A connection to the server, or None if the server does not take it in time."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection(target.host, target.port, **tls)
    except (OSError, TimeoutError, ValueError):
        yield None
        return
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
