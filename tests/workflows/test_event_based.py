"""Temporal's own question, "is it possible to create an event-based workflow?", on the same base class."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from tests.parts.temporal import BINARIES
from tests.support import QUEUE, SOON, skip_time
from tests.workflows.classes import FourSteps
from tests.workflows.four_steps_worker import four_steps_worker
from workflows.contract import ADVANCE_STAGE, PROGRESS, Progress
from workflows.onboarding import ReviewedOnboarding

ALL = ["registered", "verified", "provisioned", "reported"]
PAGE = Path(__file__).parents[2] / "docs" / "event-based.md"


async def begin(env: WorkflowEnvironment) -> WorkflowHandle[Any, list[str]]:
    return await env.client.start_workflow(FourSteps.run, id="four-steps", task_queue=QUEUE)


async def until_waiting(handle: WorkflowHandle[Any, list[str]], stage: int) -> None:
    async with asyncio.timeout(3 * SOON):
        while True:
            progress: Progress = await handle.query(PROGRESS, result_type=Progress)
            if any(known.number == stage and known.state == "waiting" for known in progress.stages):
                return
            await asyncio.sleep(0.05)


async def signal_by_cli(env: WorkflowEnvironment, *arguments: str) -> None:
    where = ["--address", env.client.service_client.config.target_host, "--namespace", env.client.namespace]
    signal = [str(BINARIES / "temporal"), "workflow", "signal", *where, "--workflow-id", "four-steps"]
    process = await asyncio.create_subprocess_exec(
        *signal, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), SOON)
    assert process.returncode == 0, errors


@asynccontextmanager
async def worker_process(env: WorkflowEnvironment) -> AsyncIterator[None]:
    """A worker that is killed, not stopped, when the block ends."""
    where = [env.client.service_client.config.target_host, env.client.namespace]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.workflows.four_steps_worker", *where)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def test_each_event_lets_one_wait_pass(skipping: WorkflowEnvironment) -> None:
    async with four_steps_worker(skipping.client):
        handle = await begin(skipping)
        for stage in (1, 2, 3):
            await until_waiting(handle, stage)
            await handle.signal(ADVANCE_STAGE, stage)
        assert await asyncio.wait_for(handle.result(), SOON) == ALL


async def test_weeks_may_pass_between_events(skipping: WorkflowEnvironment) -> None:
    async with four_steps_worker(skipping.client):
        handle = await begin(skipping)
        for stage in (1, 2, 3):
            await until_waiting(handle, stage)
            await skip_time(skipping, weeks=3)
            await until_waiting(handle, stage)
            await handle.signal(ADVANCE_STAGE, stage)
        assert await asyncio.wait_for(handle.result(), SOON) == ALL


@pytest.mark.system
async def test_the_temporal_cli_drives_it_past_lower_waits(
    real: WorkflowEnvironment,
) -> None:
    async with four_steps_worker(real.client):
        handle = await begin(real)
        await until_waiting(handle, 1)
        await signal_by_cli(real, "--name", ADVANCE_STAGE)
        await signal_by_cli(real, "--name", ADVANCE_STAGE, "--input", '"1"')
        await signal_by_cli(real, "--name", "advance_stages", "--input", "1")
        await until_waiting(handle, 1)
        await signal_by_cli(real, "--name", ADVANCE_STAGE, "--input", "3")
        assert await asyncio.wait_for(handle.result(), SOON) == ALL


@pytest.mark.fault
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kills", [1, 2])
async def test_a_worker_may_be_killed_between_stages(real: WorkflowEnvironment, kills: int) -> None:
    handle = await begin(real)
    for stage in range(1, kills + 1):
        async with worker_process(real):
            await until_waiting(handle, stage)
        await signal_by_cli(real, "--name", ADVANCE_STAGE, "--input", str(stage))
    async with worker_process(real):
        for stage in range(kills + 1, 4):
            await until_waiting(handle, stage)
            await handle.signal(ADVANCE_STAGE, stage)
        assert await asyncio.wait_for(handle.result(), 3 * SOON) == ALL


@pytest.mark.parametrize("shown", [FourSteps, ReviewedOnboarding])
def test_the_page_shows_the_class_that_is_tested(shown: type) -> None:
    assert inspect.getsource(shown) in PAGE.read_text()
