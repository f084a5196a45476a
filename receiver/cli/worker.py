"""`stagehook worker`."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import signal
from typing import Final

import click
from temporalio.client import Client

from activities.client import TemporalUnreachable, connect
from activities.settings import Settings
from activities.worker import run_worker
from receiver.cli.output import run_async
from receiver.logs import LOG_CONFIG

logger = logging.getLogger("stagehook.worker")

CONNECT_AGAIN_SECONDS: Final = 3.0


@click.command()
@run_async
async def worker() -> None:
    """Run the worker until SIGTERM; calls in flight get 20 s to finish."""
    settings = Settings.from_env(os.environ)
    logging.config.dictConfig(LOG_CONFIG)
    running = asyncio.ensure_future(_run(settings))
    stopping = asyncio.Event()

    def stop() -> None:
        # Once: a second cancellation would cut off the grace that calls in flight have.
        if not stopping.is_set():
            stopping.set()
            running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await running
    except asyncio.CancelledError:
        logger.info("stopped")


async def _run(settings: Settings) -> None:
    client = await _connect()
    logger.info("started", extra={"task_queue": settings.task_queue, "partners": ",".join(settings.partners)})
    await run_worker(client, settings)


async def _connect() -> Client:
    """Processes start in any order: wait for Temporal instead of ending without it."""
    while True:
        try:
            return await connect(os.environ)
        except TemporalUnreachable as error:
            logger.warning("temporal-away", extra={"why": str(error), "again_in": CONNECT_AGAIN_SECONDS})
            await asyncio.sleep(CONNECT_AGAIN_SECONDS)
