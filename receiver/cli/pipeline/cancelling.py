"""Cancel a run, after a question."""

from __future__ import annotations

from activities.operations import cancel_text
from receiver.cli.output import confirm_first, note
from receiver.cli.pipeline.runs import connect_runs
from receiver.cli.terminal import printable


async def cancel_run(workflow_id: str, reason: str, actor: str, *, yes: bool) -> None:
    """Request the run to end. yes: do not ask first. reason: may be "".

    Raises `RunNotFound`, `RunEnded`; `CommandError` if stdin is not a terminal to ask on.
    """
    runs = await connect_runs()
    await runs.check_open(workflow_id)
    if not yes:
        confirm_first(f"cancel {workflow_id}: its open stages end as cancelled, and no later stage is called")
    await runs.cancel(workflow_id, reason=cancel_text(actor, reason))
    note(printable(f"sent: {workflow_id} is asked to end"))
