"""Replay every history of a folder with the code of the interpreter's own version: `python -P SCRIPT FOLDER`.

Prints a line for each history that fails. The old version's interpreter runs this file too, so that it imports nothing
but what both versions have.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Replayer

from activities.worker import WORKFLOWS, workflow_runner


async def main(files: Sequence[Path]) -> None:
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)))  # it would log to stdout
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=workflow_runner())
    for file in files:
        history = WorkflowHistory.from_json(file.stem, file.read_text())
        replayed = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if replayed.replay_failure is not None:
            sys.stdout.write(f"{file.stem}: {' '.join(str(replayed.replay_failure).split())}\n")


if __name__ == "__main__":
    asyncio.run(main(sorted(Path(sys.argv[1]).glob("*.json"))))
    sys.stdout.flush()
    os._exit(0)  # the interpreter's own teardown may crash after a Temporal core was used
