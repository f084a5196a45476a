"""Pusher: pushes a process's metrics to an OpenTelemetry collector, by OTLP over HTTP.

Each process pushes its own, because behind a router a scraper cannot choose which process answers. Headers, time limit,
certificates and compression are the exporter's own variables (OTEL_EXPORTER_OTLP_*). A collector that is away costs a
line in the log when that begins, when it ends, and each hour.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client.core import Metric

from activities.builds import Build
from activities.metrics_settings import PushSettings
from activities.threads import in_daemon

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

logger = logging.getLogger("stagehook.metrics")

LAST_PUSH_SECONDS: Final = 2.0
"""Time for the last push when the process stops."""

REMINDER_SECONDS: Final = 3600.0

Gather = Callable[[], Awaitable[Iterable[Metric]]]
"""Returns the metrics of this process as they are now."""


class Pusher:
    """Pushes metrics while its `running` block runs.

    role: `web` or `worker`. gather: see `Gather`; called in the event loop.
    """

    def __init__(self, settings: PushSettings, role: str, build: Build, gather: Gather) -> None:
        # Imported only if metrics are pushed: loading it takes longer than the start of the process.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        self._interval = settings.interval
        self._gather = gather
        self._reason = _LastLine()
        self._exporter = OTLPMetricExporter()
        self._resource = _resource(settings.service or f"stagehook-{role}", role, build)
        self._started_at = time.time_ns()
        self._turn = threading.Lock()
        self._failed = 0
        self._reminded_at = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Push while the block runs, and at its end."""
        pushing = asyncio.create_task(self._push_for_ever())
        try:
            yield
        finally:
            pushing.cancel()
            try:
                await asyncio.wait_for(self._push(), LAST_PUSH_SECONDS)
            except TimeoutError:
                self._note_failure(f"no answer within {LAST_PUSH_SECONDS:g} s when the process stopped")
            self._exporter.shutdown()

    async def _push_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._push()

    async def _push(self) -> None:
        try:
            await self._export(list(await self._gather()))
        except Exception as error:
            self._note_failure(str(error) or type(error).__name__)
        else:
            self._note_success()

    async def _export(self, families: list[Metric]) -> None:
        """Raise `NotPushed` unless the collector has taken the metrics."""
        await in_daemon("metrics", lambda: self._export_now(families))

    def _export_now(self, families: list[Metric]) -> None:
        from activities.otlp_points import metrics_data

        with self._turn:
            data = metrics_data(families, self._resource, since=self._started_at, at=time.time_ns())
            if self._exporter.export(data).name != "SUCCESS":
                raise NotPushed(self._reason.text)

    def _note_failure(self, why: str) -> None:
        self._failed += 1
        if self._failed == 1 or time.monotonic() - self._reminded_at > REMINDER_SECONDS:
            self._reminded_at = time.monotonic()
            logger.warning("metrics-not-pushed", extra={"why": why, "failed": self._failed})

    def _note_success(self) -> None:
        if self._failed:
            logger.info("metrics-pushed-again", extra={"failed": self._failed})
        self._failed = 0


class NotPushed(Exception):
    """The collector did not take the metrics."""


class _LastLine(logging.Handler):
    """Keeps the last line of the exporter, which logs why it failed instead of saying it."""

    text = "the collector did not take them"

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("opentelemetry.exporter.otlp.proto.http.metric_exporter").addHandler(self)
        # Each try is a line. A line of another of its modules may quote a header that it cannot read.
        logging.getLogger("opentelemetry").propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def _resource(service: str, role: str, build: Build) -> Resource:
    from opentelemetry.sdk.resources import Resource

    # Several processes of a machine, and the first processes of several containers, have different ids.
    facts: Mapping[str, str] = {
        "service.name": service,
        "service.instance.id": f"{role}-{socket.gethostname()}-{os.getpid()}",
        **({"service.version": build.id} if build.id else {}),
    }
    return Resource.create(facts)
