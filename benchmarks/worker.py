"""What a run costs a worker: its CPU for a happy run of four stages, and its memory for a run that waits.

The workers: one as it is shipped, two with every class in the sandbox, which has our modules passed through or imports
them for each run, and one of another commit. Each is a process of its own; all have one Temporal, and partners answer
by signals. A worker keeps the latest 1,000 runs in memory; the others are replayed when something happens to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tempfile
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHandle

from benchmarks.figures import Figure, compared, interleaved
from receiver.cli.demo.processes import Processes, bare_environment, free_port
from tests.parts.happy_runs import GIVEN, answer_each_wait
from tests.parts.temporal import BINARIES, connected
from tests.versions.trees import Tree, new_tree, old_tree
from workflows.contract import PIPELINE_WORKFLOW

ROUNDS: Final = 5
RUNS: Final = 40
"""Runs of a round."""

WAITING: Final = 500
AT_ONCE: Final = 20
SCRIPT: Final = Path(__file__).with_name("worker_process.py")
WAYS: Final = ("shipped", "passed-through", "sandboxed")

STAGES: Final = (
    ("identity-check", {"full_name": "input.full_name", "date_of_birth": "input.date_of_birth"}),
    ("account-check", {"iban": "input.iban", "holder": "identity-check.legal_name"}),
    ("contract", {"signer": "identity-check.legal_name", "check": "identity-check.check_id"}),
    ("card", {"holder": "identity-check.legal_name", "contract": "contract.document_id"}),
)
"""The onboarding, without what an older version does not know."""


@dataclass(frozen=True)
class Measured:
    """A worker process, and the task queue that it works on."""

    process: Process
    queue: str
    client: Client

    async def used(self) -> Mapping[str, float]:
        """The CPU that it has used, and the memory that it holds."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(b"\n")
        used: dict[str, float] = json.loads(await self.process.stdout.readline())
        return used

    async def start_run(self) -> WorkflowHandle[Any, Any]:
        stages = [
            {"number": number, "name": name, "partner": "bench", "timeout": 86_400.0, "needs": needs}
            for number, (name, needs) in enumerate(STAGES, start=1)
        ]
        given = {"pipeline": {"name": "onboarding", "stages": stages}, "input": GIVEN}
        return await self.client.start_workflow(PIPELINE_WORKFLOW, given, id=uuid.uuid4().hex, task_queue=self.queue)

    async def cpu_of_happy_runs(self) -> float:
        """Milliseconds of CPU for a run."""
        before = (await self.used())["cpu"]
        await _at_once(RUNS, self._happy_run)
        return ((await self.used())["cpu"] - before) / RUNS * 1000

    async def _happy_run(self) -> None:
        await answer_each_wait(await self.start_run())


async def _at_once(runs: int, one: Any) -> None:
    free = asyncio.Semaphore(AT_ONCE)

    async def in_turn() -> None:
        async with free:
            await one()

    await asyncio.gather(*(in_turn() for _ in range(runs)))


@asynccontextmanager
async def working(client: Client, tree: Tree, way: str, queue: str = "") -> AsyncIterator[Measured]:
    """A worker process on this task queue; "" for one of its own."""
    address, queue = client.service_client.config.target_host, queue or uuid.uuid4().hex
    process = await asyncio.create_subprocess_exec(
        *(str(tree.python), "-P", str(SCRIPT), address, queue, way),
        cwd=tree.folder,
        env={**bare_environment(), "PYTHONPATH": str(tree.folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Measured(process, queue, client)
    finally:
        with contextlib.suppress(ProcessLookupError):  # a benchmark may have killed it
            process.kill()
        await process.wait()


@asynccontextmanager
async def temporal(folder: Path) -> AsyncIterator[Client]:
    """A server in memory: the disk would be most of the time that the benchmark takes."""
    port = free_port()
    command = [str(BINARIES / "temporal"), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(port)]
    with Processes(folder, grace=10.0) as processes:
        processes.start("temporal", [*command, "--headless", "--log-level", "error"], bare_environment())
        yield await connected(f"127.0.0.1:{port}")


async def measure(old: str = "", rounds: int = ROUNDS) -> list[Figure]:
    """CPU for a happy run, and memory for one that waits. old: a commit to compare with; "" for none."""
    with tempfile.TemporaryDirectory() as folder:
        trees = {way: (new_tree(), way) for way in WAYS}
        if old:
            trees["the old version"] = (old_tree(old, Path(folder)), "shipped")
        async with temporal(Path(folder)) as client, AsyncExitStack() as workers:
            measured = {
                name: await workers.enter_async_context(working(client, tree, way))
                for name, (tree, way) in trees.items()
            }
            for worker in measured.values():
                await worker.cpu_of_happy_runs()  # to warm up
            ways = {name: worker.cpu_of_happy_runs for name, worker in measured.items()}
            cpu = await interleaved(rounds, ways)
            memory = await _memory_of_a_waiting_run(measured["shipped"])
    held = Figure("worker", f"{WAITING} waiting", "shipped", "memory for a run", memory, "KiB")
    return [*compared("worker", "a happy run", "CPU for a run", "ms", cpu, "shipped"), held]


async def _memory_of_a_waiting_run(worker: Measured) -> float:
    """KiB that a waiting run adds to the worker's memory."""
    before = (await worker.used())["memory"]
    await _at_once(WAITING, lambda: _waiting_run(worker))
    return ((await worker.used())["memory"] - before) / WAITING / 1024


async def _waiting_run(worker: Measured) -> None:
    handle = await worker.start_run()
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.HasField("timer_started_event_attributes"):
            return
