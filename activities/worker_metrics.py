"""WorkerMetrics: the metrics of Temporal's SDK and of our workflows and activities, for Prometheus and OTLP.

All of them go through the SDK's meter. It has one way out, so they are taken from its buffer into series of our own,
which can be scraped and pushed at the same time.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString
from temporalio.runtime import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BufferedMetric,
    BufferedMetricUpdate,
    MetricBuffer,
    MetricBufferDurationFormat,
)

from activities.buckets import CALL_TIMES, LATENCIES

BUFFERED: Final = 200_000
"""Updates that the SDK keeps until they are taken; it drops what is more. A run of four stages makes some 150."""

TAKEN_EVERY: Final = 1.0
"""Seconds."""

MOST_SERIES: Final = 2_000
"""Series of a metric. Further ones are added up in one, as OpenTelemetry's SDKs do it: any client can start runs."""

OVERFLOW: Final = (("otel_metric_overflow", "true"),)

LONG: Final = {"stagehook_callback", "temporal_workflow_endtoend_latency"}
"""Durations of partners and of whole runs."""

Labels = tuple[tuple[str, str], ...]


@dataclass
class _Series:
    """A value, and for a histogram the number of its values by bucket."""

    value: float = 0.0
    counts: list[int] = field(default_factory=list)


class _Family:
    """A metric and its series, by labels."""

    def __init__(self, metric: BufferedMetric) -> None:
        self.name = metric.name.removesuffix("_seconds") if metric.unit == "s" else metric.name
        self._is_counter = metric.kind == BUFFERED_METRIC_KIND_COUNTER
        self._is_gauge = metric.kind == BUFFERED_METRIC_KIND_GAUGE
        self._buckets: Sequence[float] = CALL_TIMES if self.name in LONG else LATENCIES
        self._unit = "_seconds" if metric.unit == "s" else ""
        self._says = metric.description or "A metric of Temporal's SDK."
        self._series: dict[Labels, _Series] = {}

    def update(self, labels: Labels, value: float) -> None:
        if labels not in self._series and len(self._series) >= MOST_SERIES:
            labels = OVERFLOW
        series = self._series.setdefault(labels, _Series())
        if self._is_gauge:
            series.value = value
            return
        series.value += value
        if not self._is_counter:
            series.counts = series.counts or [0] * (len(self._buckets) + 1)
            series.counts[bisect.bisect_left(self._buckets, value)] += 1

    def metric(self) -> Metric:
        kind = "counter" if self._is_counter else "gauge" if self._is_gauge else "histogram"
        metric = Metric(self.name + self._unit, self._says, kind)
        for labels, series in self._series.items():
            if series.counts:
                self._add_histogram(metric, dict(labels), series)
            else:
                suffix = "_total" if self._is_counter else ""
                metric.add_sample(metric.name + suffix, dict(labels), series.value)
        return metric

    def _add_histogram(self, metric: Metric, labels: dict[str, str], series: _Series) -> None:
        bounds = [*map(floatToGoString, self._buckets), "+Inf"]
        counted = list(itertools.accumulate(series.counts))
        for bound, count in zip(bounds, counted, strict=True):
            metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, count)
        metric.add_sample(f"{metric.name}_count", labels, counted[-1])
        metric.add_sample(f"{metric.name}_sum", labels, series.value)


class WorkerMetrics:
    """The metrics of a worker's process, all in its event loop.

    buffer: for the process's only runtime, which must be made before anything is collected.
    """

    def __init__(self) -> None:
        self.buffer = MetricBuffer(BUFFERED, MetricBufferDurationFormat.SECONDS)
        self._families: dict[str, _Family] = {}

    def collect(self) -> list[Metric]:
        """The metrics as they are now."""
        self._take()
        return [family.metric() for family in self._families.values()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take what the SDK has buffered while the block runs, scraped or not."""
        taking = asyncio.create_task(self._take_for_ever())
        try:
            yield
        finally:
            taking.cancel()

    async def _take_for_ever(self) -> None:
        while True:
            self._take()
            await asyncio.sleep(TAKEN_EVERY)

    def _take(self) -> None:
        for update in self.buffer.retrieve_updates():
            self._update(update)

    def _update(self, update: BufferedMetricUpdate) -> None:
        if (family := self._families.get(update.metric.name)) is None:
            family = self._families[update.metric.name] = _Family(update.metric)
        family.update(tuple(_labels(update.attributes)), float(update.value))


def _labels(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(attributes.items()):
        yield name, str(value).lower() if isinstance(value, bool) else str(value)
