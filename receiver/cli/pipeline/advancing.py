"""Advance a run by hand: say which open waits that ends, and ask if there are several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from receiver.cli.output import confirm_first, note
from receiver.cli.pipeline.runs import connect_runs
from receiver.cli.terminal import printable
from receiver.telling.stages import stage_name
from workflows.contract import SignalSender, StageProgress

NO_REASON: Final = "no reason given"


async def advance_run(workflow_id: str, stage: int, sender: SignalSender, *, yes: bool) -> None:
    """End every wait of the run up to the stage. sender: for the ledger. yes: do not ask, however many waits these are.

    Raises `RunNotFound`, `RunEnded`, `NoSuchStage`; `CommandError` if stdin is not a terminal to ask on.
    """
    runs = await connect_runs()
    waits = await runs.open_waits(workflow_id, stage)
    what = _in_words(workflow_id, stage, waits)
    is_single = stage == 1 or (waits is not None and len(waits) <= 1)
    if is_single or yes:
        note(printable(what))
    else:
        confirm_first(what)
    await runs.advance(workflow_id, stage, sender)
    note(printable(f"sent: the waits of {workflow_id} up to stage {stage} are over"))


def _in_words(workflow_id: str, stage: int, waits: Sequence[StageProgress] | None) -> str:
    if waits is None:
        return f"ends every open wait of {workflow_id} up to stage {stage}; no worker answers, so they are not known"
    names = [f"{stage_name(wait)} ({wait.partner}, {wait.state})" for wait in waits]
    return f"ends the open waits of {workflow_id}: {'; '.join(names) or 'none'}"
