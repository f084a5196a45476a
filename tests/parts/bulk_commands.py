"""Bulk commands on runs that wait, and the state files that they write."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.finding import RunFilter
from activities.runs import Runs
from receiver.cli.pipeline.bulk import running, telling
from receiver.cli.pipeline.bulk.planning import BulkPlan
from tests.commands import Done
from tests.parts.bulk_runs import begin_of, until_listed
from tests.parts.told import told
from tests.support import (
    QUEUE,
    SOON,
    Handle,
    ScriptedPartner,
    call_back,
    failure_of,
    stage,
    waiting,
)
from tests.support import pipeline as definition_of
from tests.workflows.classes import AtOnce
from workflows.contract import Answer, StageCall
from workflows.pipelines import REVIEWED_ONBOARDING

REVIEWED = REVIEWED_ONBOARDING.name
WHY = ("--reason", "the bank is down", "--actor", "ada")


async def bulk(env: WorkflowEnvironment, *words: str, **more: Any) -> Done:
    return await told(env, "pipeline", "bulk", *words, **more)


def state_of(folder: Path) -> Path:
    [file] = folder.glob("*.jsonl")
    return file


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def results_in(folder: Path) -> int:
    """How many results the state file has, if there is one."""
    return sum(file.read_text().count('"result"') for file in folder.glob("*.jsonl"))


def without_results(file: Path, kept: int = 0) -> None:
    """As if the process had been killed before it wrote more results than this."""
    lines = file.read_text().splitlines(keepends=True)
    plan = [line for line in lines if '"result"' not in line]
    file.write_text("".join([*plan, *[line for line in lines if '"result"' in line][:kept]]))


def call_of(partner: ScriptedPartner, handle: Handle) -> StageCall:
    return next(call for call in partner.calls if call.workflow_id == handle.id)


async def failed_runs_of(env: WorkflowEnvironment, partner: ScriptedPartner, count: int) -> list[Handle]:
    """So many runs that failed because the bank declined."""
    handles = await begin_of(env, "bank", count)
    for handle in handles:
        await call_back(handle, call_of(partner, handle), Answer("failed", code="declined"))
        await failure_of(handle)
    await until_listed(env, RunFilter(status="failed"), count)
    return handles


async def side_by_side(env: WorkflowEnvironment) -> Handle:
    """A run whose stages of two partners wait at the same time."""
    stages = definition_of(stage(1, partner="bank"), stage(2, partner="post"), stage(3))
    begun = await Runs(env.client).start(
        stages, {}, task_queue=QUEUE, workflow_id="both", workflow_type=AtOnce.__name__
    )
    await waiting(begun, 1)
    await waiting(begun, 2)
    return begun


async def causes_of(handle: Handle) -> AsyncIterator[str]:
    """Why its cancellation was requested, by its history."""
    async for event in handle.fetch_history_events():
        if event.HasField("workflow_execution_cancel_requested_event_attributes"):
            yield event.workflow_execution_cancel_requested_event_attributes.cause


class Listed:
    """Holds a command back between its list and its first action."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._listed, self._open = threading.Event(), threading.Event()

        def tell(plan: BulkPlan, *, as_json: bool) -> None:
            telling.tell_plan(plan, as_json=as_json)
            self._listed.set()
            self._open.wait(3 * SOON)

        monkeypatch.setattr(running, "tell_plan", tell)

    @asynccontextmanager
    async def before_acting(self, sending: Awaitable[Done]) -> AsyncIterator[asyncio.Task[Done]]:
        """What the block does comes between the list and the actions of the command."""
        task = asyncio.ensure_future(sending)
        assert await asyncio.to_thread(self._listed.wait, 3 * SOON)
        try:
            yield task
        finally:
            self._open.set()
            await task
