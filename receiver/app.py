"""create_app: the receiver's routes, its lifespan, and the answers that no endpoint gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from activities.callback_urls import CALLBACKS_PATH, CallbackURLs
from activities.partners.partner import Partner
from receiver.answers import Verdict
from receiver.callbacks import Callbacks
from receiver.forwarder import Forwarder
from receiver.health import Health


def create_app(urls: CallbackURLs, partners: Mapping[str, Partner], forwarder: Forwarder) -> Starlette:
    """The receiver on these parts. Any number of processes may serve it: all it keeps between requests are limits."""
    callbacks = Callbacks(urls, partners, forwarder)
    health = Health(forwarder)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # Connects ahead of the first callback; away or not, the receiver listens at once.
        connecting = asyncio.create_task(health.find_out())
        yield
        connecting.cancel()

    app = Starlette(
        routes=[
            Route(f"{CALLBACKS_PATH}{{token:path}}", callbacks.receive, methods=["POST"]),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
        ],
        exception_handlers={HTTPException: _refuse, Exception: _break},
        lifespan=lifespan,
    )
    # A redirect would repeat the token in a Location header, on a host that the request names.
    app.router.redirect_slashes = False
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: no such path, or no such method on it."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    verdict = {404: Verdict.UNKNOWN, 405: Verdict.WRONG_METHOD}.get(status, Verdict.MALFORMED)
    response = verdict.respond(close=True)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


async def _break(request: Request, error: Exception) -> Response:
    return Verdict.BROKEN.respond(close=True)
