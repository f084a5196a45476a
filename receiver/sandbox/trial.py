"""TrialSandbox: the sandbox inside the web process, for TRIAL=1. It is public, so it has a door of its own.

A call must carry what the partner's file adds to authenticate it: the key of that partner, which web and worker derive
alike. Without it, the answer is 401 before the body is read. With it, the limits of a callback's body hold for the
call, and its callback URL must be one of this receiver: the sandbox sends nothing to other addresses.
"""

from __future__ import annotations

import hmac
import logging
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from activities.callback_urls import CALLBACKS_PATH, PARTNERS_PATH
from activities.environment import Environment
from activities.partners import PARTNERS
from activities.partners.partner import Partner
from activities.settings import Settings
from activities.trial import TRIAL_PATH, derived_secrets
from receiver.answers import Refused, Verdict
from receiver.body import Incoming
from receiver.budget import RateBudget
from receiver.sandbox.app import SandboxPartner

logger = logging.getLogger("stagehook.trial")

CALLS_PER_SECOND: Final = 50.0
"""Calls and status requests of each partner, in each process."""

STOP_SECONDS: Final = 2.0
"""From the stop of the web process until the callbacks that are due later must have been handed over."""

CallHeaders = Sequence[tuple[str, str]]
"""Headers that authenticate a call."""


class TrialSandbox:
    """An ASGI app, to be mounted at `TRIAL_PATH`, and its callbacks.

    partners: the enabled partners. credentials: what is accepted for each. public_url: this receiver's address.
    """

    def __init__(
        self, partners: Mapping[str, Partner], credentials: Mapping[str, Sequence[CallHeaders]], public_url: str
    ) -> None:
        self._credentials = {name: credentials.get(name, ()) for name in partners}
        self._budget = RateBudget()
        self._http = httpx.AsyncClient(timeout=10, trust_env=False)
        ours = re.escape(public_url)
        own_url = re.compile(
            rf"{ours}(?:{re.escape(CALLBACKS_PATH)}\.?[A-Za-z0-9_-][A-Za-z0-9._-]*|{re.escape(PARTNERS_PATH)}[a-z0-9-]+)"
        )
        self._sandbox = SandboxPartner(
            self._http,
            schemes={name: partner.signature for name, partner in partners.items() if partner.signature},
            public_url=public_url,
            may_call_back=lambda url: own_url.fullmatch(url) is not None,
            remembers_by_id=True,
        )

    @classmethod
    def of(cls, settings: Settings) -> TrialSandbox | None:
        """The sandbox that the settings ask for, or None."""
        if not settings.trial:
            return None
        credentials = {name: _all_credentials(name, partner, settings) for name, partner in settings.partners.items()}
        return cls(settings.partners, credentials, settings.public_url)

    @asynccontextmanager
    async def running(self, app: ASGIApp) -> AsyncIterator[None]:
        """Call back while the block runs. app: the receiver, which takes what is left at the end without the network.

        At that time the web process listens no more: what is sent to its address would be lost.
        """
        try:
            yield
        finally:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as handing_over:
                await self._sandbox.finish(handing_over, STOP_SECONDS)
                await self._sandbox.aclose()
            await self._http.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, a status request, or a request that stops or undoes work."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        name = scope["path"].removeprefix(TRIAL_PATH).removeprefix("/").partition("/")[0]
        try:
            body = await self._admit(request, name)
        except Refused as refused:
            logger.info(
                "trial-refused",
                extra={"partner": name if name in self._credentials else "", "why": refused.verdict.name.lower()},
            )
            await _response_to(refused)(scope, receive, send)
            return
        await self._sandbox.app(scope, _replayed(body, receive), send)

    async def _admit(self, request: Request, name: str) -> bytes:
        """Return the body of a request that may be made; raises `Refused`."""
        accepted = self._credentials.get(name, ())
        if not any(_has(request, credentials) for credentials in accepted):
            raise Refused(Verdict.UNPROVEN, body_read=False)
        if wait := self._budget.seconds_to_wait(name, CALLS_PER_SECOND):
            raise Refused(Verdict.TOO_MANY, body_read=False, retry_after=math.ceil(wait))
        return await Incoming(request).read()


def _all_credentials(name: str, partner: Partner, settings: Settings) -> list[CallHeaders]:
    """The credentials of a partner: its own, and those that a worker has while the callback keys are rotated."""
    made = [partner]
    for key in settings.callback_keys:
        environment = Environment(derived_secrets([key]))
        environment.add_defaults({f"{name.upper()}_URL": settings.public_url, "SANDBOX_URL": settings.public_url})
        made.append(PARTNERS[name](environment))
    return [found for one in made if (found := credentials_of(one))]


def credentials_of(partner: Partner) -> CallHeaders:
    """The headers that the partner's file adds to a request; none if it adds none."""
    if partner.auth is None:
        return ()
    request = httpx.Request("GET", "https://trial.invalid")
    before = set(request.headers.items())
    next(partner.auth.auth_flow(request))
    return [header for header in request.headers.items() if header not in before]


def _has(request: Request, credentials: CallHeaders) -> bool:
    """Whether the request has these headers, each of them once. Takes the same time for every wrong value."""
    found = [(request.headers.getlist(name), value) for name, value in credentials]
    return all(hmac.compare_digest(",".join(given).encode(), value.encode()) for given, value in found)


def _response_to(refused: Refused) -> Response:
    if refused.verdict is not Verdict.UNPROVEN:
        return refused.respond()
    answer = {"answer": "this needs the key of the sandbox"}
    return JSONResponse(answer, 401, headers={"WWW-Authenticate": "Bearer", "Connection": "close"})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body which was read already, and then what follows."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
