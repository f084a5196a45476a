"""Show everything that is known about a run."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import Any, Final

from temporalio.client import WorkflowExecutionDescription
from temporalio.service import RPCError

from activities.lanes import held_lanes
from activities.run_errors import ProgressUnknown
from activities.run_status import call_trouble, status_name
from activities.runs import Runs
from receiver.cli.output import print_json, say
from receiver.cli.partner.lanes import lane_text
from receiver.cli.pipeline.runs import GOOD, connect_runs, print_as
from receiver.cli.pipeline.stage_table import stage_table
from receiver.cli.tables import console
from receiver.cli.terminal import printable
from receiver.telling.stories import Teller
from workflows.contract import Outcome
from workflows.lanes import partner_of

RESUME: Final = "`stagehook pipeline resume {}` goes on from the stage that failed, or from a STAGE that you name"


async def show_run(workflow_id: str, *, as_json: bool) -> None:
    """Print the run with its stages; raises `RunNotFound`, or `ProgressUnknown` after printing what Temporal knows."""
    runs = await connect_runs()
    described = await runs.describe(workflow_id)
    head = {
        "workflow_id": workflow_id,
        "run_id": described.run_id,
        "status": status_name(described.status),
        "started_at": described.start_time,
        "closed_at": described.close_time,
        "failure": "" if status_name(described.status) in GOOD else await runs.failure(workflow_id),
        "trouble": [*call_trouble(described), *await _lane_trouble(runs, described)],
    }
    try:
        progress = await runs.progress(workflow_id)
    except ProgressUnknown:
        # Without progress, what Temporal itself knows is still worth showing.
        failure = f": {head['failure']}" if head["failure"] else ""
        print_as({**head, "progress": None}, f"{workflow_id} {head['status']}{failure}", as_json=as_json)
        raise
    outcomes = await _outcomes(runs, workflow_id)
    if as_json:
        print_json({**head, "progress": progress, "outcomes": outcomes})
        return
    console().print(stage_table(progress, f"{progress.pipeline} {workflow_id}: {head['status']}"))
    teller = Teller(workflow_id, head["status"] == "running", outcomes or {}, time.time())
    for line in (*teller.stories(progress), *described_notes(head)):
        say(printable(line))


async def _lane_trouble(runs: Runs, described: WorkflowExecutionDescription) -> list[str]:
    """Return a line for each lane on which a call of the run waits, and which is held or served by no worker."""
    try:
        return [
            f"waits: {lane_text(partner_of(lane.task_queue), lane)}"
            async for lane in held_lanes(runs.client, described)
            if lane.hold or not lane.served
        ]
    except RPCError as error:
        return [f"what its call waits for is not known: {error.message}"]


async def _outcomes(runs: Runs, workflow_id: str) -> Mapping[str, Outcome] | None:
    """Return the outcomes with their data; None if the run's worker has a version that does not tell them."""
    try:
        return await runs.outcomes(workflow_id)
    except ProgressUnknown:
        return None


def described_notes(head: Mapping[str, Any]) -> list[str]:
    """Return what only Temporal knows, not the workflow: why the run failed, and the error of its open call."""
    return [
        *([f"failed: {head['failure']}"] if head["failure"] else []),
        *head["trouble"],
        *([] if head["status"] in GOOD else [RESUME.format(shlex.quote(head["workflow_id"]))]),
    ]
