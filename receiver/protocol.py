"""BoundedProtocol: uvicorn's HTTP protocol, with limits on everything that a client can prolong.

uvicorn keeps a silent or slow connection open forever, stores any number of pipelined requests and unread answers, and
its fast parser has no limit on headers or trailers. Here the requests of a connection are handled one after the other:
a request is parsed when the request before it is answered. Until then its bytes wait, at most one read of the socket.
The time and size of a body are limited where it is read, in `receiver.body`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from receiver.answers import Verdict
from receiver.deadlines import Deadline

HEADER_SECONDS: Final = 10.0
"""Limit from the connection, or from the first byte of a further request, until the headers are complete."""

WRITE_SECONDS: Final = 10.0
"""Limit for a client that does not read: from the moment when an answer cannot be sent further, until it is sent."""

LINGER_SECONDS: Final = 2.0
"""From a refusal until the connection is closed. Closing it while bytes from the client are unread makes the system
reset it, and discard answers that the client has not read yet."""

LARGEST_HEAD: Final = 32 * 1024
"""Bytes of request line and headers together, separators included. A token of 4 KiB and what routers add fit many
times."""

MOST_HEADERS: Final = 100
"""Headers of a request. Even a short header costs time; routers and tracing add some 30 at most."""

LARGEST_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes of a request on the wire. The largest body, sent in chunks of a few bytes, takes several times its own size. A
larger request consists of chunk extensions and trailers, which the parser would keep in memory."""

PIECE_COST: Final = 128
"""Bytes that each empty line in a chunked body counts in addition to its own, because it costs a call of the parser."""

REQUEST_START: Final = re.compile(rb"[A-Z]+ /")
EMPTY_LINE: Final = b"\r\n\r\n"
"""The end of a line and an empty line: all that the parser accepts as the end of a head or of a chunked body."""

FRAMING: Final = {b"content-length", b"transfer-encoding"}
"""Headers that say where a body ends."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection. Its state is that of a single request, which is being read or being answered."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # An access log line has the path, and so the token. No logging configuration may enable it.
        self.access_log = False
        self.url = b""
        self._unread = bytearray()
        self._size = 0
        self._begun = False
        self._in_head = True
        self._body_left: int | None = None
        self._refused = False
        self._head_deadline: Deadline | None = None
        self._write_deadline: Deadline | None = None
        self._linger_deadline: Deadline | None = None
        self._discarded = 0

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the head deadline, which also closes a silent connection."""
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        # The write deadline must start at the first byte that the client does not take, not only beyond 64 KiB.
        transport.set_write_buffer_limits(high=0)
        self._start_head_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadlines and free the buffer: uvicorn's keep-alive timer may hold the protocol for a while."""
        self._unread.clear()
        self._stop_head_deadline()
        self._stop_write_deadline()
        if self._linger_deadline is not None:
            self._linger_deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Handle the server's shutdown. Wait for an answer, but not for bytes that are only discarded."""
        if self._linger_deadline is not None:
            self.transport.close()
        else:
            super().shutdown()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Handle the end of the client's data. True keeps the connection open for an answer that it may wait for.

        That is the connection's last answer: while a further request waits, nothing is read, not even the end.
        """
        if self._is_answering:
            self.cycle.keep_alive = False
            return True
        if self._begun:
            self._refuse(Verdict.MALFORMED)
        return False

    def pause_writing(self) -> None:
        """Handle a full write buffer: the app stops writing, and the client has `WRITE_SECONDS` to read."""
        super().pause_writing()
        self._write_deadline = Deadline(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Handle an empty write buffer: the client has read all of the answer so far."""
        self._stop_write_deadline()
        super().resume_writing()

    # --- reading, one request at a time

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes, up to the end of one request."""
        if self._refused:
            self._discard(data)
        else:
            self._unread += data
            self._parse()

    def on_response_complete(self) -> None:
        """Go on with the next request. After an answer to an unfinished request, close: the rest may never end."""
        self._flow.held = False
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._begun or self._refused:
            self.transport.close()
        else:
            self._parse()

    @property
    def _is_answering(self) -> bool:
        """Whether a request was read to its end, and is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete and not self._begun

    def _parse(self) -> None:
        while self._unread and not self._refused and not self._is_answering:
            self._unset_keepalive_if_required()
            was_in_head = self._in_head
            piece = self._unread[: self._piece_size()]
            del self._unread[: len(piece)]
            if piece:
                self._feed(piece)
            if was_in_head and self._in_head and not self._refused and not self._is_answering:
                self._start_head_deadline()
            if not piece:
                return
        if self._unread:
            self._flow.hold()

    def _piece_size(self) -> int:
        r"""How many of the unread bytes to feed to the parser. A piece never reaches into the next request.

        A body of known length ends after that length. A head or a chunked body ends with an empty line, so each piece
        ends with an empty line too:

            POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n | {} | GET /b HTTP/1.1\r\n\r\n | GET /c HTT

        Bytes that may begin an empty line, such as `\r\n\r`, are left until more has arrived.
        """
        if not self._in_head and self._body_left is not None:
            return self._body_left
        most = LARGEST_HEAD - self._size if self._in_head else len(self._unread)
        end = self._unread.find(EMPTY_LINE, 0, most)
        if end >= 0:
            return end + len(EMPTY_LINE)
        if self._in_head and len(self._unread) >= most:
            return most  # too long already, whatever its last bytes are
        part = next((size for size in (3, 2, 1) if self._unread.endswith(EMPTY_LINE[:size])), 0)
        return len(self._unread) - part

    def _feed(self, piece: bytearray) -> None:
        self._size += len(piece)
        if not self._in_head:
            if self._body_left is not None:
                self._body_left -= len(piece)
            elif self._unread:
                self._size += PIECE_COST
        try:
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                self._decline_upgrade()
        except httptools.HttpParserError:
            self._refuse(_malformed(piece))
        if self._in_head and self._size >= LARGEST_HEAD:
            self._refuse_head()
        elif self._size > LARGEST_MESSAGE:
            self._refuse(Verdict.TOO_LARGE)

    def _decline_upgrade(self) -> None:
        """Serve a request that offers an upgrade as a plain HTTP request.

        The parser leaves the body to the protocol that the client has offered. So a second parser reads the body. It is
        fed a head with the same framing, `Content-Length: 22` or `Transfer-Encoding: chunked`, and sees the same end.
        """
        self.cycle.keep_alive = False
        framing = [b"%s: %s\r\n" % header for header in self.headers if header[0] in FRAMING]
        self.parser = httptools.HttpRequestParser(_BodyOnly(self))
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))

    # --- what the parser reports

    def on_message_begin(self) -> None:
        """Reset the state for a new request."""
        super().on_message_begin()
        self._begun = True
        self._body_left = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Ignore a trailer: it would change the head after the app has begun to read it."""
        if not self._in_head:
            return
        if len(self.headers) == MOST_HEADERS:
            self._refuse_head()
            raise _StopParsing
        super().on_header(name, value)
        if self.headers[-1][0] == b"content-length":
            self._body_left = int(value)

    def on_headers_complete(self) -> None:
        """Stop the head deadline, and refuse a path with a fragment."""
        self._stop_head_deadline()
        if b"#" in self.url:
            # Clients do not send fragments. Cutting the fragment off would give a token a second spelling.
            self._refuse(Verdict.UNKNOWN)
            raise _StopParsing
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Handle the end of a request. The parser also reports an end when it leaves the body to another protocol."""
        if self.parser.should_upgrade():
            return
        self._begun = False
        self._in_head = True
        self._size = 0
        super().on_message_complete()

    # --- ending

    def _start_head_deadline(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = Deadline(HEADER_SECONDS, self._give_up)

    def _stop_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _stop_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _give_up(self) -> None:
        if self._begun:
            self._refuse(Verdict.TOO_SLOW)
        else:
            # Only line ends have arrived since the last answer, or ever.
            self.transport.close()

    def _refuse_head(self) -> None:
        # A path too long for a token is answered like every unknown token, byte for byte.
        self._refuse(Verdict.UNKNOWN if len(self.url) > LARGEST_HEAD // 2 else Verdict.HEAD_TOO_LARGE)

    def _refuse(self, verdict: Verdict) -> None:
        """Answer the request that is being read, in place of the app, and end the connection.

        All earlier requests have been answered: otherwise this request would not be read.
        """
        if self._refused:
            return
        self._refused = True
        self._unread.clear()
        self._stop_head_deadline()
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                return  # the app was faster; the connection is closed after its answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        response = verdict.respond(close=True)
        headers = [*self.server_state.default_headers, *response.raw_headers]
        lines = [STATUS_LINE[verdict.status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join([*lines, bytes(response.body)]))
        self._linger()

    def _linger(self) -> None:
        """Close the sending side, and read what the client still sends, for `LINGER_SECONDS` at most."""
        self._flow.held = False
        self._flow.resume_reading()
        self.transport.write_eof()
        self._linger_deadline = Deadline(LINGER_SECONDS, self.transport.close)

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > LARGEST_MESSAGE:
            self.transport.close()


class _Flow(FlowControl):
    """uvicorn's flow control. While bytes of the next request wait, nothing is read, even if uvicorn asks for it."""

    held = False

    def hold(self) -> None:
        self.held = True
        self.pause_reading()

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class _BodyOnly:
    """The callbacks of a second parser, for a request whose head is known already."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete


class _StopParsing(Exception):
    """Raised inside a parser callback, to stop parsing a request that was refused."""


def _malformed(piece: bytes | bytearray) -> Verdict:
    """The verdict for bytes that the parser rejects. A path with non-ASCII bytes is answered like an unknown token."""
    line = piece.partition(b"\r\n")[0]
    return Verdict.UNKNOWN if REQUEST_START.match(line) and not line.isascii() else Verdict.MALFORMED
