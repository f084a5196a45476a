"""The console as a browser uses it, without a browser: cookies, and forms with what they hold."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import httpx
from starlette.types import ASGIApp
from temporalio.client import Client

from activities.client import TemporalUnreachable
from receiver.console.app import create_console
from receiver.console.options import ConsoleOptions
from receiver.console.sources import Sources

PASSWORD = "Vq3zKp9TtX0mWc7RyLb2HsNf8UdGj5Ea"
OTHER_PASSWORD = "Hw5nBd8QeZ1rYk4MxUo7CvTj2PsLg9Fa"
URL = "http://127.0.0.1:8000"
FROM_OURS = {"sec-fetch-site": "same-origin"}


async def away() -> Client:
    raise TemporalUnreachable("Temporal at 127.0.0.1:1 does not answer")


def with_client(client: Client) -> Callable[[], Awaitable[Client]]:
    async def connect() -> Client:
        return client

    return connect


def open_console(connect: Callable[[], Awaitable[Client]] = away) -> ASGIApp:
    """A console on loopback without a password, in which every visitor is `ada`."""
    return create_console(ConsoleOptions(URL, actor="ada"), Sources(connect))


def locked_console(password: str = PASSWORD, url: str = URL) -> ASGIApp:
    return create_console(ConsoleOptions(url, password, key=password), Sources(away))


class Browser:
    """Follows links and sends forms."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def get(self, address: str, **headers: str) -> httpx.Response:
        return await self.http.get(address, headers=headers)

    async def sign_in(self, *, password: str = PASSWORD, actor: str = "ada") -> httpx.Response:
        page = await self.get("/sign-in")
        return await self.send(page, "/sign-in", actor=actor, password=password)

    async def send(self, page: httpx.Response, action: str = "", **fields: str) -> httpx.Response:
        """Send the page's first form with this in its action, with these fields filled in."""
        form = form_of(page, action)
        address = urljoin(str(page.url), form.action)
        return await self.http.post(address, data={**form.fields, **fields}, headers=FROM_OURS)


class Form:
    def __init__(self, text: str) -> None:
        self.action = html.unescape(re.findall(r'action="(.*?)"', text)[0])
        self.fields = {
            html.unescape(name): html.unescape(value)
            for name, value in re.findall(r'<input type="hidden" name="(.*?)" value="(.*?)">', text)
        }


def form_of(page: httpx.Response, action: str = "") -> Form:
    forms = [Form(text) for text in re.findall(r'<form method="post".*?</form>', page.text, re.DOTALL)]
    return next(form for form in forms if action in form.action)


@asynccontextmanager
async def browsing(app: ASGIApp, url: str = URL) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url) as http:
        yield Browser(http)
