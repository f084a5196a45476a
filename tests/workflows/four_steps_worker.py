"""A worker for FourSteps, as a process of its own: `python -m tests.workflows.four_steps_worker ADDRESS`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from activities.worker import workflow_runner
from tests.support import QUEUE
from tests.workflows.classes import FourSteps


@activity.defn
async def register() -> str:
    return "registered"


@activity.defn
async def verify() -> str:
    return "verified"


@activity.defn
async def provision() -> str:
    return "provisioned"


@activity.defn
async def report() -> str:
    return "reported"


STEPS: list[Callable[..., object]] = [register, verify, provision, report]


def four_steps_worker(client: Client) -> Worker:
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[FourSteps],
        activities=STEPS,
        workflow_runner=workflow_runner(),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    )


async def main(address: str, namespace: str) -> None:
    await four_steps_worker(await Client.connect(address, namespace=namespace)).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
