"""Start and stop of uvicorn's processes, where uvicorn's own behaviour would surprise an operator."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading


class PortTaken(Exception):
    """Another process listens on the port, or this process may not listen on it."""


def check_port(host: str, port: int) -> None:
    """Raise `PortTaken` if the port cannot be listened on. uvicorn's exit code for this means something else."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise PortTaken(f"port {port} cannot be listened on at {host}: {error.strerror}") from error


def stop_quietly() -> None:
    """Make SIGTERM and SIGINT end with exit code 0: uvicorn raises the signal again when it has stopped."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)


def end_with_parent() -> None:
    """Stop this process, one of several, when its parent process is gone: a killed parent cannot stop them.

    Otherwise they go on listening, and the next receiver finds its port taken.
    """
    if (parent := multiprocessing.parent_process()) is None:
        return

    def wait(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, args=(parent.sentinel,), name="parent", daemon=True).start()


def freeze_loaded_objects() -> None:
    """Exclude the objects that are loaded so far from the garbage collector's full collections.

    They are some 90,000, most of them classes and functions, and live as long as the process. A full collection that
    goes through them stops all answers for 30 to 80 ms. What is loaded later, such as PostgreSQL's driver, takes 4 ms.
    """
    gc.collect()
    gc.freeze()
