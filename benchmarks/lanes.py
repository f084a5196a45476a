"""What 300 calls that hang at one partner cost another partner's runs.

A worker of this version calls two partners over loopback: one takes connections and never answers, the other answers
with the result. Runs of the second are timed alone and beside the calls that hang, in one process of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHandle

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import http_client
from activities.partners import sandbox
from activities.partners.partner import Partner
from activities.worker import Lane, build_worker
from benchmarks.figures import Figure, compared
from benchmarks.receivers import KEY
from benchmarks.worker import temporal
from workflows.contract import PIPELINE_WORKFLOW

HANGING: Final = 300
RUNS: Final = 40
"""Runs of the other partner that are timed, one after another, alone and beside."""

ANSWER: Final = b'{"id": "work-1", "status": "succeeded", "data": {}}'
QUEUE: Final = "bench"
ALONE: Final = "alone"


class Hanging:
    """A partner that takes calls and never answers. `full` is set once so many calls hang as its lane has slots."""

    def __init__(self, slots: int) -> None:
        self._slots, self._taken = slots, 0
        self.full = asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._taken += 1
        if self._taken == self._slots:
            self.full.set()
        await reader.read()
        writer.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request on a connection with the result."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError):  # the worker hangs up at the end
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            length = next(line for line in lines if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(head + ANSWER)


@asynccontextmanager
async def working(client: Client, *partners: Partner) -> AsyncIterator[None]:
    """A worker with a lane for each partner, and connections of its own, as in production."""
    urls = CallbackURLs("http://127.0.0.1:1", [KEY])
    async with http_client() as shared, http_client() as first, http_client() as second:
        lanes = [
            Lane(one, PartnerCalls(http, urls, {one.name: one}))
            for one, http in zip(partners, (first, second), strict=True)
        ]
        calls = PartnerCalls(shared, urls, {one.name: one for one in partners})
        async with build_worker(client, calls, task_queue=QUEUE, lanes=lanes):
            yield


Run = WorkflowHandle[Any, Any]


async def start(client: Client, partner: str) -> Run:
    """Start a run of one stage."""
    stage = {"number": 1, "name": "check", "partner": partner, "timeout": 60.0, "call_timeout": 600.0}
    given = {"pipeline": {"name": "bench", "stages": [stage]}, "input": {}}
    return await client.start_workflow(PIPELINE_WORKFLOW, given, id=uuid.uuid4().hex, task_queue=QUEUE)


async def until_calling(run: Run) -> None:
    """Return once the run's call is scheduled. Until then the worker still has the run's first workflow task to do."""
    while not (await run.describe()).raw_description.pending_activities:  # noqa: ASYNC110 - Temporal tells no event
        await asyncio.sleep(0.05)


async def timed(client: Client) -> list[float]:
    """Seconds from the start of a run to its end, for runs one after another."""
    found = []
    for _ in range(RUNS):
        began = time.perf_counter()
        await (await start(client, "answers")).result()
        found.append(time.perf_counter() - began)
    return found


def partner(name: str, port: int) -> Partner:
    return sandbox.partner(name, Environment({"SANDBOX_URL": f"http://127.0.0.1:{port}"}))


async def measure() -> list[Figure]:
    """Milliseconds from the start of a run to its end, alone and beside the calls that hang."""
    with tempfile.TemporaryDirectory() as folder:
        async with temporal(Path(folder)) as client:
            hanging = Hanging(slots=100)
            mute = await asyncio.start_server(hanging.take, "127.0.0.1", 0)
            quick = await asyncio.start_server(answer, "127.0.0.1", 0)
            hangs = replace(partner("hangs", mute.sockets[0].getsockname()[1]), calls_at_once=100)
            answers = partner("answers", quick.sockets[0].getsockname()[1])
            async with working(client, hangs, answers):
                await timed(client)  # to warm up
                alone = await timed(client)
                runs = [await start(client, "hangs") for _ in range(HANGING)]
                async with asyncio.timeout(120):
                    await asyncio.gather(hanging.full.wait(), *map(until_calling, runs))
                beside = await timed(client)
                mute.close()
                await asyncio.gather(*(one.terminate() for one in runs))
    return [*_figures("a run", alone, beside, 0.5), *_figures("95 of 100 runs within", alone, beside, 0.95)]


def _figures(quantity: str, alone: Sequence[float], beside: Sequence[float], share: float) -> list[Figure]:
    found = {ALONE: alone, f"beside {HANGING} that hang": beside}
    values = {name: sorted(seconds)[int(len(seconds) * share)] * 1000 for name, seconds in found.items()}
    return compared("lanes", "one partner", quantity, "ms", values, ALONE)
