"""BoundedProtocol: uvicorn's HTTP protocol with an end to everything that a client may do without end.

uvicorn leaves a silent or dripping connection open for ever, and its fast parser has no limit on headers or trailers.
The body's own time and size are limited where it is read, in `receiver.callbacks`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from receiver.answers import Verdict

HEADER_SECONDS: Final = 10.0
"""From the connection, or from a further request's first byte, until its headers are complete."""

LARGEST_HEAD: Final = 32 * 1024
"""Bytes of request line and headers together: a token of 4 KiB and what routers add fit many times."""

LARGEST_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes of one request on the wire. The largest body, sent in chunks of a few bytes, is several times its own size;
what is larger still is chunk extensions and trailers, which the parser would keep in memory."""

REQUEST_LINE: Final = re.compile(rb"[A-Z]+ /")


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Its state is that of the newest request: where its bytes are counted, and what ends it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Its line has the path, and with it the token; no logging configuration may bring it back.
        self.access_log = False
        self.url = b""
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._in_head = True
        self._bytes = 0
        self._upgrade_body = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection that says nothing is closed."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes before they are parsed: the parser keeps an unfinished header in memory."""
        if self._refused:
            return
        self._bytes += len(data)
        if self._upgrade_body:
            self._take_upgrade_body(data)
            return
        if self._in_head and self._timer is None:
            self._start_timer()
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_upgrade_body(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(_malformed(data))
            return
        if self._in_head and self._begun and self._bytes > LARGEST_HEAD:
            self._refuse_head()
        elif self._bytes > LARGEST_MESSAGE:
            self._refuse(Verdict.TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._begun = True

    def on_headers_complete(self) -> None:
        """The head has ended: stop its clock, and look at its size, which may have come in one piece."""
        self._stop_timer()
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD:
            self._refuse_head()
        elif b"#" in self.url:
            # No client sends a fragment; cut off silently, it would give a token a second spelling.
            self._refuse(Verdict.UNKNOWN)
        else:
            super().on_headers_complete()
            if self.parser.should_upgrade():
                self._decline_upgrade()

    def on_body(self, body: bytes) -> None:
        """Part of a body, unless the request was refused before it had a cycle."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has ended; the next byte begins another head."""
        if not self._upgrade_body:
            self._end_message()
            if not self._refused:
                super().on_message_complete()

    def on_response_complete(self) -> None:
        """Close after an answer to an unfinished request: whoever sends an endless body would be read for ever."""
        super().on_response_complete()
        answered_early = self.cycle.response_complete and self._begun
        if (answered_early or self._refused) and not self.transport.is_closing():
            self.transport.close()

    def _end_message(self) -> None:
        self._begun = False
        self._in_head = True
        self._bytes = 0

    def _decline_upgrade(self) -> None:
        """Serve the request as it is; its body, which the parser leaves to the offered protocol, is taken here."""
        self.cycle.keep_alive = False
        headers = dict(self.headers)
        if b"transfer-encoding" in headers:
            self._refuse(Verdict.MALFORMED)
        elif (length := headers.get(b"content-length", b"0")).isdigit():
            self._upgrade_body = int(length)

    def _take_upgrade_body(self, data: bytes) -> None:
        part, self._upgrade_body = data[: self._upgrade_body], max(0, self._upgrade_body - len(data))
        self.cycle.body += part
        if not self._upgrade_body:
            self._end_message()
            self.cycle.more_body = False
        self.cycle.message_event.set()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._begun:
            self._refuse(Verdict.TOO_SLOW)
        elif not self.cycle or self.cycle.response_complete:
            # Nothing but line ends since the last answer, or ever.
            self.transport.close()

    def _refuse_head(self) -> None:
        # A token too long to be one is unknown like any other, to the last byte of the answer.
        self._refuse(Verdict.UNKNOWN if len(self.url) > LARGEST_HEAD // 2 else Verdict.HEAD_TOO_LARGE)

    def _refuse(self, verdict: Verdict) -> None:
        """Answer from the table in the app's stead, as uvicorn would write it, and close."""
        self._refused = True
        self._stop_timer()
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.cycle.more_body:
                # What is refused comes behind a request that is being answered: let that be the last answer.
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        response = verdict.respond(close=True)
        headers = [*self.server_state.default_headers, *response.raw_headers]
        lines = [STATUS_LINE[verdict.status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join([*lines, bytes(response.body)]))
        self.transport.close()


def _malformed(data: bytes) -> Verdict:
    """A path that is not ASCII is no token of ours, and answered as any other that is none."""
    line = data.partition(b"\r\n")[0]
    return Verdict.UNKNOWN if REQUEST_LINE.match(line) and not line.isascii() else Verdict.MALFORMED
