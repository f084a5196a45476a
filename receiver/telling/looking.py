"""RunLook: everything that is known about a run, from Temporal and from its worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from temporalio.client import WorkflowExecutionDescription

from activities.client import TemporalUnreachable
from activities.lanes import LaneRefused, held_lanes, lane_partner, reaching_lanes
from activities.run_errors import ProgressUnknown
from activities.run_status import call_trouble, status_name
from activities.runs import Runs
from receiver.telling.lanes import lane_text
from workflows.contract import Outcome, Progress

GOOD: Final = ("running", "completed")
"""The statuses of a run that has no failure."""


@dataclass(frozen=True)
class RunLook:
    """What is known about a run.

    failure: in one line why it ended badly, or "". trouble: a line for each thing that holds up its open calls.
    progress: None if no worker tells it; `silence` then says why. outcomes: the settled stages' by name, None if its
    worker has a version that does not tell them.
    """

    workflow_id: str
    run_id: str
    chain_id: str
    status: str
    started_at: datetime
    closed_at: datetime | None
    failure: str
    trouble: Sequence[str]
    progress: Progress | None
    outcomes: Mapping[str, Outcome] | None
    silence: ProgressUnknown | None = None


async def look_at_run(runs: Runs, workflow_id: str) -> RunLook:
    """Read everything about a run; raises `RunNotFound`."""
    described = await runs.describe(workflow_id)
    status = status_name(described.status)
    progress, outcomes, silence = None, None, None
    failure = "" if status in GOOD else await runs.failure(workflow_id)
    trouble = [*call_trouble(described), *await _lane_trouble(runs, described)]
    try:
        progress = await runs.progress(workflow_id)
        outcomes = await _outcomes(runs, workflow_id)
    except ProgressUnknown as error:
        silence = error
    return RunLook(
        workflow_id=workflow_id,
        run_id=described.run_id,
        chain_id=described.raw_info.first_run_id,
        status=status,
        started_at=described.start_time,
        closed_at=described.close_time,
        failure=failure,
        trouble=trouble,
        progress=progress,
        outcomes=outcomes,
        silence=silence,
    )


async def _lane_trouble(runs: Runs, described: WorkflowExecutionDescription) -> list[str]:
    """Return a line for each lane on which a call of the run waits, and which is held or served by no worker."""
    try:
        async with reaching_lanes(runs.client):
            return [
                f"waits: {lane_text(lane_partner(described.task_queue, lane.task_queue), lane)}"
                async for lane in held_lanes(runs.client, described)
                if lane.hold or not lane.served
            ]
    except (TemporalUnreachable, LaneRefused) as error:
        return [f"what its call waits for is not known: {error}"]


async def _outcomes(runs: Runs, workflow_id: str) -> Mapping[str, Outcome] | None:
    """Return the outcomes with their data; None if the run's worker has a version that does not tell them."""
    try:
        return await runs.outcomes(workflow_id)
    except ProgressUnknown:
        return None
