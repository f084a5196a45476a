"""How uvicorn's processes begin and end, where uvicorn's own ways would surprise an operator."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading


class PortTaken(Exception):
    """Somebody else listens on the port, or we may not."""


def check_port(host: str, port: int) -> None:
    """Raise `PortTaken` if the port cannot be listened on: uvicorn would end with a code that means something else."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise PortTaken(f"port {port} cannot be listened on: {error.strerror}") from error


def stop_quietly() -> None:
    """Make a stop that was asked for end with exit code 0: uvicorn raises the signal again when it is done."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)


def end_with_parent() -> None:
    """Stop this process, one of several, when the one that began it is gone: killed, it tells nobody.

    Left to themselves they would go on listening, and the next receiver would find its port taken.
    """
    if (parent := multiprocessing.parent_process()) is None:
        return

    def wait(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, args=(parent.sentinel,), name="parent", daemon=True).start()
