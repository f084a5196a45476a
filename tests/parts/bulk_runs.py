"""Runs of two partners that wait, for commands that act on many."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from temporalio.testing import WorkflowEnvironment

from activities.finding import RunFilter
from activities.listing import count_runs
from activities.runs import Runs
from tests.support import QUEUE, RUN_TIMEOUT, Handle, pipeline, progress_of, stage, waiting
from workflows.contract import Stage


async def begin_waiting(env: WorkflowEnvironment, name: str, *stages: Stage) -> Handle:
    """Start a run of this id, and wait until its first stage waits."""
    definition = replace(pipeline(*stages), name="testing")
    handle = await Runs(env.client).start(definition, {}, task_queue=QUEUE, workflow_id=name)
    await waiting(handle)
    return handle


async def begin_of(env: WorkflowEnvironment, partner: str, count: int) -> list[Handle]:
    """Start so many runs whose first stage waits for the partner, until Temporal lists all of them."""
    names = [f"{partner}-{number}" for number in range(1, count + 1)]
    begun = await asyncio.gather(*(begin_waiting(env, name, stage(1, partner=partner), stage(2)) for name in names))
    await until_listed(env, RunFilter(partner=partner), count)
    return list(begun)


async def until_listed(env: WorkflowEnvironment, where: RunFilter, count: int) -> None:
    """Wait until Temporal finds so many runs: it lists a run a moment after it has changed."""
    async with asyncio.timeout(RUN_TIMEOUT):
        while sum((await count_runs(Runs(env.client), where)).values()) != count:
            await asyncio.sleep(0.05)


async def ledger_of(handle: Handle, number: int = 1) -> list[tuple[str, str]]:
    """What operators did with the stage, and why."""
    found = next(one for one in (await progress_of(handle)).stages if one.number == number)
    return [(entry.what, entry.why) for entry in found.ledger]
