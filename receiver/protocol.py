"""BoundedProtocol: uvicorn's HTTP protocol with an end to everything that a client may do without end.

uvicorn leaves a silent or dripping connection open for ever, and its fast parser has no limit on headers. The body's
own time and size are limited where it is read, in `receiver.callbacks`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from receiver.answers import Verdict

HEADER_SECONDS: Final = 10.0
"""From the connection, or from a further request's first byte, until its headers are complete."""

LARGEST_HEAD: Final = 32 * 1024
"""Bytes of request line and headers together: a token of 4 KiB and what routers add fit many times."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. It is closed when a request's head takes too long or grows too large, and after an answer that
    was given before the request had ended."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _message_complete = True
    _body_left = 0
    _refused = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Its line has the path, and with it the token; no logging configuration may bring it back.
        self.access_log = False
        self.url = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection that says nothing is closed."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of the head before they are parsed: the parser keeps an unfinished header in memory."""
        if self._refused:
            return
        if self._body_left:
            self._take_body(data)
            return
        if self._in_head:
            if self._head_timer is None:
                self._start_timer()
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_body(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(Verdict.MALFORMED)
            return
        if self._in_head and self._head_bytes > LARGEST_HEAD:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._message_complete = False

    def on_headers_complete(self) -> None:
        """The head has ended: stop its clock, and look at its size, which may have come in one piece."""
        self._stop_timer()
        self._in_head = False
        self._head_bytes = 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD:
            self._refuse_head()
            return
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self._decline_upgrade()

    def _decline_upgrade(self) -> None:
        """Serve the request as it is; its body, which the parser leaves to the offered protocol, is taken here."""
        self.cycle.keep_alive = False
        headers = dict(self.headers)
        if b"transfer-encoding" in headers:
            self._refuse(Verdict.MALFORMED)
        elif (length := headers.get(b"content-length", b"0")).isdigit():
            self._body_left = int(length)

    def _take_body(self, data: bytes) -> None:
        part, self._body_left = data[: self._body_left], max(0, self._body_left - len(data))
        if part:
            self.cycle.body += part
            self.cycle.message_event.set()
        if not self._body_left:
            self._message_complete = True
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_body(self, body: bytes) -> None:
        """Part of a body, unless the request was refused before it had a cycle."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has ended; the next byte begins another head."""
        if self._body_left:
            return
        self._message_complete = True
        self._in_head = True
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Close after an answer to an unfinished request: whoever sends an endless body would be read for ever."""
        super().on_response_complete()
        if not self._message_complete and not self.transport.is_closing():
            self.transport.close()

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._refuse(Verdict.TOO_SLOW)
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        # A token too long to be one is unknown like any other, to the last byte of the answer.
        self._refuse(Verdict.UNKNOWN if len(self.url) > LARGEST_HEAD // 2 else Verdict.HEAD_TOO_LARGE)

    def _refuse(self, verdict: Verdict) -> None:
        """Answer from the table in the app's stead, as uvicorn would write it, and close."""
        self._refused = True
        if self.transport.is_closing():
            return
        response = verdict.respond(close=True)
        headers = [*self.server_state.default_headers, *response.raw_headers]
        lines = [STATUS_LINE[verdict.status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join([*lines, bytes(response.body)]))
        self.transport.close()
