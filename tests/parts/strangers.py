"""Servers that are not Temporal: one that stays mute, and a proxy that refuses with an HTTP status."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@contextmanager
def mute() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """The address of a server that answers the first request of each HTTP/2 connection with this status."""
    head = b"\x08\x03" + str(status).encode()  # :status, by its place in HPACK's table
    headers = len(head).to_bytes(3, "big") + b"\x01\x05" + (1).to_bytes(4, "big") + head

    def answer(connection: socket.socket) -> None:
        seen = b""
        while b"\x01" not in _frame_types(seen) and (data := connection.recv(65_536)):
            seen += data
        connection.sendall(SETTINGS + headers)
        while connection.recv(65_536):
            pass

    with _answering(answer) as address:
        yield address


@contextmanager
def hanging_up(*, greets: bool) -> Iterator[str]:
    """The address of a server that closes every connection. greets: it first answers HTTP/2 without TLS."""

    def answer(connection: socket.socket) -> None:
        if connection.recv(65_536).startswith(b"PRI") and greets:
            connection.sendall(SETTINGS)

    with _answering(answer) as address:
        yield address


@contextmanager
def _answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that has every connection answered in a thread of its own, and then closes it."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            answer(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):  # when the listener is shut down
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _frame_types(seen: bytes) -> bytes:
    """The types of the frames after the preface, a byte each."""
    types, rest = b"", seen[len(PREFACE) :]
    while len(rest) >= 9:
        types += rest[3:4]
        rest = rest[9 + int.from_bytes(rest[:3], "big") :]
    return types
