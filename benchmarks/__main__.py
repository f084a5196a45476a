"""`python -m benchmarks [NAME...] [--json FILE] [--old COMMIT] [--gate]`: all benchmarks, or these.

--json: write the figures and what they were measured on to this file. --old: compare a worker's CPU with this commit's.
--gate: exit with 1 if a callback's CPU or a delivery's WAL is above what is wanted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from temporalio.runtime import Runtime, TelemetryConfig

from benchmarks import batches, burst, death, door, inbox, lanes, volume, worker
from benchmarks.figures import Figure
from tests.versions.trees import NoSuchVersion

BENCHMARKS: Final[dict[str, Callable[[], Awaitable[list[Figure]]]]] = {
    "door": door.measure,
    "burst": burst.measure,
    "lanes": lanes.measure,
    "death": death.measure,
    "inbox": inbox.measure,
    "volume": volume.measure,
    "batches": batches.measure,
}

LONGEST: float = 600.0
"""Seconds after which a benchmark ends whose processes no longer answer."""


def main() -> int:
    args = _arguments()
    benchmarks = BENCHMARKS | {"worker": lambda: worker.measure(args.old)}
    began, figures = time.time(), list[Figure]()
    for name in args.names or benchmarks:
        try:
            found = asyncio.run(_measured(benchmarks[name]))
        except NoSuchVersion as error:
            print(f"{name} left out: {error}", file=sys.stderr)
            continue
        except TimeoutError:
            sys.exit(f"{name} has not ended within {LONGEST:g} s: one of its processes no longer answers")
        print(f"{name}: {(sys.modules[f'benchmarks.{name}'].__doc__ or name).splitlines()[0]}")
        for figure in found:
            print(f"  {figure}")
        print(flush=True)
        figures += found
    print(f"{time.time() - began:.0f} seconds in all, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if args.json:
        args.json.write_text(json.dumps(_told(figures, began), indent=1) + "\n")
    return int(args.gate and any(figure.is_above for figure in figures))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *BENCHMARKS, "worker"])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--old", default="", metavar="COMMIT")
    parser.add_argument("--gate", action="store_true")
    return parser.parse_args()


async def _measured(measure: Callable[[], Awaitable[list[Figure]]]) -> list[Figure]:
    async with asyncio.timeout(LONGEST):
        return await measure()


def _told(figures: Sequence[Figure], began: float) -> dict[str, Any]:
    machine = {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
    took = time.time() - began
    return {"began_at": began, "seconds": took, **machine, "figures": [asdict(figure) for figure in figures]}


if __name__ == "__main__":
    # Before the first client. The SDK would tell of each call that is ended.
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)))
    sys.exit(main())
