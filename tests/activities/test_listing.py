"""Lists of runs, and what each waits for, on the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowFailureError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities import listing
from activities.finding import RunFilter, register_attributes
from activities.listing import Run, count_runs, failed_runs, list_runs, waits_of
from activities.run_errors import RunNotFound
from activities.runs import Runs
from tests.support import (
    QUEUE,
    RUN_TIMEOUT,
    Handle,
    ScriptedPartner,
    call_back,
    operate,
    pipeline,
    result_of,
    stage,
    until,
    waiting,
    working,
)
from workflows.contract import PIPELINE_WORKFLOW, PROGRESS, Progress, Stage

AN_HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
async def runs(real: WorkflowEnvironment) -> Runs:
    await register_attributes(real.client)
    return Runs(real.client)


async def begin_one(runs: Runs, name: str, *stages: Stage) -> Handle:
    definition = replace(pipeline(*stages), name=name)
    return await runs.start(definition, {}, task_queue=QUEUE, workflow_id=f"run-of-{name}")


async def eventually_is(look: Callable[[], Awaitable[object]], expected: object) -> None:
    """Temporal lists a run a moment after it has changed."""
    async with asyncio.timeout(RUN_TIMEOUT):
        while await look() != expected:
            await asyncio.sleep(0.05)


async def ids(runs: Runs, where: RunFilter) -> set[str]:
    return {run.workflow_id for run in await list_runs(runs, where=where)}


async def test_waiting_stage_and_due_choose_open_runs(runs: Runs) -> None:
    partner = ScriptedPartner()
    async with working(runs.client, partner):
        done = await begin_one(runs, "done", stage(1, timeout=7200.0, name="late"))
        await waiting(done)
        await call_back(done, partner.calls[0])
        await result_of(done)
        await waiting(await begin_one(runs, "later", stage(1, timeout=7200.0, name="late")))
        await waiting(await begin_one(runs, "sooner", stage(1, timeout=600.0, name="soon")))
        soon = datetime.now(UTC) + timedelta(hours=1)
        await eventually_is(lambda: ids(runs, RunFilter(waiting=True)), {"run-of-later", "run-of-sooner"})
        await eventually_is(lambda: ids(runs, RunFilter(stage="late")), {"run-of-later"})
        await eventually_is(lambda: ids(runs, RunFilter(due=soon)), {"run-of-sooner"})
        await eventually_is(lambda: ids(runs, RunFilter(status="completed", since=AN_HOUR_AGO)), {"run-of-done"})
        await eventually_is(lambda: ids(runs, RunFilter(since=soon)), set[str]())
        await eventually_is(lambda: count_runs(runs, RunFilter()), {"running": 2, "completed": 1})
        assert await count_runs(runs, RunFilter(stage="late")) == {"running": 1}


async def test_status_and_since_need_no_search_attributes(real: WorkflowEnvironment) -> None:
    assert await list_runs(Runs(real.client), where=RunFilter(status="failed", since=AN_HOUR_AGO)) == []
    assert await count_runs(Runs(real.client), RunFilter(status="failed")) == {}


async def test_a_wait_says_for_whom_and_what_went_wrong(runs: Runs) -> None:
    async with working(runs.client, ScriptedPartner()):
        escalating = await begin_one(
            runs, "escalates", stage(1, timeout=0.5, on_timeout="escalate", escalate_within=60.0), stage(2)
        )
        await until(escalating, 1, lambda one: one.state == "needs_person")
        waits = await waits_of(runs, [listed(escalating)])
    (wait,) = waits[listed(escalating).run_id] or []
    assert (wait.number, wait.stage, wait.partner, wait.state, wait.attempt) == (
        1,
        "step-1",
        "partner-1",
        "needs_person",
        1,
    )
    assert wait.since is not None
    assert wait.deadline is not None
    assert wait.deadline > wait.since
    assert "timeout" in wait.trouble


async def test_without_a_worker_the_waits_are_not_known(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "WAITS_TOLD_WITHIN", 0.5)
    handle = await begin_one(runs, "idle", stage(1))
    assert await waits_of(runs, [listed(handle)]) == {listed(handle).run_id: None}


class Slow(Runs):
    """Runs whose worker answers one after another; `mute` are those that it does not answer for."""

    def __init__(self, pause: float, mute: Collection[str] = ()) -> None:
        self.pause, self.mute, self.turn = pause, mute, asyncio.Lock()

    async def progress(self, workflow_id: str) -> Progress:
        if workflow_id in self.mute:
            await asyncio.Event().wait()
        async with self.turn:
            await asyncio.sleep(self.pause)
        return Progress("testing", "chain", [])


def listed_runs(count: int) -> list[Run]:
    return [Run(f"run-{n}", str(n), "", "running", datetime.now(UTC), None) for n in range(count)]


async def test_a_busy_worker_is_heard_to_the_last_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """All together take longer than a worker may be silent."""
    monkeypatch.setattr(listing, "WAITS_TOLD_WITHIN", 2.0)
    monkeypatch.setattr(listing, "MOST_FOR_A_RUN", 10.0)
    waits = await waits_of(Slow(0.1), listed_runs(40))
    assert list(waits.values()) == [[]] * 40


async def test_runs_that_do_not_answer_do_not_hold_up_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although another run answers now and then, and so often that the worker is never silent."""
    monkeypatch.setattr(listing, "WAITS_TOLD_WITHIN", 1.0)
    monkeypatch.setattr(listing, "MOST_FOR_A_RUN", 0.0)
    async with asyncio.timeout(3.0):
        waits = await waits_of(Slow(0.1, mute=["run-0"]), listed_runs(1000))
    assert waits["0"] is None
    assert waits["1"] == []
    assert waits["999"] is None


@workflow.defn(name=PIPELINE_WORKFLOW)
class Foreign:
    """A run of another program, whose answer to the query has another form."""

    @workflow.run
    async def run(self, _: dict[str, Any]) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query(name=PROGRESS)
    def progress(self) -> Any:
        return ["not", "a", "progress"]


async def test_an_answer_of_another_form_does_not_end_the_list(runs: Runs) -> None:
    without = UnsandboxedWorkflowRunner()
    async with Worker(runs.client, task_queue=QUEUE, workflows=[Foreign], workflow_runner=without):
        handle = await begin_one(runs, "foreign", stage(1))
        assert await waits_of(runs, [listed(handle)]) == {listed(handle).run_id: None}


async def test_failures_are_found_by_their_text(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(runs.client, ScriptedPartner()):
        for name in ("first", "second"):
            handle = await begin_one(runs, name, stage(1))
            await waiting(handle)
            await operate(handle, "fail", reason=f"the {name} was wrong")
            with pytest.raises(WorkflowFailureError):
                await result_of(handle)
        await eventually_is(lambda: count_runs(runs, RunFilter(status="failed")), {"failed": 2})
    found = await failed_runs(runs, "The FIRST was", AN_HOUR_AGO)
    assert [one.run.workflow_id for one in found.found] == ["run-of-first"]
    assert (found.read, found.is_cut) == (2, False)
    assert (await failed_runs(runs, "wrong", datetime.now(UTC) + timedelta(hours=1))).read == 0
    with monkeypatch.context() as patched:
        patched.setattr(Runs, "failure", lambda *args: _failure_unless_deleted("run-of-second", *args))
        left = await failed_runs(runs, "wrong", AN_HOUR_AGO)
    assert [one.run.workflow_id for one in left.found] == ["run-of-first"]
    monkeypatch.setattr(listing, "MOST_FAILED", 1)
    cut = await failed_runs(runs, "wrong", AN_HOUR_AGO)
    assert (cut.read, cut.is_cut) == (1, True)


FAILURE = Runs.failure


async def _failure_unless_deleted(deleted: str, runs: Runs, workflow_id: str, run_id: str) -> str:
    """As the server answers for a run that it has deleted since it listed it."""
    if workflow_id == deleted:
        raise RunNotFound(workflow_id)
    return await FAILURE(runs, workflow_id, run_id)


def listed(handle: Handle) -> Run:
    assert handle.first_execution_run_id
    return Run(handle.id, handle.first_execution_run_id, "", "running", datetime.now(UTC), None)
