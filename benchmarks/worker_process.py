"""A worker of this or an older version: `python -P worker_process.py ADDRESS QUEUE WAY`; WAY is in `runner`.

For each line on stdin it says what CPU it has used, in seconds, and what memory it holds, in bytes. The old version's
interpreter runs this file too, so it imports nothing but what both versions have.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack

from temporalio import activity
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.worker import WORKFLOWS, workflow_runner
from workflows.contract import Receipt, StageCall


@activity.defn
async def call_partner(call: StageCall) -> Receipt:
    return Receipt(reference=f"work-{call.stage}")


def runner(way: str) -> WorkflowRunner:
    passed_through = {
        "passed-through": ["workflows"],
        "sandboxed": ["workflows.contract", "workflows.nesting"],  # until 0.2
    }
    if way == "shipped":
        return workflow_runner()
    default = SandboxRestrictions.default
    return SandboxedWorkflowRunner(restrictions=default.with_passthrough_modules(*passed_through[way]))


def lanes(queue: str) -> list[str]:
    """The task queues of the calls that benchmarks make; none in a version before lanes."""
    try:
        from workflows.lanes import call_lane
    except ImportError:
        return []
    return [call_lane(queue, name) for name in ("bench", "sandbox")]


def used() -> str:
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return json.dumps({"cpu": time.process_time(), "memory": resident})


async def main(address: str, queue: str, way: str) -> None:
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)))  # it would log to stdout
    client = await Client.connect(address)
    loop = asyncio.get_running_loop()
    activities = [call_partner]
    async with AsyncExitStack() as stack:
        for lane in lanes(queue):
            await stack.enter_async_context(Worker(client, task_queue=lane, activities=activities))
        await stack.enter_async_context(
            Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=activities, workflow_runner=runner(way))
        )
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(used(), flush=True)
        os._exit(0)  # the interpreter's own teardown may crash after a Temporal core was used


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
