"""`pipeline watch`: it pauses between its looks, says why it cannot see the stages, and sees the run's end."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from activities.run_errors import NoProgressQuery, ProgressUnknown, QueryFailed, WorkerAway
from activities.runs import Runs
from activities.worker import WORKFLOWS
from receiver.cli.demo.stack import stagehook_command
from receiver.cli.pipeline import watching
from receiver.cli.pipeline.watching import LONGEST_PAUSE_SECONDS, LOOK_AGAIN_SECONDS, Snapshot, looks
from tests.parts.patience import NO_WORKER
from tests.support import QUEUE, SOON, ScriptedPartner, stage, start, waiting, working
from tests.workflows.classes import Unstaged
from workflows.contract import Progress

PROGRESS = Progress("testing", "chain", [])
RUNNING, COMPLETED = WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED


class CountingRuns:
    """A run that gives these answers one after the other, and has ended after them; `pauses` are the sleeps between."""

    def __init__(self, answers: Sequence[Progress | ProgressUnknown], last: Progress | ProgressUnknown) -> None:
        self._answers = [*answers, last]
        self._left = len(answers)
        self.pauses: list[float] = []

    async def describe(self, workflow_id: str) -> Any:
        return SimpleNamespace(status=RUNNING if self._left else COMPLETED)

    async def progress(self, workflow_id: str) -> Progress:
        answer = self._answers[-1 - self._left]
        if isinstance(answer, ProgressUnknown):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._left -= 1


async def watched(runs: CountingRuns, monkeypatch: pytest.MonkeyPatch) -> list[Snapshot]:
    monkeypatch.setattr(watching, "asyncio", SimpleNamespace(sleep=runs.sleep))
    return [look async for look in looks(cast(Runs, runs), "run")]


@pytest.mark.parametrize("trouble", [WorkerAway("away"), QueryFailed("failed"), NoProgressQuery("none")])
async def test_a_query_that_fails_at_once_is_asked_with_growing_pauses(
    trouble: ProgressUnknown, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = CountingRuns([trouble] * 8, PROGRESS)
    seen = await watched(runs, monkeypatch)
    assert runs.pauses == [1.0, 2.0, 4.0, *[LONGEST_PAUSE_SECONDS] * 5]
    assert seen[0] == Snapshot("running", None, str(trouble))
    assert seen[-1] == Snapshot("completed", PROGRESS)


async def test_the_pause_is_short_again_when_the_run_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = CountingRuns([PROGRESS, WorkerAway(""), WorkerAway(""), PROGRESS, WorkerAway("")], PROGRESS)
    await watched(runs, monkeypatch)
    assert runs.pauses == [LOOK_AGAIN_SECONDS, 1.0, 2.0, LOOK_AGAIN_SECONDS, 1.0]


async def test_without_the_query_a_run_is_watched_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = CountingRuns([NoProgressQuery("none")], NoProgressQuery("none"))
    assert [look.status for look in await watched(runs, monkeypatch)] == ["running", "completed"]


async def test_an_ended_run_without_a_worker_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkerAway):
        await watched(CountingRuns([], WorkerAway("away")), monkeypatch)


@pytest.mark.system
async def test_a_run_of_another_class_is_watched_by_its_status(real: WorkflowEnvironment) -> None:
    address, namespace = real.client.service_client.config.target_host, real.client.namespace
    env = {**os.environ, "TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": namespace}
    command, piped = stagehook_command("pipeline", "watch", "other", "--json"), asyncio.subprocess.PIPE
    async with working(real.client, ScriptedPartner(), [Unstaged]), asyncio.timeout(3 * SOON):
        handle = await real.client.start_workflow(Unstaged.run, id="other", task_queue=QUEUE)
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=piped, stderr=piped)
        assert process.stdout is not None
        first = await process.stdout.readline()
        await handle.signal(Unstaged.end)
        out, err = await process.communicate()
    assert [json.loads(line) for line in (first, *out.splitlines())] == [
        {"status": "running", "progress": None},
        {"status": "completed", "progress": None},
    ]
    assert err.decode().splitlines() == [
        "the run other is of the type Unstaged, which has no `progress` query; following its status",
        "other completed",
    ]
    assert process.returncode == 0


@pytest.mark.system
async def test_each_reason_for_unknown_progress_is_told_apart(
    real: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(real.client)
    async with working(real.client, ScriptedPartner(), [Unstaged, *WORKFLOWS]):
        await real.client.start_workflow(Unstaged.run, id="other", task_queue=QUEUE)
        await waiting(await start(real.client, stage(1)))
        with pytest.raises(NoProgressQuery, match="the run other is of the type Unstaged"):
            await runs.progress("other")
    async with working(real.client, ScriptedPartner(), [Unstaged]):
        with pytest.raises(QueryFailed, match=r"no worker can execute the run run: .*not registered"):
            await runs.progress("run")
    monkeypatch.setattr("activities.runs.WORKER_ANSWERS_WITHIN", NO_WORKER)
    with pytest.raises(WorkerAway, match="no worker answers for the run run"):
        await runs.progress("run")
