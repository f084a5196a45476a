"""Watching a run: its status and its stages, again and again until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from activities.runs import NoProgressQuery, ProgressUnknown, Runs, status_name
from workflows.contract import Progress

LOOK_AGAIN_SECONDS: Final = 0.5
"""Pause between two looks at a run."""

LONGEST_PAUSE_SECONDS: Final = 5.0
"""Up to this the pause doubles while the run does not say how its stages stand."""


@dataclass(frozen=True)
class Look:
    """One look at a run. progress: None where it is unknown, and then `trouble` says why."""

    status: str
    progress: Progress | None
    trouble: str = ""


async def looks(runs: Runs, workflow_id: str) -> AsyncIterator[Look]:
    """Look at the run until it has ended; the last look is the one after its end.

    Raises `RunNotFound`, and `ProgressUnknown` if the run has ended and no worker answers for it.
    """
    pause = LOOK_AGAIN_SECONDS
    while True:
        # The status first: progress that is read after the end is the last one.
        status = status_name((await runs.describe(workflow_id)).status)
        try:
            look = Look(status, await runs.progress(workflow_id))
            pause = LOOK_AGAIN_SECONDS
        except ProgressUnknown as error:
            if status != "running" and not isinstance(error, NoProgressQuery):
                raise
            look = Look(status, None, str(error))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        yield look
        if status != "running":
            return
        await asyncio.sleep(pause)
