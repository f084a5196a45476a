"""What a callback costs at the door: the receiver's CPU, and the callbacks answered a second, beside bare Starlette's.

The ways: up to the verdict, with log line, metrics and record; and with a SQLite store, with PostgreSQL, and with two
processes at one PostgreSQL, until the signal is taken and its fate recorded. Temporal takes every signal at once.
"""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from typing import Final

from benchmarks.callers import Caller, Cost, of_new_runs, started
from benchmarks.figures import Figure, compared
from benchmarks.receivers import TWO_PROCESSES, new_stores

ROUNDS: Final = 3
CALLBACKS: Final = 400
"""Callbacks of a round."""

CONNECTIONS: Final = (1, 32, 128)
BARE: Final = "bare Starlette"
WANTED: Final = {"up to the verdict": 4.0, "SQLite": 8.0, "PostgreSQL": 8.0}
"""The highest CPU, as a multiple of bare Starlette's."""


async def measure(rounds: int = ROUNDS) -> list[Figure]:
    """The CPU for a callback and the rate, by connections and way."""
    with ExitStack() as stack:
        urls = new_stores(stack, stack.enter_context(tempfile.TemporaryDirectory()))
        callers = {BARE: await started(stack, "bare"), "up to the verdict": await started(stack, "receiver")}
        for name, url in urls.items():
            callers[name] = await started(stack, "receiver", url, processes=2 if name == TWO_PROCESSES else 1)
        return [figure for connections in CONNECTIONS for figure in await _at(connections, callers, rounds)]


async def _at(connections: int, callers: dict[str, Caller], rounds: int) -> list[Figure]:
    costs: dict[str, list[Cost]] = {name: [] for name in callers}
    for _ in range(rounds):
        for name, caller in callers.items():
            costs[name].append(await caller.cost(of_new_runs(CALLBACKS), connections))
    case = f"{connections} connections"
    cpu = {name: statistics.median(one.cpu for one in found) for name, found in costs.items()}
    rates = {name: statistics.median(one.rate for one in found) for name, found in costs.items()}
    return [
        *compared("door", case, "CPU for a callback", "ms", cpu, BARE, WANTED),
        *compared("door", case, "callbacks answered", "/s", rates, BARE),
    ]
