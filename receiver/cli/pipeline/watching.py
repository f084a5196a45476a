"""Watch a run: read its status and its stages repeatedly until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from activities.run_errors import NoProgressQuery, ProgressUnknown
from activities.run_status import status_name
from activities.runs import Runs
from workflows.contract import Progress

LOOK_AGAIN_SECONDS: Final = 0.5
"""The pause between two looks at a run."""

LONGEST_PAUSE_SECONDS: Final = 5.0
"""The longest pause. The pause doubles up to this while the run does not report its stages."""


@dataclass(frozen=True)
class Snapshot:
    """The result of a look at a run. progress: None if unknown; `trouble` then says why."""

    status: str
    progress: Progress | None
    trouble: str = ""


async def looks(runs: Runs, workflow_id: str) -> AsyncIterator[Snapshot]:
    """Look at the run until it has ended. The last look is after its end.

    Raises `RunNotFound`, and `ProgressUnknown` if the run has ended and no worker answers for it.
    """
    pause = LOOK_AGAIN_SECONDS
    while True:
        # Read the status first: if it says that the run has ended, the progress read after it is final.
        status = status_name((await runs.describe(workflow_id)).status)
        try:
            look = Snapshot(status, await runs.progress(workflow_id))
            pause = LOOK_AGAIN_SECONDS
        except ProgressUnknown as error:
            if status != "running" and not isinstance(error, NoProgressQuery):
                raise
            look = Snapshot(status, None, str(error))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        yield look
        if status != "running":
            return
        await asyncio.sleep(pause)
