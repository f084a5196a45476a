"""What a callback costs at the door, and what a burst of callbacks waits for: ratios within one run.

`python -m benchmarks.door`: the receiver's CPU for a callback, as multiples of bare Starlette's, which reads the body
and answers: up to the verdict, with log line, metrics and record; and with a SQLite store, and with PostgreSQL, until
the signal is taken and its fate recorded. Temporal takes every signal at once.

`python -m benchmarks.door --temporal`: a burst of callbacks at 32 connections, with a real Temporal server and waiting
runs: through the receiver with a store and without, and as bare signals that a client sends.

Each receiver is a process of its own. Rounds are interleaved, and medians compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from temporalio.client import Client, WorkflowHandle

from activities.callback_urls import CALLBACKS_PATH, CallbackURLs, Claims
from activities.environment import Environment
from activities.partners import load_partners
from activities.signatures import SCHEMES
from activities.store import migrations
from activities.store.database import Database
from activities.store.store import Store
from benchmarks.answers import KEY, SANDBOX, until_it_listens
from benchmarks.batches import Counting
from benchmarks.worker import Measured, temporal, working
from receiver.app import create_app
from receiver.cli.demo.processes import free_port
from receiver.sending.signals import Signals
from receiver.server import uvicorn_options
from tests.stores import Postgres
from tests.versions.trees import new_tree
from workflows.contract import ADVANCE_STAGE, PIPELINE_WORKFLOW

ROUNDS: Final = 5
CALLBACKS: Final = 600
"""Callbacks of a round."""

BURST: Final = 800
CONNECTIONS: Final = 32
SECRET: Final = "a-secret-of-a-benchmark-0123456789"
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


# --- the processes that are asked


class CountingSignals(Signals):
    """Signals to a real Temporal, counted as in `Counting`."""

    def __init__(self, address: str) -> None:
        super().__init__(lambda: Client.connect(address, lazy=True))
        self._counting = Counting()
        self.used = self._counting.used

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        reached = await super().send(*args, **kwargs)
        await self._counting.send()
        return reached


def serve(port: int, way: str, url: str, address: str) -> None:
    """One of the ways: `bare` Starlette, or the `receiver`, with the store of this URL, or without one for ""."""
    if way == "bare":
        app = Starlette(
            routes=[Route(f"{CALLBACKS_PATH}{{token:path}}", _take, methods=["POST"]), Route("/used", Counting().used)]
        )
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, http="httptools")
        return
    signature = SCHEMES["github"](secrets=[SECRET])
    loaded = load_partners(["sandbox"], Environment(SANDBOX))
    partners = {name: replace(one, rate=1e6, signature=signature) for name, one in loaded.items()}
    signals = CountingSignals(address) if address else Counting()
    store = Store(Database(url)) if url else None
    app = create_app(CallbackURLs(f"http://127.0.0.1:{port}", [KEY]), partners, signals, store=store)
    app.router.routes.append(Route("/used", signals.used))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", **uvicorn_options())


async def _take(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({"answer": "accepted"}, 202)


@contextmanager
def serving(way: str, url: str = "", address: str = "") -> Iterator[int]:
    """A process; its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.door", "--serve", str(port), way, url, address]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


# --- the partner that asks


def request(claims: Claims) -> bytes:
    """A callback of this call."""
    target = CallbackURLs("", [KEY]).issue(claims)
    proof = SCHEMES["github"](secrets=[SECRET]).sign(BODY, url="", now=0.0, delivery_id="")
    lines = [f"{name}: {value}" for name, value in (*HEADERS, *proof, ("Content-Length", str(len(BODY))))]
    head = "\r\n".join([f"POST {target} HTTP/1.1", "Host: 127.0.0.1", *lines])
    return f"{head}\r\n\r\n".encode() + BODY


def of_new_runs(number: int) -> list[bytes]:
    """Callbacks of so many runs."""
    return [
        request(Claims(f"run-{uuid.uuid4().hex}", uuid.uuid4().hex, 1, 1, "sandbox", 1, 2**32)) for _ in range(number)
    ]


@dataclass
class Partner:
    """Sends callbacks to a process, and asks what they have cost. signals: whether the process sends signals."""

    port: int
    signals: bool
    sent: int = 0

    async def send(self, requests: Sequence[bytes], connections: int) -> list[float]:
        """Send the callbacks; the seconds that each waited for its 202."""
        waiting, waited = iter(requests), list[float]()

        async def connection() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            for one in waiting:
                began = time.perf_counter()
                writer.write(one)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 202 "), head
                await reader.readexactly(_length(head))
                waited.append(time.perf_counter() - began)
            writer.close()

        await asyncio.gather(*(connection() for _ in range(connections)))
        self.sent += len(requests)
        return waited

    async def used(self) -> float:
        """CPU seconds of the process, once it has sent a signal for every callback."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        after = self.sent if self.signals else 0
        writer.write(f"GET /used?after={after} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        seconds = float(await reader.readexactly(_length(head)))
        writer.close()
        return seconds

    async def cost(self, requests: Sequence[bytes], connections: int) -> float:
        """Milliseconds of CPU for a callback."""
        before = await self.used()
        await self.send(requests, connections)
        return (await self.used() - before) / len(requests) * 1000


async def started(stack: ExitStack | AsyncExitStack, way: str, url: str = "", address: str = "") -> Partner:
    """The partner of a process that has just started."""
    partner = Partner(stack.enter_context(serving(way, url, address)), signals=way != "bare")
    await until_it_listens(partner.port)
    if not address:
        await partner.cost(of_new_runs(100), CONNECTIONS)  # to warm up
    return partner


def _length(head: bytes) -> int:
    return next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))


# --- the CPU of a callback


def store_urls(stack: ExitStack, folder: str) -> dict[str, str]:
    """The URLs of new stores."""
    server = Postgres(Path(folder) / "postgres")
    stack.callback(server.end)
    urls = {"SQLite": f"sqlite:///{folder}/bench.db", "PostgreSQL": server.new_database()}
    for url in urls.values():
        migrations.upgrade(Database(url))
    return urls


async def compare_cpu(rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU for a callback, by connections and way."""
    with ExitStack() as stack:
        urls = store_urls(stack, stack.enter_context(tempfile.TemporaryDirectory()))
        partners = {"bare Starlette": await started(stack, "bare")}
        for name, url in {"up to the verdict": "", **urls}.items():
            partners[name] = await started(stack, "receiver", url)
        found: dict[str, dict[str, float]] = {}
        for connections in (1, CONNECTIONS):
            costs: dict[str, list[float]] = {name: [] for name in partners}
            for _ in range(rounds):
                for name, partner in partners.items():
                    costs[name].append(await partner.cost(of_new_runs(CALLBACKS), connections))
            found[str(connections)] = {name: statistics.median(each) for name, each in costs.items()}
        return found


def show_cpu(found: Mapping[str, Mapping[str, float]]) -> None:
    for connections, costs in found.items():
        for name, cost in costs.items():
            ratio = cost / costs["bare Starlette"]
            print(f"{connections:>3} connections: {name:>17}: {cost:6.3f} ms of CPU, {ratio:5.2f} times bare Starlette")


# --- a burst, with a real Temporal


@dataclass(frozen=True)
class Burst:
    """What became of a burst: callbacks answered and runs settled a second, the 99th percentile of the answers in
    milliseconds, and the receiver's CPU for a callback in milliseconds."""

    answered: float
    p99: float
    settled: float
    cpu: float = 0.0


async def waiting_runs(worker: Measured, number: int) -> list[WorkflowHandle[Any, Any]]:
    """Runs of one stage that wait for its callback."""
    free = asyncio.Semaphore(20)

    async def start() -> WorkflowHandle[Any, Any]:
        stage = {"number": 1, "name": "check", "partner": "sandbox", "timeout": 86_400.0}
        async with free:
            handle = await worker.client.start_workflow(
                PIPELINE_WORKFLOW,
                {"pipeline": {"name": "bench", "stages": [stage]}, "input": {}},
                id=uuid.uuid4().hex,
                task_queue=worker.queue,
            )
            async for event in handle.fetch_history_events(wait_new_event=True):
                if event.HasField("timer_started_event_attributes"):
                    break
            return handle

    return await asyncio.gather(*(start() for _ in range(number)))


async def until_settled(handles: Sequence[WorkflowHandle[Any, Any]]) -> None:
    """Wait until every run has completed. Raises an error for one that has failed."""
    free = asyncio.Semaphore(64)

    async def result(handle: WorkflowHandle[Any, Any]) -> None:
        async with free:
            await handle.result()

    async with asyncio.timeout(120):
        await asyncio.gather(*map(result, handles))


async def through_receiver(partner: Partner, handles: Sequence[WorkflowHandle[Any, Any]]) -> Burst:
    """A burst of callbacks to the receiver."""
    requests = [request(_claims(handle)) for handle in handles]
    before, began = await partner.used(), time.perf_counter()
    waited = await partner.send(requests, CONNECTIONS)
    answered = time.perf_counter() - began
    await until_settled(handles)
    settled = time.perf_counter() - began
    return _burst(waited, answered, settled, cpu=await partner.used() - before)


async def as_signals(client: Client, handles: Sequence[WorkflowHandle[Any, Any]]) -> Burst:
    """A burst of bare signals, each awaited by one of so many callers."""
    waiting, waited = iter(handles), list[float]()
    began = time.perf_counter()

    async def caller() -> None:
        for handle in waiting:
            claims, sent = _claims(handle), time.perf_counter()
            answer = {"status": "succeeded", "data": json.loads(BODY)["data"]}
            callback = {"answer": answer, "chain_id": claims.chain_id, "attempt": 1, "issued_at": claims.issued_at}
            await client.get_workflow_handle(claims.workflow_id).signal(ADVANCE_STAGE, args=[1, callback])
            waited.append(time.perf_counter() - sent)

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    answered = time.perf_counter() - began
    await until_settled(handles)
    return _burst(waited, answered, time.perf_counter() - began)


def _claims(handle: WorkflowHandle[Any, Any]) -> Claims:
    assert handle.first_execution_run_id
    return Claims(handle.id, handle.first_execution_run_id, 1, 1, "sandbox", 1, 2**32)


def _burst(waited: Sequence[float], answered: float, settled: float, cpu: float = 0.0) -> Burst:
    number = len(waited)
    p99 = sorted(waited)[int(number * 0.99)] * 1000
    return Burst(number / answered, p99, number / settled, cpu / number * 1000)


async def compare_bursts(rounds: int, size: int) -> dict[str, Burst]:
    """Bursts by way: medians."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        client = await stack.enter_async_context(temporal(Path(folder)))
        worker = await stack.enter_async_context(working(client, new_tree(), "shipped"))
        address = client.service_client.config.target_host
        url = f"sqlite:///{folder}/bench.db"
        migrations.upgrade(Database(url))
        ways: dict[str, Callable[[Sequence[WorkflowHandle[Any, Any]]], Awaitable[Burst]]] = {
            "bare signals": lambda handles: as_signals(client, handles)
        }
        for name, of_store in {"without a store": "", "SQLite": url}.items():
            partner = await started(stack, "receiver", of_store, address)
            ways[name] = lambda handles, partner=partner: through_receiver(partner, handles)  # type: ignore[misc]
        for way in ways.values():
            await way(await waiting_runs(worker, 50))  # to warm up
        found: dict[str, list[Burst]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                found[name].append(await way(await waiting_runs(worker, size)))
        return {name: _median(bursts) for name, bursts in found.items()}


def _median(bursts: Sequence[Burst]) -> Burst:
    return Burst(*(statistics.median(values) for values in zip(*(vars(one).values() for one in bursts), strict=True)))


def show_bursts(found: Mapping[str, Burst]) -> None:
    signals = found["bare signals"]
    for name, one in found.items():
        print(
            f"{name:>16}: {one.answered:5.0f} answered/s ({one.answered / signals.answered:5.2f}), "
            f"p99 {one.p99:5.0f} ms ({one.p99 / signals.p99:4.2f}), "
            f"{one.settled:4.0f} settled/s ({one.settled / signals.settled:4.2f}), {one.cpu:5.2f} ms of receiver CPU"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--temporal", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--burst", type=int, default=BURST)
    parser.add_argument("--serve", nargs=4)
    args = parser.parse_args()
    if args.serve:
        port, way, url, address = args.serve
        serve(int(port), way, url, address)
    elif args.temporal:
        show_bursts(asyncio.run(compare_bursts(args.rounds, args.burst)))
    else:
        show_cpu(asyncio.run(compare_cpu(args.rounds)))


if __name__ == "__main__":
    main()
