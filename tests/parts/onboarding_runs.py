"""Runs of onboarding that are started by the command, beside a local system."""

from __future__ import annotations

import json
import time
from typing import Any

from receiver.cli.demo.running import INPUT
from tests.local_stack import Local
from tests.parts.endings import said

ONBOARD = ("pipeline", "start", "onboarding", "--input", json.dumps(INPUT))


def wait_for_stage(local: Local, workflow_id: str, number: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        stages = said(local.command("pipeline", "show", workflow_id, "--json"))["progress"]["stages"]
        if stages[number - 1]["state"] == "waiting":
            return dict(stages[number - 1])
        time.sleep(0.1)
    raise AssertionError(f"stage {number} does not wait")


def start_run(local: Local, workflow_id: str) -> None:
    assert said(local.command(*ONBOARD, "--id", workflow_id, "--json"))["workflow_id"] == workflow_id
    wait_for_stage(local, workflow_id, 2)
