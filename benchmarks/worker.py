"""What a run costs a worker: its CPU for a happy run of four stages, and its memory for a run that waits.

`python -m benchmarks.worker [OLD]`: CPU of a worker as it is shipped, of two with every class in the sandbox, which has
our modules passed through, or imports them for each run, and of one of another commit. Each worker is a process of its
own; all have one Temporal, and partners answer by signals. Rounds are interleaved, and medians compared.

`python -m benchmarks.worker --waiting 1000 10000`: the memory that so many waiting runs add, each. A worker keeps the
latest 1,000 runs; the others cost no memory, and are replayed when something happens to them.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHandle

from receiver.cli.demo.processes import Processes, bare_environment, free_port
from tests.parts.happy_runs import GIVEN, answer_each_wait
from tests.parts.temporal import BINARIES, connected
from tests.versions.trees import NoSuchVersion, Tree, new_tree, old_tree
from workflows.contract import PIPELINE_WORKFLOW

ROUNDS: Final = 5
RUNS: Final = 40
"""Runs of a round."""

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
async def working(client: Client, tree: Tree, way: str) -> AsyncIterator[Measured]:
    address, queue = client.service_client.config.target_host, uuid.uuid4().hex
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


async def compare(old: Tree | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with temporal(Path(folder)) as client, AsyncExitStack() as workers:
            trees = {way: (new_tree(), way) for way in WAYS} | ({"old": (old, "shipped")} if old else {})
            measured = {
                name: await workers.enter_async_context(working(client, tree, way))
                for name, (tree, way) in trees.items()
            }
            found: dict[str, list[float]] = {name: [] for name in measured}
            for worker in measured.values():
                await worker.cpu_of_happy_runs()  # to warm up
            for _ in range(ROUNDS):
                for name, worker in measured.items():
                    found[name].append(await worker.cpu_of_happy_runs())
    shipped = statistics.median(found["shipped"])
    for name, figures in found.items():
        median = statistics.median(figures)
        print(f"{name:>14}: {median:5.1f} ms of a worker's CPU for a run, {median / shipped:.2f} of what is shipped")


async def hold(counts: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with temporal(Path(folder)) as client, working(client, new_tree(), "shipped") as worker:
            await worker.cpu_of_happy_runs()  # to warm up
            before, begun = (await worker.used())["memory"], 0
            for count in sorted(counts):
                await _at_once(count - begun, lambda: _waiting_run(worker))
                begun, held = count, (await worker.used())["memory"] - before
                print(f"{count:6} waiting runs: {held / 2**20:.0f} MiB, {held / count / 1024:.1f} KiB for each")


async def _waiting_run(worker: Measured) -> None:
    handle = await worker.start_run()
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.HasField("timer_started_event_attributes"):
            return


def main(args: Sequence[str]) -> None:
    if args[:1] == ["--waiting"]:
        asyncio.run(hold([int(count) for count in args[1:]]))
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            old = old_tree(args[0], Path(folder)) if args else None
        except NoSuchVersion as error:
            print(f"without the old version: {error}")
            old = None
        asyncio.run(compare(old))


if __name__ == "__main__":
    main(sys.argv[1:])
