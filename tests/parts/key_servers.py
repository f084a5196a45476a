"""A server that publishes documents, such as a key set, and counts how often each is fetched."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


@dataclass
class KeyServer:
    """What the server answers. documents: by path; others are 404. holding: while unset, no request is answered."""

    url: str = ""
    documents: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    holding: Event = field(default_factory=Event)
    fetched: Counter[str] = field(default_factory=Counter)


@contextmanager
def key_server() -> Iterator[KeyServer]:
    """A server on loopback."""
    served = KeyServer()
    served.holding.set()

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.fetched[self.path] += 1
            served.holding.wait(30)
            body = served.documents.get(self.path)
            self.send_response(404 if body is None else served.status)
            for name, value in served.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            with contextlib.suppress(OSError):  # a client that has given up
                self.wfile.write(body or b"")

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield served
        finally:
            served.holding.set()
            server.shutdown()
            thread.join()
