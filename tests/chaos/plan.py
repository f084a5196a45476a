"""The plan of a chaos run: which faults happen when, and how the partner treats each run. It follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

StoreKind = Literal["postgres", "sqlite", "none"]
STORES: Final[Sequence[StoreKind]] = get_args(StoreKind)

FirstCall = Literal["ok", "503", "garbage", "hangs"]

CALL_TIMEOUT: Final = 4.0
"""Seconds for one request of a call."""

RUNS_PER_SECOND: Final = 1.2
LEAST_RUNS: Final = 10
QUIET_START: Final = 1.0
"""Seconds without a fault, so that runs are under way when the first fault comes."""

PAUSES: Final = (1.0, 2.0)
"""The shortest and the longest time between two faults, in seconds."""

RECOVERY: Final = 1.5
"""Seconds after a fault in which no other fault meets the same place."""

FLOOD_PER_SECOND: Final = 40
"""Callbacks that the flood queues for Temporal, for each second of the plan."""

FLOOD_PER_STAGE: Final = 70
"""Less than the receiver's budget of one URL."""


@dataclass(frozen=True)
class FaultKind:
    """A fault that a plan may contain.

    name: its function in `faults`. part: what it meets. place: faults of one place never overlap.
    lasts: the shortest and the longest duration in seconds.
    """

    name: str
    part: str
    place: str
    lasts: tuple[float, float] = (0.5, 2.0)


@dataclass(frozen=True)
class PlannedFault:
    """at: seconds after the beginning. lasts: seconds between the fault and its undoing."""

    at: float
    kind: FaultKind
    lasts: float


@dataclass(frozen=True)
class Habit:
    """How the partner treats the call of a stage.

    progress: callbacks that report progress before the result. copies: how often the result is sent at once.
    loses: answers that the partner loses before it reads the first one. work: seconds before the result.
    early: the result is sent before the call is answered. conflicts: a different result follows the first one.
    forges: requests with a wrong token or signature are sent too. first_call: how the first try of the call is
    answered. retried: the stage has a short timeout and calls again.
    silent: the partner sends nothing by itself.
    """

    progress: int = 0
    copies: int = 1
    loses: int = 0
    work: float = 0.1
    early: bool = False
    conflicts: bool = False
    forges: bool = False
    first_call: FirstCall = "ok"
    retried: bool = False
    silent: bool = False


@dataclass(frozen=True)
class PlannedRun:
    """at: seconds after the beginning. stages: for each stage its partner and the partner's habit."""

    id: str
    at: float
    stages: Sequence[tuple[str, Habit]]


@dataclass(frozen=True)
class Plan:
    """All of it. flood: callbacks that are queued while Temporal is away, the last of the faults."""

    seed: int
    seconds: float
    store: StoreKind
    faults: Sequence[PlannedFault]
    runs: Sequence[PlannedRun]
    flood: int = 0

    @property
    def habits(self) -> Mapping[tuple[str, int], Habit]:
        """The habits by workflow id and number of the stage."""
        return {(run.id, number): habit for run in self.runs for number, (_, habit) in enumerate(run.stages, start=1)}


TEMPORAL: Final = (
    FaultKind("killed", "temporal", "temporal"),
    FaultKind("ended", "temporal", "temporal"),
    FaultKind("stopped", "temporal", "temporal", (1.0, 4.0)),
    FaultKind("link_mute", "temporal", "temporal", (1.0, 4.0)),
    FaultKind("link_cut", "temporal", "temporal"),
)
PROCESSES: Final = tuple(
    FaultKind(name, part, part)
    for part in ("web-1", "web-2", "worker-1", "worker-2")
    for name in ("killed", "ended", "stopped")
)
OTHERS: Final = (
    FaultKind("child_killed", "web-2", "web-2"),
    FaultKind("child_ended", "web-2", "web-2"),
    FaultKind("child_stopped", "web-2", "web-2"),
    FaultKind("clock_behind", "web-2", "web-2", (2.0, 4.0)),
    FaultKind("clock_ahead", "web-2", "web-2", (2.0, 4.0)),
    FaultKind("run_reset", "a run", "runs", (0.0, 0.0)),
)
POSTGRES: Final = (
    FaultKind("backends_ended", "postgres", "store"),
    FaultKind("backend_killed", "postgres", "store"),
    FaultKind("backend_stopped", "postgres", "store", (1.0, 4.0)),
    FaultKind("crashed", "postgres", "store"),
    FaultKind("frozen", "postgres", "store", (1.0, 4.0)),
    FaultKind("disk_full", "postgres", "store"),
    FaultKind("read_only", "postgres", "store"),
    FaultKind("locked", "postgres", "store", (1.0, 3.0)),
    FaultKind("commit_cut", "store", "store"),
    FaultKind("commit_lost", "store", "store"),
    FaultKind("commit_mute", "store", "store", (1.0, 4.0)),
    FaultKind("commit_delayed", "store", "store"),
    FaultKind("pooler_restarted", "store", "store"),
)
SQLITE: Final = (
    FaultKind("file_locked", "sqlite", "store", (1.0, 3.0)),
    FaultKind("file_full", "sqlite", "store", (1.0, 3.0)),
)
OF_STORE: Final[Mapping[StoreKind, Sequence[FaultKind]]] = {"postgres": POSTGRES, "sqlite": SQLITE, "none": ()}


def kinds_for(store: StoreKind) -> list[FaultKind]:
    """Return every fault that can meet a system with this store."""
    return [*TEMPORAL, *PROCESSES, *OTHERS, *OF_STORE[store]]


def make_plan(seed: int, seconds: float, store: StoreKind) -> Plan:
    """Return the plan of a seed: the same for the same arguments, on every machine."""
    chance = random.Random(f"{seed}/{store}")
    faults = _faults(chance, seconds, kinds_for(store))
    flood = 0 if store == "none" else int(seconds * FLOOD_PER_SECOND)
    return Plan(seed, seconds, store, faults, _runs(chance, seconds), flood)


def _faults(chance: random.Random, seconds: float, kinds: Sequence[FaultKind]) -> list[PlannedFault]:
    """A fault every second or two; each kind once before a kind comes again."""
    waiting: list[FaultKind] = []
    free_at: dict[str, float] = {}
    faults: list[PlannedFault] = []
    at = QUIET_START
    while at < seconds:
        # A kind may wait because its place is busy: the next round is added before the last one is over.
        if len(waiting) < len(kinds):
            waiting += chance.sample(kinds, len(kinds))
        kind = next((kind for kind in waiting if free_at.get(kind.place, 0.0) <= at), None)
        if kind is not None:
            waiting.remove(kind)
            lasts = round(chance.uniform(*kind.lasts), 2)
            faults.append(PlannedFault(round(at, 2), kind, lasts))
            free_at[kind.place] = at + lasts + RECOVERY
        at += chance.uniform(*PAUSES)
    return faults


def _runs(chance: random.Random, seconds: float) -> list[PlannedRun]:
    count = max(LEAST_RUNS, int(seconds * RUNS_PER_SECOND))
    starts = sorted(round(chance.uniform(0.0, seconds), 2) for _ in range(count))
    return [PlannedRun(f"run-{number}", at, _stages(chance)) for number, at in enumerate(starts, start=1)]


def _stages(chance: random.Random) -> list[tuple[str, Habit]]:
    partners = chance.sample(("sandbox", "bank", "cards"), 3)
    return [(partner, _habit(chance, partner)) for partner in partners[: chance.choice((2, 3))]]


def _habit(chance: random.Random, partner: str) -> Habit:
    return Habit(
        progress=chance.choice((0, 0, 2, 5)) if partner == "sandbox" else 0,
        copies=chance.choice((1, 1, 2, 4)),
        loses=chance.choice((0, 0, 1, 3)),
        work=round(chance.uniform(0.0, 2.0), 2),
        early=chance.random() < 0.15,
        conflicts=chance.random() < 0.3,
        forges=chance.random() < 0.2,
        first_call=chance.choice(("ok", "ok", "ok", "ok", "503", "garbage", "hangs")),
        retried=chance.random() < 0.15,
    )
