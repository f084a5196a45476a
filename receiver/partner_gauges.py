"""Partner gauges: what waits for each partner, asked of Temporal and of the store at most once a minute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from temporalio.service import RPCError

from activities.finding import AttributesOff
from activities.partners.partner import Partner
from activities.store.store import Store
from activities.waiting_counts import count_waiting
from receiver.sending.signals import Signals, TemporalAway
from receiver.slow_gauges import GaugesAway, SlowGauges

RUN_GAUGES: Final = {
    "waiting": "Open runs with a stage of the partner.",
    "overdue": "Of these, runs whose next deadline has passed.",
    "needing_person": "Of these, runs that wait for a person.",
}
"""The gauges of runs by the fields of `WaitingCounts`. Their names begin with `stagehook_runs_`."""


def slow_gauges(signals: Signals, partners: Mapping[str, Partner], store: Store | None) -> list[SlowGauges]:
    """The gauges of a receiver."""

    async def runs() -> Sequence[Metric]:
        return await _runs(signals, partners)

    return [SlowGauges("Temporal", runs)]


async def _runs(signals: Signals, partners: Iterable[str]) -> Sequence[Metric]:
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


def _by_partner(name: str, says: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, says, labels=["partner"])
    for partner, value in sorted(values.items()):
        family.add_metric([partner], value)
    return family
