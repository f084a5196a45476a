"""A partner's API with a token endpoint, over HTTP or TLS, and a forward proxy: each in a thread of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_connection
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from tests.parts.certificates import Issued

Answered = tuple[int, dict[str, Any] | bytes]


@dataclass
class PartnerServer:
    """What it is sent, and what it answers.

    tokens: the forms and Authorization headers of token requests. calls: the headers of calls. token_answer: answers
    the n-th token request. good: the tokens that it takes.
    """

    url: str = ""
    tokens: list[tuple[str, str]] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    good: set[str] = field(default_factory=lambda: {"token-1", "token-2", "token-3"})
    token_pause: float = 0.0
    token_answer: Callable[[int], Answered] = lambda number: (
        200,
        {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": 3600},
    )
    needs_token: bool = True

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Answered:
        if path.endswith("/token"):
            self.tokens.append((body.decode(), headers.get("authorization", "")))
            number = len(self.tokens)
            time.sleep(self.token_pause)
            return self.token_answer(number)
        self.calls.append(headers)
        if self.needs_token and headers.get("authorization", "").removeprefix("Bearer ") not in self.good:
            return 401, {"error": "invalid_token"}
        return 202, {"id": "w-1"}


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is part of the tests."""


@contextmanager
def partner_server(context: ssl.SSLContext | None = None, **parts: Any) -> Iterator[PartnerServer]:
    made = PartnerServer(**parts)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, said = made.answer(self.path, headers, body)
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    server = _Quiet(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    made.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
    with _running(server):
        yield made


def tls(folder: Path, certificate: Issued, clients: Issued | None = None) -> ssl.SSLContext:
    """The server's side of TLS. clients: the authority of the client certificates that it requires.

    TLS 1.2, in which a refused client always hears why: with 1.3 the reason may be lost with the connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(*certificate.saved(folder, "server"))
    if clients:
        context.load_verify_locations(cadata=clients.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@dataclass
class ForwardProxy:
    """asked: the hosts that it was asked to connect to."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def forward_proxy(user: str = "", password: str = "") -> Iterator[ForwardProxy]:
    """An HTTP proxy that knows CONNECT, for clients with these credentials."""
    made = ForwardProxy()
    wanted = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            head = self._read_head().decode()
            if not head:  # a client that only looks whether something listens
                return
            if user and f"Proxy-Authorization: {wanted}".lower() not in head.lower():
                self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            made.asked.append(head.split(" ")[1])
            host, _, port = made.asked[-1].rpartition(":")
            with create_connection((host, int(port))) as partner:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_copy, args=(partner.recv, self.connection.sendall))
                back.start()
                _copy(self.connection.recv, partner.sendall)
                partner.shutdown(2)
                back.join()

        def _read_head(self) -> bytes:
            """The request's lines; b"" if the client has hung up before its end."""
            lines = list[bytes]()
            while line := self.rfile.readline():
                if line == b"\r\n":
                    return b"".join(lines)
                lines.append(line)
            return b""

    server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://{f'{user}:{password}@' if user else ''}127.0.0.1:{server.server_address[1]}"
    with _running(server):
        yield made


def _copy(receive: Callable[[int], bytes], send: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):
        while chunk := receive(65536):
            send(chunk)


@contextmanager
def _running(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
