"""The partner that asks: it sends callbacks over so many connections, and asks the processes what they have cost."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Final

from activities.callback_urls import CallbackURLs, Claims
from activities.signatures import SCHEMES
from benchmarks.receivers import KEY, SECRET, serving, until_it_listens

BODY: Final = json.dumps(
    {"id": "w-1", "status": "succeeded", "data": {"account_id": "acc-1", "holder": "ADA LOVELACE", "score": 0.93}}
).encode()
HEADERS: Final = (
    ("Content-Type", "application/json"),
    ("User-Agent", "a-partner/1.0"),
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip, deflate"),
    ("X-Request-Id", "0b9f3c1e-5a8d-4f0e-9a53-8d5f0b9c2a11"),
    ("X-Forwarded-For", "192.0.2.7"),
    ("X-Forwarded-Proto", "https"),
)


def signed(target: str, body: bytes) -> bytes:
    """A request that is signed as the samples' partners sign."""
    proof = SCHEMES["github"](secrets=[SECRET]).sign(body, url="", now=0.0, delivery_id="")
    lines = [f"{name}: {value}" for name, value in (*HEADERS, *proof, ("Content-Length", str(len(body))))]
    head = "\r\n".join([f"POST {target} HTTP/1.1", "Host: 127.0.0.1", *lines])
    return f"{head}\r\n\r\n".encode() + body


def callback(claims: Claims) -> bytes:
    """A callback of this call."""
    return signed(CallbackURLs("", [KEY]).issue(claims), BODY)


def of_new_runs(number: int) -> list[bytes]:
    """Callbacks of so many runs."""
    return [
        callback(Claims(f"run-{uuid.uuid4().hex}", uuid.uuid4().hex, 1, 1, "sandbox", 1, 2**32)) for _ in range(number)
    ]


@dataclass(frozen=True)
class Cost:
    """What callbacks cost: the milliseconds of CPU for one, and those that were answered a second."""

    cpu: float
    rate: float


@dataclass
class Caller:
    """Sends requests to the processes at these ports in turn. signals: whether they send signals."""

    ports: Sequence[int]
    signals: bool
    _events: int = 0

    async def send(self, requests: Sequence[bytes], connections: int, events: int = 1) -> list[float]:
        """Send the requests, each with so many events; the seconds that each waited for its 2xx."""
        waiting, waited = iter(requests), list[float]()

        async def connection(port: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for one in waiting:
                began = time.perf_counter()
                writer.write(one)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 2"), head
                await reader.readexactly(_length(head))
                waited.append(time.perf_counter() - began)
            writer.close()

        ports = (self.ports[number % len(self.ports)] for number in range(connections))
        await asyncio.gather(*map(connection, ports))
        self._events += events * len(requests)
        return waited

    async def used(self) -> float:
        """CPU seconds of the processes, once they have sent a signal for every event."""
        while True:
            found = await asyncio.gather(*map(_used, self.ports))
            if not self.signals or sum(sent for _, sent in found) >= self._events:
                return sum(cpu for cpu, _ in found)
            await asyncio.sleep(0.02)

    async def cost(self, requests: Sequence[bytes], connections: int, events: int = 1) -> Cost:
        """Send the requests, and say what one has cost."""
        before, began = await self.used(), time.perf_counter()
        await self.send(requests, connections, events)
        seconds = time.perf_counter() - began
        return Cost((await self.used() - before) / len(requests) * 1000, len(requests) / seconds)


async def started(
    stack: ExitStack | AsyncExitStack, way: str, url: str = "", address: str = "", processes: int = 1
) -> Caller:
    """The caller of so many processes that have just started."""
    ports = [stack.enter_context(serving(way, url, address)) for _ in range(processes)]
    await asyncio.gather(*map(until_it_listens, ports))
    caller = Caller(ports, signals=way != "bare")
    if not address:
        await caller.cost(of_new_runs(100 * processes), 32)  # to warm up
    return caller


async def _used(port: int) -> tuple[float, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /used HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    told = json.loads(await reader.readexactly(_length(head)))
    writer.close()
    return told["cpu"], told["sent"]


def _length(head: bytes) -> int:
    return next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
