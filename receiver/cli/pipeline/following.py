"""Follow a run on the terminal: in a table that is redrawn, or with a line for every change."""

from __future__ import annotations

from collections.abc import Callable

from rich.live import Live

from receiver.cli.errors import Exit
from receiver.cli.output import note, print_json, say
from receiver.cli.pipeline.runs import connect_runs
from receiver.cli.pipeline.stage_table import changes, stage_table
from receiver.cli.pipeline.watching import Snapshot, looks
from receiver.cli.tables import live_table
from receiver.cli.terminal import printable
from receiver.telling.looking import GOOD


async def follow_run(workflow_id: str, *, as_json: bool) -> int:
    """Print every change of the run until it ends; RUN_FAILED if it did not complete."""
    runs = await connect_runs()
    told, status = "", ""
    with live_table(wanted=not as_json) as live:
        show_look = _printer(workflow_id, live, as_json=as_json)
        async for look in looks(runs, workflow_id):
            status = look.status
            if look.trouble not in {"", told}:
                told = look.trouble
                note(printable(f"{told}; following its status"))
            show_look(look)
    failure = "" if status in GOOD else await runs.failure(workflow_id)
    note(printable(f"{workflow_id} {status}" + (f": {failure}" if failure else "")))
    return Exit.OK if status == "completed" else Exit.RUN_FAILED


def _printer(workflow_id: str, live: Live | None, *, as_json: bool) -> Callable[[Snapshot], None]:
    """Return a function that prints a look: as a JSON line or a text line for every change, or in a redrawn table."""
    before: Snapshot | None = None

    def show_look(look: Snapshot) -> None:
        nonlocal before
        if before and before.status == look.status and look.progress in (None, before.progress):
            return
        if as_json:
            print_json({"status": look.status, "progress": look.progress}, indent=None)
        elif look.progress is None:
            return
        elif live is not None:
            title = f"{look.progress.pipeline} {workflow_id}: {look.status}"
            live.update(stage_table(look.progress, title), refresh=True)
        else:
            for line in changes(before.progress if before else None, look.progress):
                say(line)
        before = look

    return show_look
