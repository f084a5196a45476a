"""What a burst of callbacks waits for, with a real Temporal server and waiting runs, beside bare signals of a client.

A burst comes at 32 connections, through the receiver with a store and without. Single callbacks are timed from their
sending to the end of their run.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHandle

from activities.callback_urls import Claims
from activities.store import migrations
from activities.store.database import Database
from benchmarks.callers import BODY, Caller, callback, started
from benchmarks.figures import Figure, Way, compared, interleaved
from benchmarks.worker import Measured, temporal, working
from tests.versions.trees import new_tree
from workflows.contract import ADVANCE_STAGE, PIPELINE_WORKFLOW

ROUNDS: Final = 2
"""Few: the 800 runs of a burst take half a minute to start."""
SIZE: Final = 800
SINGLE: Final = 20
"""Callbacks of a round that come one after another."""

CONNECTIONS: Final = 32
SIGNALS: Final = "bare signals"
WANTED_CPU: Final = {"without a store": 1.4, "SQLite": 3.0}
"""The most milliseconds of a receiver's CPU for a callback."""

Handles = Sequence[WorkflowHandle[Any, Any]]


@dataclass(frozen=True)
class Burst:
    """What became of a burst: callbacks answered and runs settled a second, the 99th percentile of the answers in
    milliseconds, and the receiver's CPU for a callback in milliseconds."""

    answered: float
    p99: float
    settled: float
    cpu: float = 0.0


async def measure(rounds: int = ROUNDS, size: int = SIZE) -> list[Figure]:
    """The bursts, and single callbacks until their run has ended."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        client = await stack.enter_async_context(temporal(Path(folder)))
        worker = await stack.enter_async_context(working(client, new_tree(), "shipped"))
        callers = await _callers(stack, folder, client.service_client.config.target_host)
        bursts = await _bursts(client, worker, callers, rounds, size)
        single = await interleaved(rounds, _single_ways(client, worker, callers))
        to_the_end = compared("burst", "one by one", "to the run's end", "ms", single, SIGNALS)
        return [*_figures(bursts, f"burst of {size}"), *to_the_end]


async def _callers(stack: AsyncExitStack, folder: str, address: str) -> dict[str, Caller]:
    url = f"sqlite:///{folder}/bench.db"
    migrations.upgrade(Database(url))
    stores = {"without a store": "", "SQLite": url}
    return {name: await started(stack, "receiver", store, address) for name, store in stores.items()}


async def _bursts(
    client: Client, worker: Measured, callers: Mapping[str, Caller], rounds: int, size: int
) -> dict[str, Burst]:
    ways: dict[str, Callable[[Handles], Awaitable[Burst]]] = {SIGNALS: lambda handles: _as_signals(client, handles)}
    for name, caller in callers.items():
        ways[name] = lambda handles, caller=caller: _through_receiver(caller, handles)  # type: ignore[misc]
    for way in ways.values():
        await way(await waiting_runs(worker, 50))  # to warm up
    found: dict[str, list[Burst]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(await way(await waiting_runs(worker, size)))
    return {name: _median(bursts) for name, bursts in found.items()}


def _figures(bursts: Mapping[str, Burst], case: str) -> list[Figure]:
    def of(quantity: str, unit: str, field: str) -> list[Figure]:
        values = {name: float(getattr(burst, field)) for name, burst in bursts.items()}
        return compared("burst", case, quantity, unit, values, SIGNALS)

    cpu = [
        Figure("burst", case, name, "CPU for a callback", bursts[name].cpu, "ms", wanted=wanted)
        for name, wanted in WANTED_CPU.items()
    ]
    return [
        *of("callbacks answered", "/s", "answered"),
        *of("99 of 100 answered within", "ms", "p99"),
        *of("runs settled", "/s", "settled"),
        *cpu,
    ]


# --- runs that wait


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


async def until_settled(handles: Handles) -> None:
    """Wait until every run has completed. Raises an error for one that has failed."""
    free = asyncio.Semaphore(64)

    async def result(handle: WorkflowHandle[Any, Any]) -> None:
        async with free:
            await handle.result()

    async with asyncio.timeout(120):
        await asyncio.gather(*map(result, handles))


def of_run(handle: WorkflowHandle[Any, Any]) -> bytes:
    """The callback that the run waits for."""
    return callback(_claims(handle))


async def signal(client: Client, handle: WorkflowHandle[Any, Any]) -> None:
    """Send the run what the receiver would send it for its callback."""
    claims = _claims(handle)
    answer = {"status": "succeeded", "data": json.loads(BODY)["data"]}
    given = {"answer": answer, "chain_id": claims.chain_id, "attempt": 1, "issued_at": claims.issued_at}
    await client.get_workflow_handle(claims.workflow_id).signal(ADVANCE_STAGE, args=[1, given])


def _claims(handle: WorkflowHandle[Any, Any]) -> Claims:
    assert handle.first_execution_run_id
    return Claims(handle.id, handle.first_execution_run_id, 1, 1, "sandbox", 1, 2**32)


# --- a burst


async def _through_receiver(caller: Caller, handles: Handles) -> Burst:
    requests = [of_run(handle) for handle in handles]
    before, began = await caller.used(), time.perf_counter()
    waited = await caller.send(requests, CONNECTIONS)
    answered = time.perf_counter() - began
    await until_settled(handles)
    settled = time.perf_counter() - began
    return _burst(waited, answered, settled, cpu=await caller.used() - before)


async def _as_signals(client: Client, handles: Handles) -> Burst:
    """Each signal is awaited by one of so many senders."""
    waiting, waited = iter(handles), list[float]()
    began = time.perf_counter()

    async def sender() -> None:
        for handle in waiting:
            sent = time.perf_counter()
            await signal(client, handle)
            waited.append(time.perf_counter() - sent)

    await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
    answered = time.perf_counter() - began
    await until_settled(handles)
    return _burst(waited, answered, time.perf_counter() - began)


def _burst(waited: Sequence[float], answered: float, settled: float, cpu: float = 0.0) -> Burst:
    number = len(waited)
    p99 = sorted(waited)[int(number * 0.99)] * 1000
    return Burst(number / answered, p99, number / settled, cpu / number * 1000)


def _median(bursts: Sequence[Burst]) -> Burst:
    return Burst(*(statistics.median(values) for values in zip(*(vars(one).values() for one in bursts), strict=True)))


# --- one by one


def _single_ways(client: Client, worker: Measured, callers: Mapping[str, Caller]) -> dict[str, Way]:
    def signals() -> Awaitable[float]:
        return _one_by_one(worker, lambda handle: signal(client, handle))

    def through(caller: Caller) -> Way:
        return lambda: _one_by_one(worker, lambda handle: caller.send([of_run(handle)], 1))

    return {SIGNALS: signals} | {name: through(caller) for name, caller in callers.items()}


async def _one_by_one(worker: Measured, answer: Callable[[WorkflowHandle[Any, Any]], Awaitable[object]]) -> float:
    """The median of the milliseconds from a callback's sending to the end of its run."""
    took = []
    for handle in await waiting_runs(worker, SINGLE):
        began = time.perf_counter()
        await answer(handle)
        await handle.result()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)
