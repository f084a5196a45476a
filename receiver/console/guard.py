"""ConsoleGuard: the checks in front of every page of the console, and the headers of every answer.

In order: the Host header, so that no other name leads here (DNS rebinding); for a POST, that it comes from one of our
pages; who the visitor is; and for a POST, the form's token. Whatever goes wrong behind it, an exception or a page that
takes too long, ends here: web serves callbacks in the same process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.console.forms import TOKEN_FIELD, FormRefused, FormTokens, read_form
from receiver.console.options import ConsoleOptions
from receiver.console.visits import VISIT, Visit

logger = logging.getLogger("stagehook.console")

CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
SAFE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every answer, whatever the answer says."""

PAGE_SECONDS: Final = 20.0
"""Limit of a page."""

ACT_SECONDS: Final = 45.0
"""Limit of a POST: a command waits up to 15 s for its run, and is then looked up."""

PAGES_AT_ONCE: Final = 8
"""Pages that are made at once, in each process; others wait, and the wait counts towards their limit."""


class Reception(Protocol):
    """Says who a visitor is."""

    def visit(self, request: Request) -> Visit | Response:
        """Return the visit, or what to answer to a visitor who may not see the page."""
        ...


class ConsoleGuard:
    """ASGI middleware around the console's pages. reception: says who the visitor is."""

    def __init__(self, app: ASGIApp, options: ConsoleOptions, reception: Reception, tokens: FormTokens) -> None:
        self._app = app
        self._options = options
        self._reception = reception
        self._tokens = tokens
        self._places = asyncio.Semaphore(PAGES_AT_ONCE)
        # Over plain http, browsers send no Sec-Fetch-Site, and with no-referrer they send `Origin: null`.
        self._policy = {} if options.is_trustworthy else {"Referrer-Policy": "same-origin"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Never raises, except if the process ends."""
        if scope["type"] != "http":
            return
        answer = _Answer(send, {**SAFE_HEADERS, **self._policy})
        request = Request(scope, receive)
        limit = PAGE_SECONDS if request.method in {"GET", "HEAD"} else ACT_SECONDS
        try:
            async with asyncio.timeout(limit):
                await self._serve(request, answer)
        except TimeoutError:
            await answer.fail(503, f"The page took longer than {limit:.0f} s. Load it again, or narrow what it shows.")
        except ClientDisconnect:
            pass
        except Exception:
            logger.exception("console-failed", extra={"path": request.url.path})
            await answer.fail(500, "The console failed. The process's log says why; callbacks are not affected.")

    async def _serve(self, request: Request, answer: _Answer) -> None:
        found = self._refusal(request) or self._reception.visit(request)
        if isinstance(found, Visit) and request.method == "POST":
            found = await self._with_form(request, found)
        if isinstance(found, Response):
            await found(request.scope, request.receive, answer.send)
        else:
            # After the form is read: strangers who send one slowly take no place.
            async with self._places:
                await self._app({**request.scope, VISIT: found}, request.receive, answer.send)

    def _refusal(self, request: Request) -> Response | None:
        """What to answer to a request that is not from a browser at our address, or not from one of our pages."""
        if request.headers.getlist("host") not in [[host] for host in self._options.hosts]:
            return text_answer(421, f"The console is not at this address. Open {self._options.url}/ instead.")
        if request.method == "POST" and not self._is_from_our_page(request):
            return text_answer(403, "The form was not sent from a page of this console. Nothing was done.")
        return None

    def _is_from_our_page(self, request: Request) -> bool:
        if site := request.headers.get("sec-fetch-site"):
            return site == "same-origin"
        return request.headers.get("origin") in self._options.origins

    async def _with_form(self, request: Request, visit: Visit) -> Visit | Response:
        try:
            form = await read_form(request)
            self._tokens.check(visit.session, address_of(request), form.get(TOKEN_FIELD, ""))
        except FormRefused as refused:
            what = str(refused)
            return text_answer(refused.status, f"{what[0].upper()}{what[1:]}. Nothing was done.")
        return replace(visit, form=form)


def address_of(request: Request) -> str:
    """Path and query of a request within the console, which a form's token is bound to."""
    path = path_within(request)
    return f"{path}?{request.url.query}" if request.url.query else path


def path_within(request: Request) -> str:
    """The path of a request within the console, such as `/runs`."""
    return str(request.scope["path"]).removeprefix(str(request.scope.get("root_path", "")))


def text_answer(status: int, text: str) -> Response:
    """A refusal as plain text."""
    return PlainTextResponse(f"{text}\n", status)


class _Answer:
    """An answer that is being sent, with the headers of every answer."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = headers
        self._is_begun = False

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self._is_begun = True
            headers = MutableHeaders(scope=message)
            headers.update(self._headers)
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)

    async def fail(self, status: int, text: str) -> None:
        """Answer with an error, unless an answer has begun."""
        if self._is_begun:
            return
        response = text_answer(status, text)
        await self.send({"type": "http.response.start", "status": status, "headers": response.raw_headers})
        await self.send({"type": "http.response.body", "body": response.body})
