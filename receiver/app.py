"""create_app: the receiver's routes, its lifespan, and its answers outside of endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from activities.builds import NO_BUILD, Build
from activities.callback_urls import CALLBACKS_PATH, PARTNERS_PATH, CallbackURLs
from activities.metrics_settings import PUBLIC_METRICS, MetricsSettings
from activities.otlp import Pusher
from activities.partners.partner import Partner
from activities.public_url import path_of
from activities.store.store import Store
from activities.trial import TRIAL_PATH
from receiver.answers import Verdict
from receiver.below import Below
from receiver.callbacks import Callbacks
from receiver.console.options import CONSOLE_PATH
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.retention import prune_for_ever
from receiver.health import Health
from receiver.metrics import Metrics
from receiver.partner_gauges import slow_gauges
from receiver.sandbox.trial import TrialSandbox
from receiver.sending.direct import Direct
from receiver.sending.signals import Signals
from receiver.sending.stored import Stored
from receiver.timing import DEFAULT_TIMING, Timing

METHODS: Final = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"]
"""The callback endpoints accept every method. They refuse what is not a callback themselves, so that it is recorded."""


def create_app(
    urls: CallbackURLs,
    partners: Mapping[str, Partner],
    signals: Signals,
    *,
    store: Store | None = None,
    metrics: MetricsSettings = PUBLIC_METRICS,
    build: Build = NO_BUILD,
    timing: Timing = DEFAULT_TIMING,
    trial: TrialSandbox | None = None,
    console: ASGIApp | None = None,
) -> Starlette:
    """Make the receiver's app. Any number of processes may serve it: between requests it keeps only limits.

    store: where deliveries are kept, or None; used during the app's lifespan. metrics: how they are shown and pushed.
    trial, console: the sandbox and the console to mount, or None.
    """
    inbox = None if store is None else Inbox(store.database, timing, packs=store.packs)
    counters = Metrics(inbox, metrics.token, build, [gauges.read for gauges in slow_gauges(signals, partners, store)])
    forwarder = Direct(signals) if inbox is None else Stored(signals, inbox, timing, counters.called_back)
    callbacks = Callbacks(urls, partners, forwarder, counters)
    health = Health(forwarder, timing)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            await running.enter_async_context(forwarder.running())
            if store is not None and inbox is not None:
                running.callback(asyncio.create_task(prune_for_ever(inbox, store.days)).cancel)
            for partner in partners.values():
                if partner.signature is not None:
                    partner.signature.prepare()
            # Checks before the first probe, in the background: the receiver listens at once, whatever is away.
            running.callback(asyncio.create_task(health.find_out()).cancel)
            if trial is not None:
                await running.enter_async_context(trial.running(app))
            if metrics.push is not None:
                pusher = Pusher(metrics.push, "web", build, counters.gather)
                await running.enter_async_context(pusher.running())
            yield

    app = Starlette(
        routes=[
            Route(f"{CALLBACKS_PATH}{{token:path}}", callbacks.receive, methods=METHODS),
            Route(f"{PARTNERS_PATH}{{name:path}}", callbacks.receive_at_partner_url, methods=METHODS),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/metrics", counters.show),
            *([Mount(TRIAL_PATH, app=trial)] if trial else []),
            *(_console_routes(console, path_of(urls.public_url)) if console else []),
        ],
        middleware=[Middleware(Below, path=path)] if (path := path_of(urls.public_url)) else [],
        exception_handlers={HTTPException: _refuse_request, Exception: _break},
        lifespan=lifespan,
    )
    # A redirect would repeat the token in a Location header, on the host that the request names.
    app.router.redirect_slashes = False
    return app


def _console_routes(console: ASGIApp, below: str) -> list[BaseRoute]:
    """The console, and a redirect to it where the slash is left out. below: the path of PUBLIC_URL."""

    async def enter(request: Request) -> Response:
        return RedirectResponse(f"{below}{CONSOLE_PATH}/")

    return [Route(CONSOLE_PATH, enter, methods=["GET"]), Mount(CONSOLE_PATH, app=console)]


async def _refuse_request(request: Request, error: Exception) -> Response:
    """Answer a request that Starlette refuses: an unknown path, or a method that the path does not support."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    verdict = {404: Verdict.UNKNOWN, 405: Verdict.WRONG_METHOD}.get(status, Verdict.MALFORMED)
    response = verdict.respond(close=True)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


async def _break(request: Request, error: Exception) -> Response:
    return Verdict.BROKEN.respond(close=True)
