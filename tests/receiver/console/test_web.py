"""The console in the web process: mounted by its password only, and never in the way of a callback."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp
from temporalio.client import Client

from activities.callback_urls import CallbackURLs
from activities.environment import SettingsError
from receiver.app import create_app
from receiver.console.app import create_console
from receiver.console.guard import PAGES_AT_ONCE
from receiver.console.options import ConsoleOptions
from receiver.console.sources import Sources
from receiver.server import app_from_env
from receiver.settings import WebSettings
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS, partners
from tests.parts.consoles import PASSWORD, away, browsing
from tests.parts.least_settings import LEAST_SETTINGS
from tests.parts.switchable import Switchable
from tests.support import KEY

IMPORTED = """
import sys
from receiver.server import app_from_env
app_from_env()
print([name for name in ("jinja2", "markupsafe", "receiver.console.app") if name in sys.modules])
"""
WEAK = "a-password-of-at-least-32-characters"


async def hanging() -> Client:
    await asyncio.Event().wait()
    raise AssertionError


@asynccontextmanager
async def web(console: ASGIApp | None) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(URLS, partners(), Switchable(), console=console)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http:
        yield http


def app_of(settings: dict[str, str]) -> Starlette:
    """The app of a process. The tests' own process is not frozen."""
    with patch.dict(os.environ, {**LEAST_SETTINGS, **settings}), patch("receiver.server.freeze_loaded_objects"):
        return app_from_env()


async def test_without_a_password_there_is_no_console() -> None:
    app = app_of({})
    async with browsing(app) as browser:
        answers = [await browser.get(path) for path in ("/console/", "/console", "/console/sign-in", "/nothing")]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert len({answer.content for answer in answers}) == 1


async def test_with_a_password_the_console_is_there() -> None:
    app = app_of({"CONSOLE_PASSWORD": PASSWORD})
    async with browsing(app) as browser:
        assert (await browser.get("/console")).headers["location"] == "/console/"
        answer = await browser.get("/console/")
        assert answer.headers["location"] == "/console/sign-in?next=%2F"
        page = await browser.get(answer.headers["location"])
        sent = await browser.send(page, actor="ada", password=PASSWORD)
        assert sent.headers["location"] == "/console/"
        assert (await browser.get("/console/nothing")).text.count("<strong>ada</strong>") == 1


def test_without_a_password_no_template_engine_is_imported() -> None:
    """In a process of its own: this one has imported it."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        env={**os.environ, **LEAST_SETTINGS},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("url", "password"), [("http://127.0.0.1:8000", "short"), ("https://hooks.example.com", WEAK), ("", "x" * 40)]
)
def test_a_weak_password_is_refused_at_the_start(url: str, password: str) -> None:
    with pytest.raises(SettingsError) as raised:
        WebSettings.from_env({**LEAST_SETTINGS, "PUBLIC_URL": url, "CONSOLE_PASSWORD": password})
    assert "CONSOLE_PASSWORD" in {fault.name for fault in raised.value.faults}
    assert password not in str(raised.value)


@pytest.mark.parametrize("prefix", ["/hooks", ""], ids=["passed on", "stripped"])
async def test_links_are_below_the_path_of_the_public_url(prefix: str) -> None:
    options = ConsoleOptions.mounted("https://example.com/hooks", PASSWORD)
    app = create_app(
        CallbackURLs("https://example.com/hooks", [KEY]),
        partners(),
        Switchable(),
        console=create_console(options, Sources(away)),
    )
    async with browsing(app, "https://example.com") as browser:
        assert (await browser.get(f"{prefix}/console")).headers["location"] == "/hooks/console/"
        first = await browser.get(f"{prefix}/console/")
        assert first.headers["location"] == "/hooks/console/sign-in?next=%2F"
        page = await browser.get(f"{prefix}/console/sign-in?next=%2F")
        assert page.text.count('"/hooks/console/static/') == 3
        sent = await browser.send(page, actor="ada", password=PASSWORD)
        assert sent.headers["location"] == "/hooks/console/"
        assert "Path=/hooks/console/;" in sent.headers["set-cookie"]


async def test_hanging_pages_delay_no_callback() -> None:
    options = ConsoleOptions(f"{BASE}/console", actor="ada")
    console = create_console(options, Sources(hanging))
    async with web(console) as http:
        pages = [asyncio.create_task(http.get("/console/")) for _ in range(3 * PAGES_AT_ONCE)]
        await asyncio.sleep(0)
        begun = time.monotonic()
        answer = await http.post(URLS.issue(CLAIMS), json=DONE)
        assert answer.status_code == 202
        assert time.monotonic() - begun < 3 * 2.5
        assert not any(page.done() for page in pages)
        for page in pages:
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)


async def test_a_failing_console_fails_alone() -> None:
    async def failing() -> Client:
        raise RuntimeError("a fault")

    console = create_console(ConsoleOptions(f"{BASE}/console", actor="ada"), Sources(failing))
    async with web(console) as http:
        page = await http.get("/console/")
        assert (page.status_code, page.headers["x-content-type-options"]) == (500, "nosniff")
        assert (await http.post(URLS.issue(CLAIMS), json=DONE)).status_code == 202
