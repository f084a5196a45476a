"""`python -m tests.chaos [--seed N] [--seconds N] [--store postgres|sqlite|none] [--keep]`: one chaos run.

Exit code 1: an invariant is broken, a planned fault did not fire, or too few runs ended by callbacks.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from temporalio.runtime import Runtime, TelemetryConfig

from receiver.cli import end_process
from receiver.cli.demo.processes import cancel_with_parent
from tests.chaos.fire import fire
from tests.chaos.plan import STORES, make_plan

LONGEST: float = 600.0
BEGAN = time.monotonic()


def main() -> int:
    asked = argparse.ArgumentParser(prog="make chaos")
    asked.add_argument("--seed", type=int, default=random.randrange(1, 1_000_000))
    asked.add_argument("--seconds", type=float, default=60.0)
    asked.add_argument("--store", choices=STORES, default="postgres")
    asked.add_argument("--keep", action="store_true", help="keep the folder with logs, ledger and rows")
    options = asked.parse_args()
    plan = make_plan(options.seed, min(options.seconds, LONGEST), options.store)
    folder = Path(tempfile.mkdtemp(prefix="stagehook-chaos-"))
    say(f"seed {plan.seed}, {plan.seconds:g} s, store {plan.store}: {len(plan.faults)} faults, {len(plan.runs)} runs")

    # The parts' own logs are in the folder; a server that is away is part of the plan.
    logging.disable()
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)))

    async def run() -> int:
        cancel_with_parent()
        report = await fire(plan, folder, say)
        for line in report.lines():
            say(line)
        (folder / "report.txt").write_text("\n".join(report.lines()) + "\n")
        return 0 if report.is_good else 1

    code = 1
    try:
        code = asyncio.run(run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted; every process has ended")
        code = 130
    finally:
        if code in {0, 130} and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"logs, ledger and rows: {folder}")
    return code


def say(line: str) -> None:
    sys.stdout.write(f"{time.monotonic() - BEGAN:6.1f} s  {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        code = main()
    finally:
        sys.stdout.flush()
    end_process(code)
