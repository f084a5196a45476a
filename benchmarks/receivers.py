"""The processes that are asked: bare Starlette, and receivers with a store and without.

`python -m benchmarks.receivers PORT WAY STORE_URL TEMPORAL_ADDRESS` is one of them. It tells its CPU at `/used`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from temporalio.client import Client

from activities.callback_urls import CALLBACKS_PATH, CallbackURLs
from activities.environment import Environment
from activities.partners import load_partners
from activities.partners.partner import Partner
from activities.signatures import SCHEMES
from activities.store import migrations
from activities.store.database import Database
from activities.store.store import Store
from receiver.app import create_app
from receiver.cli.demo.processes import free_port
from receiver.lifecycle import freeze_loaded_objects
from receiver.log_setup import FOR_PEOPLE, start_logging
from receiver.sending.signals import Reached, Signals
from receiver.server import uvicorn_options
from tests.stores import Postgres

KEY: Final = "a-key-of-a-benchmark-0123456789-abcdef"
SECRET: Final = "a-secret-of-a-benchmark-0123456789"
TWO_PROCESSES: Final = "two processes"
"""The way that has two processes at one PostgreSQL."""

SETTINGS: Final = {
    "SANDBOX_URL": "http://127.0.0.1:1",
    "PAYMENTS_KEY": "a-key-of-a-benchmark-0123456789",
    "PAYMENTS_SECRET": SECRET,
}


class Counter:
    """Counts the signals that a process has sent."""

    def __init__(self) -> None:
        self.sent = 0

    async def used(self, _: Request) -> JSONResponse:
        """The CPU seconds of this process, and the signals that it has sent."""
        return JSONResponse({"cpu": time.process_time(), "sent": self.sent})


class Taking(Signals):
    """A Temporal that takes every signal at once."""

    def __init__(self, counter: Counter) -> None:
        super().__init__(self._connect)
        self._counter = counter

    async def _connect(self) -> NoReturn:
        raise NotImplementedError

    async def send(self, *args: Any, **kwargs: Any) -> Reached:
        self._counter.sent += 1
        return Reached.TAKEN

    async def check(self, **kwargs: Any) -> None:
        return None


class Sending(Signals):
    """Signals to a real Temporal."""

    def __init__(self, counter: Counter, address: str) -> None:
        super().__init__(lambda: Client.connect(address, lazy=True))
        self._counter = counter

    async def send(self, *args: Any, **kwargs: Any) -> Reached:
        reached = await super().send(*args, **kwargs)
        self._counter.sent += 1
        return reached


def bare(counter: Counter) -> Starlette:
    """Bare Starlette: it reads the body and answers."""
    callbacks = Route(f"{CALLBACKS_PATH}{{token:path}}", _take, methods=["POST"])
    return Starlette(routes=[callbacks, Route("/used", counter.used)])


async def _take(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({"answer": "accepted"}, 202)


def receiver(port: int, url: str, signals: Signals, counter: Counter) -> Starlette:
    """The receiver. url: its store's, or "" for none."""
    store = Store(Database(url)) if url else None
    app = create_app(CallbackURLs(f"http://127.0.0.1:{port}", [KEY]), partners(), signals, store=store)
    app.router.routes.append(Route("/used", counter.used))
    return app


def partners() -> dict[str, Partner]:
    """The sandbox, whose callbacks are signed, and the payments sample."""
    loaded = load_partners(["sandbox", "payments"], Environment(SETTINGS))
    loaded["sandbox"] = replace(loaded["sandbox"], signature=SCHEMES["github"](secrets=[SECRET]))
    return {name: replace(partner, rate=1e6) for name, partner in loaded.items()}


def serve(port: int, way: str, url: str, address: str) -> None:
    """Serve one of the ways, `bare` or `receiver`, until SIGTERM."""
    counter = Counter()
    if way == "bare":
        uvicorn.run(bare(counter), host="127.0.0.1", port=port, log_level="error", access_log=False, http="httptools")
        return
    start_logging(FOR_PEOPLE)
    signals = Sending(counter, address) if address else Taking(counter)
    app = receiver(port, url, signals, counter)
    freeze_loaded_objects()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", **uvicorn_options())


@contextmanager
def serving(way: str, url: str = "", address: str = "") -> Iterator[int]:
    """A process; its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.receivers", str(port), way, url, address]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.kill()  # nothing that it keeps is needed, and SIGTERM may be without effect
        process.wait()


async def until_it_listens(port: int) -> None:
    """Wait until a process listens there, for two minutes at most."""
    deadline = time.monotonic() + 120
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert time.monotonic() < deadline, "the receiver does not listen"
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


def new_stores(stack: ExitStack, folder: str) -> dict[str, str]:
    """The URLs of new stores, by name. Each way has one of its own: any process sends what another has kept."""
    server = Postgres(Path(folder) / "postgres")
    stack.callback(server.end)
    urls = {"SQLite": f"sqlite:///{folder}/bench.db"}
    urls |= {name: server.new_database() for name in ("PostgreSQL", TWO_PROCESSES)}
    for url in urls.values():
        migrations.upgrade(Database(url))
    return urls


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:])
