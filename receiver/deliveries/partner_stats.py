"""Statistics of partners: how long each takes to call back, what waits for it, and what it sent that was refused.

`read_stats` reads them on any connection to the store, within bounds. Nothing here prints: the command and the console
show the same figures.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import sqlalchemy as sa

from receiver.deliveries.call_times import MOST_READ, CallTime, calls_are_cut_at, read_call_times
from receiver.deliveries.received_counts import ReceivedCounts, Refusals, deliveries_are_cut_at, read_received
from workflows.contract import Stage
from workflows.durations import DAY, HOUR, MINUTE
from workflows.pipelines import PIPELINES

FEWEST_OVERDUE: Final = 5
"""Overdue calls by which a partner counts as silent."""

FEWEST_CALLBACKS: Final = 20
"""Callbacks from which a deadline is suggested. With fewer, the p99 is the slowest callback, and says little."""

FEWEST_FOR_P99: Final = 5
"""Callbacks from which calls are overdue by the p99. By chance, five calls are all slower than one callback once in 6
times, than two once in 21, and than five once in 252."""

SHORTEST_DEADLINE: Final = 5 * MINUTE
"""Seconds. After a deploy or an outage of ours, a partner sends a refused callback again some minutes later."""

DEADLINES: Final = (
    *(minutes * MINUTE for minutes in (5, 10, 15, 20, 30, 45)),
    *(hours * HOUR for hours in (1, 2, 3, 4, 6, 8, 12, 18)),
    *(days * DAY for days in (1, 2, 3, 4, 5, 7, 10, 14, 21, 30, 45, 60, 90)),
)
"""Seconds that a person would choose as a deadline."""


@dataclass(frozen=True)
class Percentiles:
    """Seconds within which 50, 95 and 99 of 100 callbacks came, by nearest rank; None without callbacks."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Percentiles:
        """The percentiles of some durations. Each is one of the durations."""
        ordered = sorted(seconds)
        if not ordered:
            return cls()
        return cls(*(ordered[math.ceil(len(ordered) * percent / 100) - 1] for percent in (50, 95, 99)))


@dataclass(frozen=True)
class StageStats:
    """The calls of one stage to one partner. Durations are seconds.

    pipeline, stage: the pipeline's name and the stage's number. name, timeout: as the shipped definition has them; ""
    and None if it has no such stage with this partner.
    calls, answered: all calls, and those with a callback. times: from a call to its callback.
    waiting: stages whose latest call has no callback, and which the policies may keep open. A stage does not count if
    its run has called a later one, or if a callback of an earlier call came since then that settled it, or that found
    the run over. overdue: those of them that wait longer than the p99; with fewer than `FEWEST_FOR_P99` callbacks,
    longer than the timeout and the p99. late: callbacks after the timeout, or refused because the run or the stage was
    over.
    suggested: the deadline that the callbacks suggest; None with fewer than `FEWEST_CALLBACKS`.
    """

    pipeline: str
    stage: int
    name: str
    calls: int
    answered: int
    times: Percentiles
    waiting: int
    overdue: int
    late: int
    timeout: float | None
    suggested: float | None


@dataclass(frozen=True)
class PartnerStats:
    """A partner's statistics. Moments are unix seconds.

    calls to late: of all stages together; see `StageStats`. refused to parked: see `ReceivedCounts`.
    last_call: when the last call was made. last_heard: when the last request came that was proven to be the partner's.
    Both are None if there was none in the time that was read.
    is_silent: at least `FEWEST_OVERDUE` calls are overdue, and nothing has come since they became overdue.
    """

    partner: str
    calls: int
    answered: int
    times: Percentiles
    waiting: int
    overdue: int
    late: int
    refused: tuple[Refusals, ...]
    duplicates: int
    conflicts: int
    parked: int
    last_call: float | None
    last_heard: float | None
    is_silent: bool
    stages: tuple[StageStats, ...]


@dataclass(frozen=True)
class Stats:
    """Statistics of the calls made, and of the requests received, from `since` to `until` (unix seconds).

    partners: the partner that was asked for, or all with calls or deliveries, by name.
    calls_cut_at, deliveries_cut_at: if there were more than can be read, only those after this moment count; else None.
    """

    since: float
    until: float
    calls_cut_at: float | None
    deliveries_cut_at: float | None
    partners: tuple[PartnerStats, ...]


def read_stats(connection: sa.Connection, since: float, now: float, partner: str = "", most: int = MOST_READ) -> Stats:
    """Read the statistics of a partner, or of all partners.

    since, now: unix seconds. since must not be before what the store keeps: a call whose callback was deleted would
    count as waiting. most: calls, and deliveries, that are read, the latest of all partners; 10,000 take some 0.3 s.
    The connection is that of a transaction, such as `Database.begin`, and only reads.
    """
    calls = defaultdict[str, list[CallTime]](list)
    for call in read_call_times(connection, since, partner, most):
        calls[call.partner].append(call)
    received = read_received(connection, since, partner, most)
    return Stats(
        since=since,
        until=now,
        calls_cut_at=calls_are_cut_at(connection, since, most),
        deliveries_cut_at=deliveries_are_cut_at(connection, since, most),
        partners=tuple(
            _stats_of(name, calls.get(name, []), received.get(name, ReceivedCounts()), now)
            for name in sorted({*calls, *received, *filter(None, [partner])})
        ),
    )


def suggested_deadline(times: Percentiles, answered: int) -> float | None:
    """The deadline that the times of `answered` callbacks suggest, in seconds; None if there are too few of them.

    It is twice the p99, at least `SHORTEST_DEADLINE`, and rounded up to a number that a person would choose. One
    callback in a hundred takes longer than the p99. A deadline at the p99 would give up all of these, and twice the p99
    leaves room for a slow day; yet a callback that never comes is noticed soon.
    """
    if times.p99 is None or answered < FEWEST_CALLBACKS:
        return None
    wanted = max(2 * times.p99, SHORTEST_DEADLINE)
    return next((deadline for deadline in DEADLINES if deadline >= wanted), math.ceil(wanted / (30 * DAY)) * 30 * DAY)


def _stats_of(partner: str, calls: Sequence[CallTime], received: ReceivedCounts, now: float) -> PartnerStats:
    by_stage = defaultdict[tuple[str, int], list[CallTime]](list)
    for call in calls:
        by_stage[call.pipeline, call.stage].append(call)
    found = [_of_stage(partner, *stage, by_stage[stage], now) for stage in sorted(by_stage)]
    stages = [stage for stage, _ in found]
    heard = [received.last_heard, *(call.heard_at for call in calls)]
    last_heard = max((at for at in heard if at is not None), default=None)
    unheard = [at for at in chain.from_iterable(overdue for _, overdue in found) if at >= (last_heard or 0.0)]
    return PartnerStats(
        partner=partner,
        calls=len(calls),
        answered=sum(stage.answered for stage in stages),
        times=Percentiles.of(_seconds(calls)),
        waiting=sum(stage.waiting for stage in stages),
        overdue=sum(stage.overdue for stage in stages),
        late=sum(stage.late for stage in stages),
        refused=received.refused,
        duplicates=received.duplicates,
        conflicts=received.conflicts,
        parked=received.parked,
        last_call=max((call.called_at for call in calls), default=None),
        last_heard=last_heard,
        is_silent=len(unheard) >= FEWEST_OVERDUE,
        stages=tuple(stages),
    )


def _of_stage(
    partner: str, pipeline: str, number: int, calls: Sequence[CallTime], now: float
) -> tuple[StageStats, list[float]]:
    """The statistics of a stage, and since when its overdue calls are overdue, in unix seconds."""
    shipped = _shipped_stage(pipeline, number, partner)
    timeout = shipped.timeout if shipped else None
    seconds = list(_seconds(calls))
    times = Percentiles.of(seconds)
    waiting = _waiting(calls, now)
    patience = _patience(times.p99, len(seconds), timeout)
    overdue = [] if patience is None else [at for call in waiting if (at := call.called_at + patience) < now]
    stats = StageStats(
        pipeline=pipeline,
        stage=number,
        name=shipped.name if shipped else "",
        calls=len(calls),
        answered=len(seconds),
        times=times,
        waiting=len(waiting),
        overdue=len(overdue),
        late=sum(_is_late(call, timeout) for call in calls),
        timeout=timeout,
        suggested=suggested_deadline(times, len(seconds)),
    )
    return stats, overdue


def _patience(p99: float | None, answered: int, timeout: float | None) -> float | None:
    """Seconds after which a call is overdue; None if they are not known."""
    if answered >= FEWEST_FOR_P99:
        return p99
    return None if timeout is None else max(timeout, p99 or 0.0)


def _shipped_stage(pipeline: str, number: int, partner: str) -> Stage | None:
    """The stage as this version's definition has it; None if that stage is another one by now."""
    stages = PIPELINES[pipeline].stages if pipeline in PIPELINES else ()
    return next((stage for stage in stages if (stage.number, stage.partner) == (number, partner)), None)


def _seconds(calls: Iterable[CallTime]) -> Iterable[float]:
    return (call.seconds for call in calls if call.seconds is not None)


def _waiting(calls: Iterable[CallTime], now: float) -> list[CallTime]:
    """The latest call of each run's stage that waits for its callback."""
    latest: dict[str, CallTime] = {}
    over_at = defaultdict[str, float](float)
    for call in sorted(calls, key=lambda call: (call.issued_at, call.attempt)):
        latest[call.chain_id] = call
        over_at[call.chain_id] = max(over_at[call.chain_id], call.over_at or 0.0)
    # A late success of an earlier call settles the stage. A late `failed` or `ask` only enters the run's ledger.
    return [
        call
        for chain_id, call in latest.items()
        if not call.went_on
        and call.open_until > now
        and call.answered_at is None
        and over_at[chain_id] < call.called_at
    ]


def _is_late(call: CallTime, timeout: float | None) -> bool:
    return call.came_too_late or (call.seconds is not None and timeout is not None and call.seconds > timeout)
