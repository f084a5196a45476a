"""Send an operator's command for a stage, and print what became of it."""

from __future__ import annotations

import asyncio

from activities.operations import CommandUnsure, operate
from activities.run_errors import WorkerAway
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note, say
from receiver.cli.pipeline.runs import connect_runs
from receiver.cli.terminal import printable
from receiver.telling.moments import utc_text
from workflows.contract import LARGEST_OUTCOME, Answer, Command


async def operate_stage(workflow_id: str, command: Command, *, repeated: bool) -> None:
    """Send the command, print its id to stdout, and what it did to stderr. repeated: the id may have been sent before.

    Raises `CommandError`, and what `operate` raises.
    """
    _check_size(command)
    runs = await connect_runs()
    try:
        applied = await operate(runs, workflow_id, command, repeated=repeated)
    except WorkerAway as error:
        advice = "start a worker with `stagehook worker`, then run it again"
        raise CommandError(f"{error}, so nothing was sent", advice, Exit.UNREACHABLE) from error
    except CommandUnsure as error:
        advice = f"run it again with --id {command.id} to find out"
        if (task := asyncio.current_task()) and task.cancelling():  # Ctrl-C
            note(printable(f"{error}; {advice}"))
            raise asyncio.CancelledError from None
        raise CommandError(str(error), advice, Exit.UNSURE) from error
    say(printable(command.id))
    note(printable(f"stage {applied.stage} of {workflow_id}: {applied.what}, at {utc_text(applied.at)} UTC"))


def _check_size(command: Command) -> None:
    size = Answer("succeeded", command.data).size
    if size > LARGEST_OUTCOME:
        what = f"--data has {size} bytes as JSON, more than {LARGEST_OUTCOME}"
        raise CommandError(what, "give only the fields that later stages need", Exit.USAGE)
