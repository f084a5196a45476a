"""Listing and counting runs, and what each of many runs waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from activities.client import TemporalUnreachable
from activities.finding import AttributesOff, RunFilter, failed_since, missing_attributes, runs_query
from activities.run_errors import ProgressUnknown, RunNotFound
from activities.run_status import call_trouble, status_name
from activities.runs import Runs
from workflows.contract import StageProgress
from workflows.finding import OPEN_STATES

MOST_FAILED: Final = 500
"""Failed runs whose failures are read: each costs a request."""

AT_ONCE: Final = 16
"""Requests for single runs that are on their way together."""

WAITS_TOLD_WITHIN: Final = 5.0
"""Seconds without an answer of any run, after which no other run is asked what it waits for."""

MOST_FOR_A_RUN: Final = 0.05
"""Seconds that each listed run adds to these, where some runs answer and others do not. A busy worker needs 20 ms."""


@dataclass(frozen=True)
class OpenStages:
    """What a run's search attributes say of its open stages, whether or not a worker answers.

    state: the most urgent; `calling` is not told apart from `waiting`. deadline: the earliest, in unix seconds.
    """

    state: str
    stages: Sequence[str]
    partners: Sequence[str]
    deadline: float | None


@dataclass(frozen=True)
class Run:
    """A run as Temporal lists it. open_stages: only of `waiting_runs`. task_queue: that of its workflow tasks."""

    workflow_id: str
    run_id: str
    pipeline: str
    status: str
    started_at: datetime
    closed_at: datetime | None
    open_stages: OpenStages | None = None
    task_queue: str = ""


@dataclass(frozen=True)
class Wait:
    """An open stage of a run.

    since: when its call began; deadline: of its partner or of the person; unix seconds, None if there is none.
    attempt: the number of its calls. trouble: the last thing that went wrong with it, or "".
    """

    number: int
    stage: str
    partner: str
    state: str
    since: float | None
    deadline: float | None
    attempt: int
    trouble: str


@dataclass(frozen=True)
class FailedRun:
    """A run that has failed, and why in one line."""

    run: Run
    failure: str


@dataclass(frozen=True)
class FailedRuns:
    """The failed runs with a text in their failure. read: the runs whose failure was read. is_cut: there are more."""

    found: Sequence[FailedRun]
    read: int
    is_cut: bool


async def list_runs(runs: Runs, *, limit: int = 50, where: RunFilter | None = None) -> list[Run]:
    """The latest runs, newest first.

    Raises for a filter that needs search attributes: `AttributesOff`, and what `missing_attributes` does.
    """
    async with finding_query(runs, where or RunFilter()) as query:
        return [await _run(found) async for found in runs.client.list_workflows(query, limit=limit)]


async def list_page(runs: Runs, where: RunFilter, *, size: int, token: bytes | None) -> tuple[list[Run], bytes | None]:
    """A page of the runs, newest first, and the token of the next page; None after the last.

    token: of this page, None for the first. Raises like `list_runs`.
    """
    async with finding_query(runs, where) as query:
        pages = runs.client.list_workflows(query, page_size=size, next_page_token=token)
        await pages.fetch_next_page()
        return [await _run(found) for found in pages.current_page or ()], pages.next_page_token


async def count_runs(runs: Runs, where: RunFilter) -> Mapping[str, int]:
    """The number of runs by status; raises like `list_runs`."""
    async with finding_query(runs, where) as query:
        counted = await runs.client.count_workflows(f"{query} GROUP BY ExecutionStatus")
    return {_status(group.group_values[0]): group.count for group in counted.groups}


async def waits_of(runs: Runs, listed: Iterable[Run]) -> dict[str, Sequence[Wait] | None]:
    """What each open run waits for, by run id; None for a run that does not say it.

    Asking ends if no run has answered for 5 s, and at the latest 5 s and 50 ms for each run after it began.
    By run id, because an ended run may have the workflow id of an open one.
    """
    free, now = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop().time
    heard_at = now()

    async def ask(run: Run) -> Sequence[Wait] | None:
        nonlocal heard_at
        async with free:
            found = await _waits(runs, run.workflow_id)
        if found is not None:
            heard_at = now()
        return found

    tasks = {run.run_id: asyncio.create_task(ask(run)) for run in listed}
    ends_at, late = now() + WAITS_TOLD_WITHIN + MOST_FOR_A_RUN * len(tasks), set(tasks.values())
    while late and (left := min(ends_at, heard_at + WAITS_TOLD_WITHIN) - now()) > 0:
        _, late = await asyncio.wait(late, timeout=left)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return {id_: None if task.cancelled() else task.result() for id_, task in tasks.items()}


async def failed_runs(runs: Runs, text: str, since: datetime) -> FailedRuns:
    """The runs that have failed since, with this text in their failure, in any case of letters.

    The latest 500 are read at most.
    """
    async with runs.reaching():
        found = runs.client.list_workflows(runs_query(failed_since(since)), limit=MOST_FAILED + 1)
        listed = [await _run(one) async for one in found]
    free = asyncio.Semaphore(AT_ONCE)

    async def failure(run: Run) -> FailedRun | None:
        async with free:
            try:
                return FailedRun(run, await runs.failure(run.workflow_id, run.run_id))
            except RunNotFound:
                return None  # Temporal has deleted it since

    read = [one for one in await asyncio.gather(*map(failure, listed[:MOST_FAILED])) if one]
    matching = [one for one in read if text.casefold() in one.failure.casefold()]
    return FailedRuns(matching, len(read), len(listed) > MOST_FAILED)


@asynccontextmanager
async def finding_query(runs: Runs, where: RunFilter) -> AsyncIterator[str]:
    """The visibility query of a filter, while Temporal is asked; raises like `list_runs`."""
    async with runs.reaching():
        if where.needs_attributes:
            await _check_attributes(runs.client)
        yield runs_query(where.query())


async def _check_attributes(client: Client) -> None:
    if missing := await missing_attributes(client):
        names = ", ".join(key.name for key in missing)
        raise AttributesOff(f"the namespace {client.namespace} lacks the search attributes {names}")


async def _run(found: WorkflowExecution) -> Run:
    memo = await found.memo()
    return Run(
        workflow_id=found.id,
        run_id=found.run_id,
        pipeline=str(memo.get("pipeline", "")),
        status=status_name(found.status),
        started_at=found.start_time,
        closed_at=found.close_time,
        task_queue=found.task_queue,
    )


def _status(value: Any) -> str:
    """A status as a count's group says it: as a number or by Temporal's word."""
    words = {status.name.replace("_", "").casefold(): status for status in WorkflowExecutionStatus}
    if isinstance(value, int):
        return status_name(WorkflowExecutionStatus(value))
    return status_name(words.get(str(value).replace("_", "").casefold()))


async def _waits(runs: Runs, workflow_id: str) -> Sequence[Wait] | None:
    try:
        progress = await runs.progress(workflow_id)
        stages = [stage for stage in progress.stages if stage.state in OPEN_STATES]
        calling = any(stage.state == "calling" for stage in stages)
        trouble = next(iter(call_trouble(await runs.describe(workflow_id))), "") if calling else ""
    # Also TypeError: the run may be another program's, and its answer not of our form.
    except (ProgressUnknown, RunNotFound, TemporalUnreachable, RPCError, TypeError):
        return None
    urgent = sorted(stages, key=lambda stage: OPEN_STATES.index(stage.state))
    return [_wait(stage, trouble if stage.state == "calling" else "") for stage in urgent]


def _wait(stage: StageProgress, trouble: str) -> Wait:
    said = ": ".join(filter(None, (stage.code or stage.trouble, stage.message)))
    return Wait(
        number=stage.number,
        stage=stage.name,
        partner=stage.partner,
        state=stage.state,
        since=stage.called_at,
        deadline=stage.deadline,
        attempt=stage.attempts,
        trouble=trouble or said or stage.note,
    )
