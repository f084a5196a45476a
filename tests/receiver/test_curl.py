"""The curl line of a delivery sends the very bytes and headers that were captured."""

from __future__ import annotations

import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from receiver.cli.curl import curl_line
from receiver.cli.errors import CommandError
from receiver.deliveries.delivery import digest
from tests.receiver.test_inbox import delivery

Request = tuple[str, list[tuple[str, str]], bytes]


@contextmanager
def listening() -> Iterator[tuple[str, list[Request]]]:
    """A server that notes what it is sent."""
    noted: list[Request] = []

    class Noting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            noted.append((self.path, list(self.headers.items()), body))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with socketserver.TCPServer(("127.0.0.1", 0), Noting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", noted
        server.shutdown()
        thread.join()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"it\'s": "quoted \\"twice\\" $HOME `id` \\n"}\n',
        b"@/etc/hostname",
        b"\r\nwindows\r\n",
        "äöü €\n".encode(),
        bytes(range(256)) * 20,
    ],
)
def test_the_line_sends_what_was_captured(body: bytes) -> None:
    headers = (("X-Twice", "a"), ("X-Twice", "b"), ("Content-Type", 'text/x; y="z"'), ("X-Empty", ""))
    one = delivery(
        body=body,
        body_size=len(body),
        body_digest=digest(body),
        headers=headers,
        target="/callbacks/{run/1/1}?q=[1-3]&r=2",
    )
    with listening() as (url, noted):
        line = curl_line(one, {"PUBLIC_URL": url, "CALLBACK_KEYS": "0123456789abcdefghijklmnopqrstuvwxyz"})
        subprocess.run(["sh", "-c", line], check=True, capture_output=True, timeout=20)
    ((path, sent, got),) = noted
    assert got == body
    assert path.startswith("/callbacks/")
    assert path.endswith("?q=[1-3]&r=2")
    assert [pair for pair in sent if pair[0] not in {"Host", "Content-Length"}] == list(headers)


@pytest.mark.parametrize("changes", [{"body": None}, {"workflow_id": ""}])
def test_a_delivery_that_cannot_be_sent_again_is_said(changes: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="cannot be sent again"):
        curl_line(delivery(**changes), {})
