"""Run the worker: it waits for Temporal, and on a stop gives the calls in flight a grace period."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
from collections.abc import Iterator
from typing import Final

from temporalio.runtime import Runtime

from activities.client import TemporalUnreachable, connect, connect_config, make_runtime, target_of
from activities.settings import Settings
from activities.worker import GRACE, WorkerStopped, run_worker
from receiver.cli.worker.health import WorkerHealth
from receiver.lifecycle import freeze_loaded_objects
from receiver.log_setup import start_logging
from receiver.start_warnings import warn_of

logger = logging.getLogger("stagehook.worker")

AGAIN_SECONDS: Final = (1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds between attempts to start. They grow, so that a long outage does not fill the log."""


async def run_until_stopped() -> None:
    """Run the worker of this environment until SIGTERM or SIGINT; raises `SettingsError`, `TemporalUnreachable`."""
    settings = Settings.from_env(os.environ)
    start_logging(settings.logs)
    freeze_loaded_objects()
    health = WorkerHealth()
    running = asyncio.ensure_future(_run(settings, health))
    stopping = asyncio.Event()

    def stop() -> None:
        # Only once: a second cancellation would end the grace period of the calls in flight.
        if not stopping.is_set():
            stopping.set()
            health.stopped("the worker is stopping")
            logger.info("stopping", extra={"within": GRACE.total_seconds()})
            running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await running
    except asyncio.CancelledError:
        logger.info("stopped")


async def _run(settings: Settings, health: WorkerHealth) -> None:
    """Run the worker, with its metrics if they are shown or pushed. Raises `TemporalUnreachable`; see `_work`."""
    if not settings.metrics.are_counted:
        await _work(settings, make_runtime(), health)
        return
    from receiver.cli.worker.telling import telling

    async with telling(settings, health) as runtime:
        await _work(settings, runtime, health)


async def _work(settings: Settings, runtime: Runtime, health: WorkerHealth) -> None:
    """Run the worker, and wait for Temporal: processes start in any order, and Temporal may stop during a start.

    Raises `TemporalUnreachable` if Temporal refuses a worker that has not run yet, and waiting does not help: a deploy
    with a wrong key fails at once. A worker that has run waits, because a permission that was taken away may come back.
    """
    logger.info("temporal", extra=target_of(connect_config(os.environ)).facts)
    pauses, has_run = _pauses(), False
    while True:
        try:
            client = await connect(os.environ, runtime=runtime)
            facts = {"task_queue": settings.task_queue, "partners": ",".join(settings.partners)}
            logger.info("started", extra={**facts, **settings.address.facts, **settings.build.facts})
            warn_of(settings, logger)
            async with health.polling(client):
                await run_worker(client, settings)
            return
        except TemporalUnreachable as error:
            if isinstance(error, WorkerStopped):
                pauses, has_run = _pauses(), True
            if error.fault.cause.is_final and not has_run:
                raise
            health.stopped(f"Temporal cannot be used: {error.fault.cause.says}")
            again_in = next(pauses)
            logger.warning("temporal-away", extra={**error.facts, "again_in": again_in})
            await asyncio.sleep(again_in)


def _pauses() -> Iterator[float]:
    """Seconds between attempts to start."""
    return itertools.chain(AGAIN_SECONDS, itertools.repeat(AGAIN_SECONDS[-1]))
