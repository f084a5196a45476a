"""Show everything that is known about a run."""

from __future__ import annotations

import shlex
import time
from typing import Final

from receiver.cli.output import print_json, say
from receiver.cli.pipeline.runs import connect_runs, print_as
from receiver.cli.pipeline.stage_table import stage_table
from receiver.cli.tables import console
from receiver.cli.terminal import printable
from receiver.telling.looking import GOOD, RunLook, look_at_run
from receiver.telling.stories import Teller

RESUME: Final = "`stagehook pipeline resume {}` goes on from the stage that failed, or from a STAGE that you name"


async def show_run(workflow_id: str, *, as_json: bool) -> None:
    """Print the run with its stages; raises `RunNotFound`, or `ProgressUnknown` after printing what Temporal knows."""
    look = await look_at_run(await connect_runs(), workflow_id)
    if look.silence is not None:
        # Without progress, what Temporal itself knows is still worth showing.
        failure = f": {look.failure}" if look.failure else ""
        print_as({**_head(look), "progress": None}, f"{workflow_id} {look.status}{failure}", as_json=as_json)
        raise look.silence
    assert look.progress is not None
    if as_json:
        print_json({**_head(look), "progress": look.progress, "outcomes": look.outcomes})
        return
    console().print(stage_table(look.progress, f"{look.progress.pipeline} {workflow_id}: {look.status}"))
    teller = Teller(workflow_id, look.status == "running", look.outcomes or {}, time.time())
    for line in (*teller.stories(look.progress), *described_notes(look)):
        say(printable(line))


def _head(look: RunLook) -> dict[str, object]:
    return {
        "workflow_id": look.workflow_id,
        "run_id": look.run_id,
        "status": look.status,
        "started_at": look.started_at,
        "closed_at": look.closed_at,
        "failure": look.failure,
        "trouble": look.trouble,
    }


def described_notes(look: RunLook) -> list[str]:
    """Return what only Temporal knows, not the workflow: why the run failed, and the error of its open call."""
    return [
        *([f"failed: {look.failure}"] if look.failure else []),
        *look.trouble,
        *([] if look.status in GOOD else [RESUME.format(shlex.quote(look.workflow_id))]),
    ]
