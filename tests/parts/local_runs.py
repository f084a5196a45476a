"""Runs on a local system, and their stages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from temporalio.client import Client

from activities.runs import Runs
from tests.local_stack import Local
from tests.parts.endings import said
from workflows.contract import PIPELINE_WORKFLOW, StageCall


def begin(local: Local, workflow_id: str, *stages: dict[str, Any], signer: str = "play:never") -> None:
    """Start a run of these stages; what they do not say is as it is for each."""
    numbered = [
        {"number": number, "name": f"step-{number}", "timeout": 600, **stage} for number, stage in enumerate(stages, 1)
    ]
    given = {"pipeline": {"name": "telling", "stages": numbered}, "input": {"signer": signer}}

    async def start() -> None:
        client = await Client.connect(local.stack.address)
        await client.start_workflow(PIPELINE_WORKFLOW, given, id=workflow_id, task_queue="stagehook")

    asyncio.run(start())


def until(local: Local, workflow_id: str, number: int, holds: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        shown = said(local.command("pipeline", "show", workflow_id, "--json"))["progress"]["stages"]
        if holds(shown[number - 1]):
            return
        time.sleep(0.1)
    raise AssertionError(f"stage {number} of {workflow_id} is not as expected")


def call_of(local: Local, workflow_id: str, stage: int) -> StageCall:
    async def find() -> StageCall:
        call, _ = await Runs(await Client.connect(local.stack.address)).latest_call(workflow_id, stage)
        return call

    return asyncio.run(find())
