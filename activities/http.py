"""One HTTP exchange with a partner, with limits on time, size and decoding, that never loses a response's head.

A call with a 2xx response must never be sent again, whatever happens to the response's body. So a truncated, too large
or wrongly encoded body is not an error here: `flaw_of(response)` describes it.

Partners' files import `Request`, `Response` and `Auth` from here.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

import httpx
from httpx import Auth as Auth
from httpx import BasicAuth as BasicAuth
from httpx import Request as Request
from httpx import Response as Response

from activities.connection import DIRECT, Connection

if TYPE_CHECKING:  # partners' files import this module
    from activities.partners.partner import Partner

CONNECT_TIMEOUT: Final = 10.0
"""Seconds."""

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Maximum size of a body, both as sent and as decoded."""

NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
UNANSWERED: Final = (httpx.HTTPError, httpx.StreamError, TimeoutError)
"""Errors of an exchange without a response. After an error in `NEVER_SENT`, the partner cannot know of the request."""


class NotAuthenticated(Exception):
    """Raised by an `Auth` that has no credentials for a request, which was not sent. The message holds no secret."""


TIMEOUTS: Final = httpx.Timeout(None, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT)
FLAW: Final = "stagehook.flaw"
"""Key in a response's `extensions`."""

CONTENT_CODINGS: Final = {
    *("aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "x-compress", "x-gzip"),
    "zstd",
}
"""The encodings registered with IANA, without `identity`. Other names, such as `utf-8` or `none`, mean plain bodies."""

WIRE_HEADERS: Final = {b"content-encoding", b"content-length", b"transfer-encoding"}
"""Headers that are wrong for a body that has been read and decoded."""


def http_client(connections: int = 100) -> httpx.AsyncClient:
    """Return a client with a pool of at most so many connections.

    It limits connections and responses, follows no redirects, keeps no cookies, and takes no credentials from the
    environment. Partners with another connection (`Partner.connection`) have a pool each.
    """
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=20)
    return httpx.AsyncClient(
        transport=BoundedTransport(DIRECT.transport(limits), limits),
        timeout=TIMEOUTS,
        # A shared cookie jar would grow with every response, and send one call's cookies with the next call.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        trust_env=False,
    )


def flaw_of(response: httpx.Response) -> str:
    """Describe what is wrong with the response's body, or return "".

    The body of a flawed 2xx response is empty; the body of another flawed response holds what arrived of it.
    """
    flaw: str = response.extensions.get(FLAW, "")
    return flaw


async def exchange(
    http: httpx.AsyncClient, partner: Partner, request: httpx.Request, *, within: float
) -> httpx.Response:
    """Send a request with the partner's credentials, and read a bounded response within `within` seconds.

    http: a client made by `http_client`. Once the head of a response has arrived, the response is returned, even if its
    body has a flaw. Raises the errors in `UNANSWERED`, or what the partner's `auth` raises: `NotAuthenticated` if the
    call was not sent for want of credentials. Do not print or record
    httpx's messages: they may quote the URL.
    """
    head = _Head(request)
    # Set before the credentials are added, because these may be a signature over the headers.
    request.headers["Accept-Encoding"] = "identity"
    token = _CURRENT.set(head)
    try:
        with through(http, partner.connection):
            async with asyncio.timeout(within):
                response = await http.send(request, auth=partner.auth or httpx.Auth(), stream=True)
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, TimeoutError) and not head.begun:
            raise NotAuthenticated("its authentication takes too long") from None
        # Keep a 2xx head even if the worker stops: another try would be a second call.
        if head.response is None or (isinstance(error, asyncio.CancelledError) and not head.response.is_success):
            raise
        return _bodiless(head.response, f"its body did not arrive ({type(error).__name__})")
    finally:
        _CURRENT.reset(token)
    # An Auth may send more requests after the accepted call, and return the response to its last request.
    return head.response or response


@contextmanager
def through(http: httpx.AsyncClient, connection: Connection) -> Iterator[None]:
    """Send all requests of this task, also those of an Auth, with this client by this connection."""
    client, way = _CLIENT.set(http), _CONNECTION.set(connection)
    try:
        yield
    finally:
        _CLIENT.reset(client)
        _CONNECTION.reset(way)


async def send_for_auth(request: httpx.Request, *, within: float) -> httpx.Response:
    """Send a request of an Auth, such as for a token, by the connection of the call. Raises the errors in `UNANSWERED`.

    Unlike a request that the Auth yields, its errors come back to the Auth.
    """
    http = _CLIENT.get()
    token = _CURRENT.set(None)
    try:
        async with asyncio.timeout(within):
            if http is not None:
                return await http.send(request, auth=httpx.Auth())
            async with http_client(1) as own:
                return await own.send(request, auth=httpx.Auth())
    finally:
        _CURRENT.reset(token)


class _Head:
    """The response to one call: first its head; after a success, the whole response.

    begun: whether the partner may have received the call. After a 401 it has not taken it.

    An `httpx.Auth` may send other requests first, such as for a token, and may rewrite the call with other headers or
    another query. So a response counts if its request has the call's method, host, port and path. For example, if the
    call is `POST /checks`, a response to `POST /oauth/token` does not count; a response to `POST /checks?key=...` does.
    """

    def __init__(self, call: httpx.Request) -> None:
        self._aim = self._aim_of(call)
        self.begun = False
        self.response: httpx.Response | None = None

    def awaits(self, request: httpx.Request) -> bool:
        """Return whether the response to this request counts. The first success is final."""
        is_open = self.response is None or not self.response.is_success
        return is_open and self._aim_of(request) == self._aim

    @staticmethod
    def _aim_of(request: httpx.Request) -> tuple[str, str, int | None, str]:
        return request.method, request.url.host, request.url.port, request.url.path


_CURRENT: Final[ContextVar[_Head | None]] = ContextVar("current call", default=None)
"""The current task's call. It is needed because an Auth's own requests use the same transport."""

_CLIENT: Final[ContextVar[httpx.AsyncClient | None]] = ContextVar("client of the current call", default=None)
_CONNECTION: Final[ContextVar[Connection]] = ContextVar("connection of the current call", default=DIRECT)


class BoundedTransport(httpx.AsyncBaseTransport):
    """Reads every response whole, up to `MAX_ANSWER_BYTES`, and decodes it once.

    direct: sends the requests to partners without a connection of their own. limits: of the pools for the others.

    The transport does this because an `httpx.Auth` reads responses too, with httpx's own decoders. These undo as many
    encodings as a header names, so that a kilobyte can become gigabytes.
    """

    def __init__(self, direct: httpx.AsyncBaseTransport, limits: httpx.Limits | None = None) -> None:
        self._limits = limits or httpx.Limits()
        self._transports: dict[Connection, httpx.AsyncBaseTransport] = {DIRECT: direct}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and read the response."""
        # An Auth's own requests have neither timeout nor `Accept-Encoding: identity`.
        request.extensions = {"timeout": TIMEOUTS.as_dict(), **request.extensions}
        request.headers.setdefault("Accept-Encoding", "identity")
        head = _CURRENT.get()
        if head is None or not head.awaits(request):
            head = _Head(request)
        head.begun = True
        try:
            streamed = await self._transport().handle_async_request(request)
        except ssl.SSLError as error:
            # With TLS 1.3 a refused client certificate shows only when the answer is read, and httpx does not map it.
            raise httpx.ReadError("", request=request) from error
        streamed.request = request
        head.response = streamed
        head.begun = streamed.status_code != 401
        try:
            body, flaw = await _read_body(streamed)
        finally:
            await streamed.aclose()
        whole = _with_body(streamed, body, flaw)
        # After a response other than 2xx, an Auth may send the call again.
        head.response = whole if whole.is_success else None
        return whole

    def _transport(self) -> httpx.AsyncBaseTransport:
        connection = _CONNECTION.get()
        if connection not in self._transports:
            self._transports[connection] = connection.transport(self._limits)
        return self._transports[connection]

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._transports.values():
            await transport.aclose()


def _bodiless(response: httpx.Response, flaw: str) -> httpx.Response:
    return _with_body(response, b"", flaw)


def _with_body(response: httpx.Response, body: bytes, flaw: str) -> httpx.Response:
    # Raw pairs: a header that is not ASCII is the partner's mistake, but its response must not be lost.
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in WIRE_HEADERS]
    extensions = {name: value for name, value in response.extensions.items() if name != "network_stream"}
    return httpx.Response(
        response.status_code,
        headers=headers,
        content=body,
        request=response.request,
        extensions={**extensions, FLAW: flaw},
    )


async def _read_body(response: httpx.Response) -> tuple[bytes, str]:
    """Read the body and its flaw. A flawed 2xx body becomes empty; other flawed bodies keep the part before it."""
    body = _Body(response)
    try:
        async for chunk in response.aiter_raw():
            body.take(chunk)
        body.end()
    except _Flawed as error:
        flaw = str(error)
    except (httpx.HTTPError, ssl.SSLError) as error:
        flaw = f"its body broke off ({type(error).__name__})"
    else:
        return bytes(body.decoded), ""
    return b"" if response.is_success else bytes(body.decoded[:MAX_ANSWER_BYTES]), flaw


class _Flawed(Exception):
    """A body that cannot be read whole. The message says why, completes "the answer: ...", and quotes nothing."""


class _Body:
    """A body, decoded as it arrives: at most one encoding, and never more bytes than are kept."""

    def __init__(self, response: httpx.Response) -> None:
        names = response.headers.get_list("content-encoding", split_commas=True)
        self._encodings = [name for name in map(str.lower, map(str.strip, names)) if name in CONTENT_CODINGS]
        self._decode: Any = None
        self._size = 0
        self.decoded = bytearray()

    def take(self, chunk: bytes) -> None:
        """Add a chunk; raises `_Flawed`."""
        self._size += len(chunk)
        self.decoded += self._plain(chunk) if self._encodings else chunk
        if max(self._size, len(self.decoded)) > MAX_ANSWER_BYTES:
            raise _Flawed(f"its body has more than {MAX_ANSWER_BYTES} bytes")

    def end(self) -> None:
        """Finish the body; raises `_Flawed` if its encoding is incomplete."""
        if self._decode is not None and not self._decode.eof:
            raise _Flawed("its body broke off within its encoding")

    def _plain(self, chunk: bytes) -> bytes:
        try:
            self._decode = self._decode or _decoder(self._encodings, chunk)
            if self._decode.eof:
                return b""
            plain: bytes = self._decode.decompress(chunk, MAX_ANSWER_BYTES + 1 - len(self.decoded))
        except zlib.error as error:
            raise _Flawed("its body is not encoded as its Content-Encoding says") from error
        return plain


def _decoder(encodings: list[str], beginning: bytes) -> Any:
    match encodings:
        case ["gzip" | "x-gzip"]:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        case ["deflate"]:
            # The standard says zlib format, but some servers send raw deflate; the first byte shows which.
            return zlib.decompressobj(zlib.MAX_WBITS if beginning[0] & 0x0F == 8 else -zlib.MAX_WBITS)
    raise _Flawed("its Content-Encoding is not one of gzip and deflate, once")
