"""A server that notes what it is sent."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

KEYS = "0123456789abcdefghijklmnopqrstuvwxyz"


Request = tuple[str, list[tuple[str, str]], bytes]


@contextmanager
def listening() -> Iterator[tuple[str, list[Request]]]:
    """A server that notes what it is sent."""
    noted: list[Request] = []

    class Noting(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            # The standard library's parser of headers would take some bytes for the ends of lines.
            head = b"".join(iter(self.rfile.readline, b"\r\n")).decode("latin-1")
            request_line, *lines = head.removesuffix("\r\n").split("\r\n")
            headers = [(name, value.removeprefix(" ")) for name, _, value in (line.partition(":") for line in lines)]
            body = self.rfile.read(int(dict(headers)["Content-Length"]))
            noted.append((request_line.split(" ")[1], headers, body))
            self.wfile.write(b"HTTP/1.1 202 Accepted\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Noting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", noted
        finally:
            server.shutdown()
            thread.join()
