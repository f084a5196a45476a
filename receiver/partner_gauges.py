"""Partner gauges: what waits for each partner, asked of Temporal and of the store at most once a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from temporalio.service import RPCError

from activities.finding import AttributesOff
from activities.store.errors import StoreAway
from activities.store.store import Store
from activities.threads import in_daemon
from activities.waiting_counts import count_waiting
from receiver.deliveries.partner_stats import PartnerStats, Stats, read_stats
from receiver.sending.signals import Signals, TemporalAway
from receiver.slow_gauges import DEFAULT_GAUGE_TIMING, GaugesAway, GaugeTiming, SlowGauges
from workflows.durations import DAY

RUN_GAUGES: Final = {
    "waiting": "Open runs with a stage of the partner.",
    "overdue": "Of these, runs whose next deadline has passed.",
    "needing_person": "Of these, runs that wait for a person.",
}
"""The gauges of runs by the fields of `WaitingCounts`. Their names begin with `stagehook_runs_`."""


STATS_GAUGES: Final[Mapping[str, tuple[str, Callable[[PartnerStats], float | None]]]] = {
    "calls_waiting": ("Calls without a callback that may still come.", lambda stats: stats.waiting),
    "calls_overdue": ("Of these, calls that wait longer than the p99 of their stage.", lambda stats: stats.overdue),
    "silent": ("1 if at least five calls are overdue, and nothing has come since.", lambda stats: stats.is_silent),
    "call_p99_seconds": ("Time from a call to its callback, of 99 in 100 calls.", lambda stats: stats.times.p99),
    "last_heard_timestamp_seconds": (
        "When the last request came that was proven to be the partner's.",
        lambda stats: stats.last_heard,
    ),
}
"""The gauges of the store. Their names begin with `stagehook_partner_`. A partner without a value has no series."""

READ_DAYS: Final = 30
READ_AT_MOST: Final = 20_000
"""Calls, and deliveries, that a question reads: the latest of all partners. It takes some 0.6 s of a CPU."""

READ_SECONDS: Final = 5.0


def slow_gauges(
    signals: Signals, partners: Collection[str], store: Store | None, timing: GaugeTiming = DEFAULT_GAUGE_TIMING
) -> list[SlowGauges]:
    """The gauges of a receiver, for its enabled partners."""
    gauges = [SlowGauges("Temporal", partial(_of_runs, signals, partners), timing)]
    if store is not None:
        gauges.append(SlowGauges("the store", partial(_of_store, store, partners), timing))
    return gauges


async def _of_store(store: Store, partners: Collection[str]) -> Sequence[Metric]:
    try:
        stats = await in_daemon("gauges", partial(_read, store))
    except StoreAway as away:
        raise GaugesAway(str(away)) from away
    known = [one for one in stats.partners if one.partner in partners]
    return [
        _by_partner(f"stagehook_partner_{name}", says, {one.partner: value_of(one) for one in known})
        for name, (says, value_of) in STATS_GAUGES.items()
    ]


def _read(store: Store) -> Stats:
    now = time.time()
    with store.database.begin(within=READ_SECONDS) as connection:
        return read_stats(connection, now - min(store.days, READ_DAYS) * DAY, now, most=READ_AT_MOST)


async def _of_runs(signals: Signals, partners: Iterable[str]) -> Sequence[Metric]:
    try:
        counts = await count_waiting(await signals.client(), partners)
    except AttributesOff as off:
        raise GaugesAway(f"{off}: `stagehook setup` registers them") from off
    except (TemporalAway, RPCError, RuntimeError) as error:
        raise GaugesAway(str(error)) from error
    return [
        _by_partner(f"stagehook_runs_{name}", says, {partner: getattr(of, name) for partner, of in counts.items()})
        for name, says in RUN_GAUGES.items()
    ]


def _by_partner(name: str, says: str, values: Mapping[str, float | None]) -> Metric:
    family = GaugeMetricFamily(name, says, labels=["partner"])
    for partner, value in sorted(values.items()):
        if value is not None:
            family.add_metric([partner], value)
    return family
