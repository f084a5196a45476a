"""A flood of signals from a process of its own, which takes no time from the worker that has to bear it.

`python -m tests.flood ADDRESS NAMESPACE WORKFLOW_ID`: 10,500 signals that mean nothing, without a pause.
"""

from __future__ import annotations

import asyncio
import sys

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from receiver.cli import end_process
from workflows.contract import ADVANCE_STAGE

BATCHES, AT_ONCE = 105, 100
REFUSED_FOR = 90.0
"""Seconds that a run which has reached Temporal's limit may refuse signals until it has continued as new."""


async def persist(handle: WorkflowHandle[object, object], argument: object) -> None:
    """Signal until it is taken."""
    async with asyncio.timeout(REFUSED_FOR):
        while True:
            try:
                await handle.signal(ADVANCE_STAGE, argument)
                return
            except RPCError as error:
                if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                    raise
                await asyncio.sleep(0.1)


async def main(address: str, namespace: str, workflow_id: str) -> None:
    client = await Client.connect(address, namespace=namespace)
    handle = client.get_workflow_handle(workflow_id)
    for batch in range(BATCHES):
        await asyncio.gather(*(persist(handle, f"junk-{batch}-{n}") for n in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    end_process(0)
