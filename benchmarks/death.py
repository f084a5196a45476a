"""How long a run stands still after its worker was killed: the seconds from its callback's signal to its end.

Two workers share a task queue. Temporal gives the next task of a waiting run to the worker that keeps the run in
memory, and to the other one only when the first has not taken it for some seconds.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHandle

from benchmarks import burst
from benchmarks.figures import Figure, compared
from benchmarks.worker import temporal, working
from tests.versions.trees import new_tree

ROUNDS: Final = 3
ALIVE: Final = "both workers live"


async def measure(rounds: int = ROUNDS) -> list[Figure]:
    """The medians with both workers alive, and with the run's worker killed before its callback."""
    with tempfile.TemporaryDirectory() as folder:
        async with temporal(Path(folder)) as client:
            found: dict[str, list[float]] = {ALIVE: [], "its worker was killed": []}
            for _ in range(rounds):
                for killing, values in zip((False, True), found.values(), strict=True):
                    values.append(await _from_signal_to_end(client, killing=killing))
    medians = {name: statistics.median(values) for name, values in found.items()}
    return compared("death", "two workers", "from callback to end", "s", medians, ALIVE)


async def _from_signal_to_end(client: Client, *, killing: bool) -> float:
    queue = uuid.uuid4().hex
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(working(client, new_tree(), "shipped", queue=queue)) for _ in range(2)
        ]
        for worker in workers:
            await worker.used()  # it has started
        (handle,) = await burst.waiting_runs(workers[0], 1)
        if killing:
            os.kill(await _keeper(handle), signal.SIGKILL)
        began = time.perf_counter()
        await burst.signal(client, handle)
        await handle.result()
        return time.perf_counter() - began


async def _keeper(handle: WorkflowHandle[Any, Any]) -> int:
    """The process id of the worker that keeps the run: it has taken the latest of its tasks."""
    (*_, last) = [
        event.workflow_task_started_event_attributes.identity
        async for event in handle.fetch_history_events()
        if event.HasField("workflow_task_started_event_attributes")
    ]
    return int(last.partition("@")[0])
