"""Metrics: the receiver's counters, in Prometheus' text format at `/metrics`.

The counters are right for several processes on a machine: prometheus_client then keeps its values in files of a shared
folder, and the process that is scraped adds them up. The queue's figures come from the store, which all machines share.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from activities.buckets import CALL_TIMES, LATENCIES
from activities.builds import NO_BUILD, Build
from activities.store.errors import StoreAway
from receiver.answers import Verdict
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.statements import MOST_COUNTED
from receiver.scraping import build_info, gauge, metrics_page, refusal_of_scraper

SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own variable, read when it is imported; `receiver.server` sets it for several processes."""

MOST_REASONS: Final = 100
"""Different reasons that get their own series. The limit keeps a partner's file from making series without end."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # would double the series, for no use

AskGauges = Callable[[], Awaitable[Sequence[Metric]]]
"""Returns gauges that cost a query; see `receiver.slow_gauges`."""

MetricT = TypeVar("MetricT", Counter, Histogram)


class Metrics:
    """The receiver's counters, and the endpoint that shows them.

    token: see `MetricsSettings`. build: shown as a label of `stagehook_build_info`. gauges: shown besides.
    """

    def __init__(
        self, inbox: Inbox | None, token: str | None = "", build: Build = NO_BUILD, gauges: Sequence[AskGauges] = ()
    ) -> None:
        self._gauges = gauges
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
        return refusal_of_scraper(request, self._token) or metrics_page(await self._gather(self._of_machine()))

    async def gather(self) -> list[Metric]:
        """The metrics of this process, to be pushed: other processes of the machine push their own."""
        return await self._gather(self._registry)

    async def _gather(self, counters: CollectorRegistry) -> list[Metric]:
        gauges = await asyncio.gather(self._queue(), *(ask() for ask in self._gauges))
        return [*counters.collect(), build_info(self._build), *itertools.chain(*gauges)]

    def _of_machine(self) -> CollectorRegistry:
        """The counters of all processes of this machine."""
        if SHARED_FOLDER not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

    async def _queue(self) -> Sequence[Metric]:
        """The store's figures, or that it is away. They are read from the store at each scrape, by any process."""
        if self._inbox is None:
            return []
        try:
            depth = await self._inbox.depth()
        except StoreAway:
            return [gauge("stagehook_store_up", "Whether the store can be used.", 0)]
        age = max(0.0, time.time() - depth.oldest) if depth.pending else 0.0
        counted = f"Counted up to {MOST_COUNTED}."
        return [
            gauge("stagehook_store_up", "Whether the store can be used.", 1),
            gauge("stagehook_deliveries_pending", f"Deliveries that wait for Temporal. {counted}", depth.pending),
            gauge("stagehook_deliveries_oldest_pending_seconds", "Age of the oldest of them.", age),
            gauge("stagehook_deliveries_parked", f"Deliveries that wait for an operator. {counted}", depth.parked),
        ]
