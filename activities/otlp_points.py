"""OTLP points: prometheus_client's metrics as OpenTelemetry's. Imported only if metrics are pushed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as PushedMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

SCOPE = InstrumentationScope("stagehook")


@dataclass
class _Histogram:
    """The samples of one series of a histogram. counted: the number of values up to each bound."""

    counted: dict[float, float] = field(default_factory=dict)
    total: float = 0.0


def metrics_data(families: Iterable[Metric], resource: Resource, *, since: int, at: int) -> MetricsData:
    """The metrics of a process. since, at: when it began to count, and now, in unix nanoseconds."""
    times: dict[str, Any] = {"start_time_unix_nano": since, "time_unix_nano": at}
    metrics = [_metric(family, times) for family in families if family.samples]
    scope = ScopeMetrics(scope=SCOPE, metrics=metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource=resource, scope_metrics=[scope], schema_url="")])


def _metric(family: Metric, times: dict[str, Any]) -> PushedMetric:
    unit = "s" if family.name.endswith("_seconds") else ""
    return PushedMetric(name=family.name, description=family.documentation, unit=unit, data=_data(family, times))


def _data(family: Metric, times: dict[str, Any]) -> Any:
    cumulative = AggregationTemporality.CUMULATIVE
    if family.type == "histogram":
        return Histogram([*_histogram_points(family, times)], aggregation_temporality=cumulative)
    samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    points = [NumberDataPoint(attributes=one.labels, value=float(one.value), **times) for one in samples]
    if family.type == "counter":
        return Sum(points, aggregation_temporality=cumulative, is_monotonic=True)
    return Gauge(points)


def _histogram_points(family: Metric, times: dict[str, Any]) -> Iterator[HistogramDataPoint]:
    series: dict[tuple[tuple[str, str], ...], _Histogram] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        _add(series.setdefault(tuple(sorted(labels.items())), _Histogram()), sample)
    for found, histogram in series.items():
        bounds = sorted(histogram.counted)
        counted = [int(histogram.counted[bound]) for bound in bounds]
        yield HistogramDataPoint(
            attributes=dict(found),
            count=counted[-1],
            sum=histogram.total,
            bucket_counts=[later - earlier for earlier, later in itertools.pairwise([0, *counted])],
            explicit_bounds=[bound for bound in bounds if bound != math.inf],
            # The encoder leaves out both: no registry of ours keeps them.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
            **times,
        )


def _add(histogram: _Histogram, sample: Sample) -> None:
    if sample.name.endswith("_bucket"):
        histogram.counted[float(sample.labels["le"])] = sample.value
    elif sample.name.endswith("_sum"):
        histogram.total = sample.value
