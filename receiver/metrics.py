"""Metrics: the receiver's counters, in Prometheus' text format at `/metrics`.

The counters are right for several processes on a machine: prometheus_client then keeps its values in files of a shared
folder, and the process that is scraped adds them up. The queue's figures come from the store, which all machines share.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from activities.builds import NO_BUILD, Build
from activities.store.errors import StoreAway
from receiver.answers import Verdict
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.statements import MOST_COUNTED
from workflows.durations import DAY, HOUR

SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own variable, read when it is imported; `receiver.server` sets it for several processes."""

MOST_REASONS: Final = 100
"""Different reasons that get their own series. The limit keeps a partner's file from making series without end."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # would double the series, for no use

LATENCIES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds. Answers are promised within 2.5."""


CALL_TIMES: Final = (1.0, 10.0, 60.0, 600.0, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 30 * DAY)
"""Seconds. Partners answer at once, or after weeks."""


MetricT = TypeVar("MetricT", Counter, Histogram)


class Metrics:
    """The receiver's counters, and the endpoint that shows them.

    token: the bearer token that a scraper must send; "" for public metrics, None for no metrics (404).
    build: shown as a label of `stagehook_build_info`.
    """

    def __init__(self, inbox: Inbox | None, token: str | None = "", build: Build = NO_BUILD) -> None:
        self._inbox = inbox
        self._build = build
        self._token = token
        self._registry = CollectorRegistry()
        self._reasons: set[str] = set()
        self._series: dict[tuple[Any, ...], Any] = {}
        self._answers = Counter(
            "stagehook_answers",
            "Answers to callbacks.",
            ["verdict", "reason", "partner", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "stagehook_answer_seconds",
            "From a request's head to its answer.",
            ["verdict"],
            buckets=LATENCIES,
            registry=self._registry,
        )
        self._unrecorded = Counter(
            "stagehook_unrecorded",
            "Refused requests, duplicates and conflicts that the store's budget had no room for.",
            ["verdict", "partner"],
            registry=self._registry,
        )
        self._call_times = Histogram(
            "stagehook_call_seconds",
            "From a call to the callback with its result, of the calls that the store knows.",
            ["partner"],
            buckets=CALL_TIMES,
            registry=self._registry,
        )
        if inbox is not None:
            inbox.budget.on_unrecorded = lambda verdict, partner: self._unrecorded.labels(verdict, partner).inc()

    def answered(self, verdict: Verdict, reason: str, partner: str, *, status: int, seconds: float) -> None:
        """Count an answer. status: the HTTP status that was sent, which a partner's file may have chosen."""
        if len(self._reasons) < MOST_REASONS:
            self._reasons.add(reason)
        known = reason if reason in self._reasons else "other"
        name = verdict.name.lower()
        self._count(self._answers, name, known, partner, str(status)).inc()
        self._count(self._seconds, name).observe(seconds)

    def _count(self, metric: MetricT, *labels: str) -> MetricT:
        """The series of these labels. prometheus_client takes longer to find it."""
        if (found := self._series.get((metric, *labels))) is None:
            found = self._series[metric, *labels] = metric.labels(*labels)
        series: MetricT = found
        return series

    def called_back(self, partner: str, seconds: float) -> None:
        """Count the time from a call to the callback with its result."""
        self._call_times.labels(partner).observe(seconds)

    async def show(self, request: Request) -> Response:
        """Answer a scraper."""
        if self._token is None:
            return Verdict.UNKNOWN.respond()
        given = request.headers.get("authorization", "").encode("latin-1")
        if self._token and not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return Response("send METRICS_TOKEN as a bearer token\n", 401, {"WWW-Authenticate": "Bearer"})
        shown = generate_latest(self._own()) + self._build_info() + await self._queue()
        return Response(shown, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def _own(self) -> CollectorRegistry:
        if SHARED_FOLDER not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

    def _build_info(self) -> bytes:
        """The build of this process. During a deploy, the processes of one application may differ."""
        return _gauges([("stagehook_build_info", "The build of this process.", 1)], self._build.facts)

    async def _queue(self) -> bytes:
        """The store's figures, or that it is away. They are read from the store at each scrape, by any process."""
        if self._inbox is None:
            return b""
        try:
            depth = await self._inbox.depth()
        except StoreAway:
            return _gauges([("stagehook_store_up", "Whether the store can be used.", 0)])
        age = max(0.0, time.time() - depth.oldest) if depth.pending else 0.0
        counted = f"Counted up to {MOST_COUNTED}."
        return _gauges(
            [
                ("stagehook_store_up", "Whether the store can be used.", 1),
                ("stagehook_deliveries_pending", f"Deliveries that wait for Temporal. {counted}", depth.pending),
                ("stagehook_deliveries_oldest_pending_seconds", "Age of the oldest of them.", age),
                ("stagehook_deliveries_parked", f"Deliveries that wait for an operator. {counted}", depth.parked),
            ]
        )


class _Values(Collector):
    """Values of this moment. A `Gauge` would be kept for each process."""

    def __init__(self, values: Iterable[tuple[str, str, float]], labels: Mapping[str, str]) -> None:
        self._values = values
        self._labels = labels

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, says, value in self._values:
            family = GaugeMetricFamily(name, says, labels=list(self._labels))
            family.add_metric(list(self._labels.values()), value)
            yield family


def _gauges(values: Iterable[tuple[str, str, float]], labels: Mapping[str, str] = {}) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Values(values, labels))
    return generate_latest(registry)
