"""Endpoint: the worker's own port, with `/metrics` and `/healthz`. Imported only if METRICS_PORT is set."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final

import uvicorn
from prometheus_client.core import Metric
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from activities.environment import Fault, SettingsError
from activities.settings import Settings
from receiver.answers import Verdict
from receiver.cli.worker.health import WorkerHealth
from receiver.lifecycle import PortTaken, check_port
from receiver.log_setup import log_config
from receiver.scraping import metrics_page, refusal_of_scraper
from receiver.server import uvicorn_options

CLOSES_WITHIN: Final = 2
"""Seconds for scrapers at a stop."""


def worker_app(token: str | None, collect: Callable[[], Iterable[Metric]], health: WorkerHealth) -> Starlette:
    """The app of a worker's port. token: see `MetricsSettings`. collect: returns the metrics."""

    async def metrics(request: Request) -> Response:
        return refusal_of_scraper(request, token) or metrics_page(collect())

    async def healthz(request: Request) -> Response:
        why = health.finding
        return JSONResponse({"polling": False, "why": why}, 503) if why else JSONResponse({"polling": True})

    async def refuse(request: Request, error: Exception) -> Response:
        wrong_method = isinstance(error, HTTPException) and error.status_code == 405
        return (Verdict.WRONG_METHOD if wrong_method else Verdict.UNKNOWN).respond(close=True)

    routes = [Route("/metrics", metrics), Route("/healthz", healthz)]
    return Starlette(routes=routes, exception_handlers={HTTPException: refuse})


@asynccontextmanager
async def serving(app: Starlette, settings: Settings) -> AsyncIterator[None]:
    """Serve the app in this event loop while the block runs. Raises `SettingsError` if the port is taken.

    In the worker's own loop: a loop that hangs does not answer its probe.
    """
    host, port = settings.host, settings.metrics.port
    try:
        check_port(host, port)
    except PortTaken as taken:
        raise SettingsError([Fault("METRICS_PORT", f"cannot be used ({taken})", "choose another port")]) from taken
    options = {**uvicorn_options(), "log_config": log_config(settings.logs), "timeout_graceful_shutdown": CLOSES_WITHIN}
    server = _Server(uvicorn.Config(app, host=host, port=port, lifespan="off", **options))
    running = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await running


class _Server(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave SIGTERM to the worker, whose calls in flight it gives time."""
        return contextlib.nullcontext()
