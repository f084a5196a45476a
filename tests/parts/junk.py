"""Signals that mean nothing, until a run continues as new."""

from __future__ import annotations

import asyncio

from temporalio.testing import WorkflowEnvironment

from tests.support import RUN_TIMEOUT, Handle
from workflows.contract import ADVANCE_STAGE


async def junk_until_continued(env: WorkflowEnvironment, handle: Handle) -> int:
    """Send signals one by one, so that the next execution begins with few events; return their number."""
    latest = env.client.get_workflow_handle(handle.id)
    async with asyncio.timeout(RUN_TIMEOUT):
        sent = 0
        while (await latest.describe()).run_id == handle.first_execution_run_id:
            await latest.signal(ADVANCE_STAGE, f"junk-{sent}")
            sent += 1
    return sent
