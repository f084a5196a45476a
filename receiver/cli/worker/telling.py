"""Telling: a worker's metrics and its health, at its port and pushed. Imported only if one of them is set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from prometheus_client.core import Metric
from temporalio.runtime import Runtime

from activities.client import make_runtime
from activities.otlp import Pusher
from activities.settings import Settings
from activities.worker_metrics import WorkerMetrics
from receiver.cli.worker.endpoint import serving, worker_app
from receiver.cli.worker.health import WorkerHealth
from receiver.scraping import build_info


@asynccontextmanager
async def telling(settings: Settings, health: WorkerHealth) -> AsyncIterator[Runtime]:
    """Show and push while the block runs. Yields the process's runtime, which counts.

    Raises `SettingsError` if the port is taken.
    """
    counted = WorkerMetrics()
    runtime = make_runtime(counted.buffer)

    def collect() -> list[Metric]:
        return [*counted.collect(), build_info(settings.build)]

    async def gather() -> list[Metric]:
        return collect()

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(counted.running())
        if settings.metrics.push:
            pusher = Pusher(settings.metrics.push, "worker", settings.build, gather)
            await stack.enter_async_context(pusher.running())
        if settings.metrics.port:
            app = worker_app(settings.metrics.token, collect, health)
            await stack.enter_async_context(serving(app, settings))
        yield runtime
