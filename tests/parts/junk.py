"""Signals that mean nothing, until a run continues as new."""

from __future__ import annotations

import asyncio

from temporalio.testing import WorkflowEnvironment

from tests.support import (
    SOON,
    Handle,
)
from workflows.contract import ADVANCE_STAGE


async def junk_until_continued(env: WorkflowEnvironment, handle: Handle) -> None:
    latest = env.client.get_workflow_handle(handle.id)
    for n in range(40):
        await latest.signal(ADVANCE_STAGE, f"junk-{n}")
    async with asyncio.timeout(SOON):
        while (await latest.describe()).run_id == handle.first_execution_run_id:
            await asyncio.sleep(0.05)
