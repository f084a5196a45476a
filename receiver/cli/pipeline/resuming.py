"""Resume a run that has ended, from before the call of a stage."""

from __future__ import annotations

import time

from activities.resets import resume
from activities.run_errors import RunNotFound
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note
from receiver.cli.pipeline.runs import connect_runs
from receiver.cli.terminal import printable


async def resume_run(workflow_id: str, stage: int | None, reason: str, actor: str) -> None:
    """Resume the run from before the first call of the stage. stage: None for the stage that failed.

    Raises `CommandError`, `CannotResume`, `NoSuchStage`.
    """
    runs = await connect_runs()
    told = f"resumed by {actor}" + (f": {reason}" if reason else "")
    try:
        resumed = await resume(runs, workflow_id, stage or 0, reason=told, at=time.time())
    except RunNotFound as error:
        what = f"{error}: it never began, or its history is gone"
        raise CommandError(what, "start another run with `stagehook pipeline start`", Exit.NOT_FOUND) from error
    first, *others = resumed.again
    call = f"call {first.attempt} of stage {first.stage} {first.name}"
    note(printable(f"resumed: {workflow_id} goes on from before {call}"))
    if others:
        names = ", ".join(f"{call.stage} {call.name}" for call in others)
        note(printable(f"called again too, unless their callbacks came: {names}"))
