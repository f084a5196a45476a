"""What the store costs an answer: callbacks answered a second with the store in front, as a share of those without.

`python -m benchmarks.answers`, or with DATABASE_URL for another store. A receiver process of its own is asked over
loopback; rounds are interleaved, and medians compared. Temporal takes every signal at once on both sides, for its rate
is far below either.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

import uvicorn

from activities.callback_urls import CallbackURLs, Claims
from activities.environment import Environment
from activities.partners import load_partners
from activities.store import migrations
from activities.store.database import Database
from activities.store.store import Store
from receiver.app import create_app
from receiver.cli.demo.processes import free_port
from receiver.sending.signals import Reached, Signals
from receiver.server import uvicorn_options

ROUNDS: Final = 5
SECONDS: Final = 2.0
CONNECTIONS: Final = (1, 32)
KEY: Final = "a-key-of-a-benchmark-0123456789-abcdef"
BODY: Final = b'{"id": "w-1", "status": "succeeded", "data": {"account_id": "acc-1"}}'
SANDBOX: Final = {"SANDBOX_URL": "http://127.0.0.1:1"}


class Taking(Signals):
    """A Temporal that takes everything."""

    def __init__(self) -> None:
        super().__init__(self._nobody)

    async def _nobody(self) -> NoReturn:
        raise NotImplementedError

    async def send(self, *args: Any, **kwargs: Any) -> Reached:
        return Reached.TAKEN

    async def check(self, **kwargs: Any) -> None:
        return None


def serve(port: int, url: str) -> None:
    """The receiver, with the store of this URL, or without one for ""."""
    loaded = load_partners(["sandbox"], Environment(SANDBOX))
    partners = {name: replace(partner, rate=1e6) for name, partner in loaded.items()}
    store = Store(Database(url)) if url else None
    app = create_app(CallbackURLs(f"http://127.0.0.1:{port}", [KEY]), partners, Taking(), store=store)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", **uvicorn_options())


@contextmanager
def serving(url: str) -> Iterator[int]:
    """A receiver process; its port."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.answers", str(port), url],
        cwd=Path(__file__).parents[1],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def request(port: int) -> bytes:
    """A callback of a run of its own."""
    claims = Claims("run", uuid.uuid4().hex, 1, 1, "sandbox", 1, 2**32)
    target = CallbackURLs("", [KEY]).issue(claims)
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


async def rate(port: int, connections: int) -> float:
    """Callbacks answered 202 a second, over so many connections that each wait for every answer."""
    answered = 0
    end = time.monotonic() + SECONDS

    async def partner() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            writer.write(request(port))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 202 "), head
            (length,) = (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(length)
            answered += 1
        writer.close()

    await asyncio.gather(*(partner() for _ in range(connections)))
    return answered / SECONDS


async def until_it_listens(port: int) -> None:
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


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("DATABASE_URL", f"sqlite:///{folder}/bench.db")
        migrations.upgrade(Database(url))
        with serving(url) as stored, serving("") as bare:
            for port in (stored, bare):
                await until_it_listens(port)
            for connections in CONNECTIONS:
                rates: dict[int, list[float]] = {stored: [], bare: []}
                for _ in range(ROUNDS):
                    for port, found in rates.items():
                        found.append(await rate(port, connections))
                with_store, without = (statistics.median(rates[port]) for port in (stored, bare))
                shown = f"{with_store:.0f}/s with the store, {without:.0f}/s without"
                print(f"{connections:3} connections: {shown}: {with_store / without:.2f} of the rate")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(int(sys.argv[1]), sys.argv[2])
    else:
        asyncio.run(main())
