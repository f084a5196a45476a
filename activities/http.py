"""One HTTP exchange with a partner: bounded in time, size and decoding, and always with the answer's head.

A call that was answered 2xx must never be sent again, whatever becomes of the answer's body. So a body that is cut off,
too large or wrongly encoded is no error here: the response says by `flaw_of` what is wrong with it.
"""

from __future__ import annotations

import asyncio
import zlib
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx

from activities.partners.partner import Partner

CONNECT_TIMEOUT: Final = 10.0
"""Seconds."""

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Of a body, as sent and as decoded."""

NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
UNANSWERED: Final = (httpx.HTTPError, httpx.StreamError, TimeoutError)
"""What an exchange can end with instead of an answer; after one of `NEVER_SENT` the partner surely knows of nothing."""

TIMEOUTS: Final = httpx.Timeout(None, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT)
FLAW: Final = "stagehook.flaw"
"""Key of a response's `extensions`."""

ENCODINGS: Final = {
    *("aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "x-compress", "x-gzip"),
    "zstd",
}
"""What IANA has registered, without `identity`. Other names, such as `utf-8` and `none`, come with plain bodies."""

FRAMING: Final = {b"content-encoding", b"content-length", b"transfer-encoding"}
"""Headers that no longer hold for a body that has been read and decoded."""


def http_client() -> httpx.AsyncClient:
    """The worker's one client: bounded connections and answers, no redirects, no cookies, no credentials from the
    environment.
    """
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
    return httpx.AsyncClient(
        transport=BoundedTransport(httpx.AsyncHTTPTransport(limits=limits, trust_env=False)),
        timeout=TIMEOUTS,
        # One jar for all partners would grow with every answer, and hand cookies from one call to the next.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        trust_env=False,
    )


def flaw_of(response: httpx.Response) -> str:
    """What is wrong with the answer's body, or ""; the body is then empty, of a refusal what came of it."""
    flaw: str = response.extensions.get(FLAW, "")
    return flaw


async def exchange(
    http: httpx.AsyncClient, partner: Partner, request: httpx.Request, *, within: float
) -> httpx.Response:
    """Send with the partner's credentials, and read a bounded answer within so many seconds.

    http: a client of `http_client`. An answer whose head has come is returned, also if its body has a flaw. Raises one
    of `UNANSWERED`, or what the partner's `auth` raises. httpx's own messages are nothing to print or record: they may
    quote the URL.
    """
    head = _Head(request)
    # Before the credentials are added: they may be a signature of the headers.
    request.headers["Accept-Encoding"] = "identity"
    token = _CURRENT.set(head)
    try:
        async with asyncio.timeout(within):
            response = await http.send(request, auth=partner.auth or httpx.Auth(), stream=True)
    except (Exception, asyncio.CancelledError) as error:
        # Also when the worker stops: another try would be a second call.
        if head.response is None or (isinstance(error, asyncio.CancelledError) and not head.response.is_success):
            raise
        return _bodiless(head.response, f"its body did not arrive ({type(error).__name__})")
    finally:
        _CURRENT.reset(token)
    # An Auth may send more after the call was taken, and end with the answer to that.
    return head.response or response


class _Head:
    """The answer to one call: its head from its arrival on, and of a success the whole.

    An `httpx.Auth` may send other requests in between, for a token, and may write the call anew with other headers or
    another query. So an answer counts if its request has the call's method, host and path.
    """

    def __init__(self, call: httpx.Request) -> None:
        self._aim = self._aim_of(call)
        self.response: httpx.Response | None = None

    def awaits(self, request: httpx.Request) -> bool:
        """Whether the answer to this request counts: the first success is final."""
        is_open = self.response is None or not self.response.is_success
        return is_open and self._aim_of(request) == self._aim

    @staticmethod
    def _aim_of(request: httpx.Request) -> tuple[str, str, int | None, str]:
        return request.method, request.url.host, request.url.port, request.url.path


_CURRENT: Final[ContextVar[_Head | None]] = ContextVar("current call", default=None)
"""The call that this task makes: an Auth's own requests pass through the same transport."""


class BoundedTransport(httpx.AsyncBaseTransport):
    """Reads every answer whole, up to `MAX_ANSWER_BYTES`, and decodes it once.

    Here and not where an answer is used, because an `httpx.Auth` reads answers too, with httpx's own decoders: those
    undo as many encodings as a header names, and a kilobyte becomes gigabytes.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and read its answer."""
        # What an Auth sends besides has neither.
        request.extensions = {"timeout": TIMEOUTS.as_dict(), **request.extensions}
        request.headers.setdefault("Accept-Encoding", "identity")
        head = _CURRENT.get()
        if head is None or not head.awaits(request):
            head = _Head(request)
        streamed = await self._transport.handle_async_request(request)
        streamed.request = request
        head.response = streamed
        try:
            body, flaw = await _read(streamed)
        finally:
            await streamed.aclose()
        whole = _with_body(streamed, body, flaw)
        # After a refusal an Auth may send the call again.
        head.response = whole if whole.is_success else None
        return whole

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def _bodiless(response: httpx.Response, flaw: str) -> httpx.Response:
    return _with_body(response, b"", flaw)


def _with_body(response: httpx.Response, body: bytes, flaw: str) -> httpx.Response:
    # Raw pairs: a header that is not ASCII is the partner's mistake, and no reason to lose its answer.
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in FRAMING]
    extensions = {name: value for name, value in response.extensions.items() if name != "network_stream"}
    return httpx.Response(
        response.status_code,
        headers=headers,
        content=body,
        request=response.request,
        extensions={**extensions, FLAW: flaw},
    )


async def _read(response: httpx.Response) -> tuple[bytes, str]:
    """The body and its flaw: an answer is whole or empty; of a refusal what came before the flaw will do."""
    body = _Body(response)
    try:
        async for chunk in response.aiter_raw():
            body.take(chunk)
        body.end()
    except _Flawed as error:
        flaw = str(error)
    except httpx.HTTPError as error:
        flaw = f"its body broke off ({type(error).__name__})"
    else:
        return bytes(body.decoded), ""
    return b"" if response.is_success else bytes(body.decoded[:MAX_ANSWER_BYTES]), flaw


class _Flawed(Exception):
    """A body that cannot be read whole. The message says why, after "the answer:", and quotes nothing."""


class _Body:
    """A body, decoded as it arrives. At most one encoding is undone, and never more of it than is kept."""

    def __init__(self, response: httpx.Response) -> None:
        names = response.headers.get_list("content-encoding", split_commas=True)
        self._encodings = [name for name in map(str.lower, map(str.strip, names)) if name in ENCODINGS]
        self._decode: Any = None
        self._size = 0
        self.decoded = bytearray()

    def take(self, chunk: bytes) -> None:
        """Add what has arrived; raises `_Flawed`."""
        self._size += len(chunk)
        self.decoded += self._plain(chunk) if self._encodings else chunk
        if max(self._size, len(self.decoded)) > MAX_ANSWER_BYTES:
            raise _Flawed(f"its body has more than {MAX_ANSWER_BYTES} bytes")

    def end(self) -> None:
        """Note that everything has arrived; raises `_Flawed` if the encoding says otherwise."""
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
            # zlib's form by the standard, and raw by the habit of some servers; the first byte tells.
            return zlib.decompressobj(zlib.MAX_WBITS if beginning[0] & 0x0F == 8 else -zlib.MAX_WBITS)
    raise _Flawed("its Content-Encoding is not one of gzip and deflate, once")
