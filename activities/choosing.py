"""Choosing runs for an operator who acts on many: which runs a filter finds, and which of their stages it is about."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf
from typing import Final, TypeVar

from temporalio.service import RPCError

from activities.finding import RunFilter
from activities.listing import AT_ONCE, Run, count_runs, failed_runs, list_runs
from activities.run_errors import ProgressUnknown, RunNotFound, WorkerAway
from activities.runs import Runs

T = TypeVar("T")

RunsLookedAt = Callable[[int], AbstractContextManager[Callable[[], None]]]
"""Makes a context for so many runs; it gives the function to call for each run that was looked at."""

MOST_SILENT: Final = AT_ONCE
"""Runs in a row for which no worker answers, each for 5 s, after which no other run is asked."""

MOVED_ON: Final = "no open stage matches"
SILENT: Final = "no answer to the question what is waited for"
REPLACED: Final = "resumed or started again since"
"""Why a run that Temporal lists is left out."""


def unwatched(_: int) -> AbstractContextManager[Callable[[], None]]:
    """A `RunsLookedAt` that shows nothing."""
    return nullcontext(lambda: None)


@dataclass(frozen=True)
class ChosenStage:
    """An open stage as it was listed. attempt, called_at: its call; 0 and None before the first. Unix seconds."""

    number: int
    name: str
    partner: str
    state: str
    attempt: int
    called_at: float | None = None
    deadline: float | None = None


@dataclass(frozen=True)
class ChosenRun:
    """A run as it was listed. chain_id: "" if only this execution is meant. stages: those that the filter is about."""

    workflow_id: str
    run_id: str
    pipeline: str
    status: str
    chain_id: str = ""
    stages: Sequence[ChosenStage] = field(default_factory=tuple)


@dataclass(frozen=True)
class Chosen:
    """The runs that were chosen. total: all that Temporal finds. left_out: how many of those looked at, and why."""

    runs: Sequence[ChosenRun]
    total: int
    left_out: Mapping[str, int]


async def choose_open_runs(
    runs: Runs, where: RunFilter, *, limit: int, with_stages: bool = True, watch: RunsLookedAt = unwatched
) -> Chosen:
    """Find the latest open runs that match, and ask each which of its open stages match.

    The runs come in the order of their deadlines: an action on many takes minutes, and the next deadline may not wait.
    with_stages: without it, no run is asked, and each that Temporal finds is chosen.
    Raises what `list_runs` does; `WorkerAway` if many runs in a row do not answer.
    """
    where = replace(where, status="running")
    listed = await list_runs(runs, limit=limit, where=where)
    silent = 0

    async def ask(run: Run) -> ChosenRun | str:
        nonlocal silent
        try:
            found = await (_stages(runs, run, where) if with_stages else _whole(runs, run))
        except WorkerAway:
            silent += 1
            if silent >= MOST_SILENT:
                raise
            return SILENT
        # Also TypeError: the run may be another program's, and its answer not of our form.
        except (ProgressUnknown, RunNotFound, RPCError, TypeError):
            return SILENT
        silent = 0
        return found if found.stages or not with_stages else MOVED_ON

    chosen = await _chosen(runs, await _all_of(listed, ask, watch), where)
    return replace(chosen, runs=sorted(chosen.runs, key=_next_deadline))


async def choose_ended_runs(
    runs: Runs, where: RunFilter, failed: tuple[str, datetime] | None, *, limit: int, watch: RunsLookedAt = unwatched
) -> tuple[Chosen, bool]:
    """Find the latest ended runs that match and were not resumed or started again since.

    failed: a text of the failure, and since when; then without `where`. Raises what `list_runs` and `failed_runs` do.
    Returns also whether there are failures that were not read.
    """
    is_cut = False
    if failed:
        read = await failed_runs(runs, *failed)
        listed, is_cut = [one.run for one in read.found][:limit], read.is_cut
    else:
        listed = await list_runs(runs, limit=limit, where=where)

    async def look(run: Run) -> ChosenRun | str:
        try:
            latest = await runs.describe(run.workflow_id)
        except RunNotFound:
            return REPLACED
        if latest.run_id != run.run_id:
            return REPLACED
        return ChosenRun(run.workflow_id, run.run_id, run.pipeline, run.status)

    looked_at = await _all_of(listed, look, watch)
    if failed:
        return _sorted(looked_at, len(read.found)), is_cut
    return await _chosen(runs, looked_at, where), is_cut


async def _chosen(runs: Runs, found: Sequence[ChosenRun | str], where: RunFilter) -> Chosen:
    return _sorted(found, max(len(found), sum((await count_runs(runs, where)).values())))


def _sorted(found: Sequence[ChosenRun | str], total: int) -> Chosen:
    """Separate the chosen runs from the reasons why others are left out."""
    left_out = Counter(one for one in found if isinstance(one, str))
    return Chosen([one for one in found if isinstance(one, ChosenRun)], total, left_out)


def _next_deadline(run: ChosenRun) -> float:
    return min((stage.deadline for stage in run.stages if stage.deadline is not None), default=inf)


async def _all_of(listed: Sequence[Run], look: Callable[[Run], Awaitable[T]], watch: RunsLookedAt) -> list[T]:
    """The results, in order; some runs are looked at together. The first error ends the others."""
    once = {run.run_id: run for run in listed}.values()  # a list that changes may name a run on two pages
    free = asyncio.Semaphore(AT_ONCE)
    with watch(len(once)) as looked:

        async def one(run: Run) -> T:
            async with free:
                found = await look(run)
            looked()
            return found

        tasks = [asyncio.create_task(one(run)) for run in once]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()


async def _whole(runs: Runs, run: Run) -> ChosenRun:
    async with runs.reaching(run.workflow_id):
        described = await runs.client.get_workflow_handle(run.workflow_id, run_id=run.run_id).describe()
    return ChosenRun(run.workflow_id, run.run_id, run.pipeline, run.status, described.raw_info.first_run_id)


async def _stages(runs: Runs, run: Run, where: RunFilter) -> ChosenRun:
    progress = await runs.progress(run.workflow_id)
    stages = [
        ChosenStage(
            number=stage.number,
            name=stage.name,
            partner=stage.partner,
            state=stage.state,
            attempt=stage.attempts,
            called_at=stage.called_at,
            deadline=stage.deadline,
        )
        for stage in progress.stages
        if where.chooses(stage)
    ]
    return ChosenRun(run.workflow_id, run.run_id, run.pipeline, run.status, progress.chain_id, stages)
