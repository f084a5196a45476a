"""Signing in to the console: the password, the session, the name, and the limits."""

from __future__ import annotations

import time
from unittest.mock import patch

import httpx
import pytest

from receiver.console.options import ConsoleOptions
from receiver.console.sign_in import SESSION_SECONDS, Sessions
from tests.parts.consoles import (
    OTHER_PASSWORD,
    PASSWORD,
    URL,
    Browser,
    browsing,
    form_of,
    locked_console,
    open_console,
)


async def test_a_page_leads_to_the_sign_in_and_back() -> None:
    async with browsing(locked_console()) as browser:
        first = await browser.get("/nothing?a=b%26c")
        assert first.status_code == 303
        page = await browser.get(first.headers["location"])
        answer = await browser.send(page, actor="ada", password=PASSWORD)
        assert (answer.status_code, answer.headers["location"]) == (303, "/nothing?a=b%26c")
        assert "<strong>ada</strong>" in (await browser.get("/nothing")).text


@pytest.mark.parametrize("wanted", ["//evil.example", "/\\evil.example", "https://evil.example", "x", "/\n", "/é"])
async def test_a_sign_in_never_leads_elsewhere(wanted: str) -> None:
    async with browsing(locked_console()) as browser:
        page = await browser.http.get("/sign-in", params={"next": wanted})
        answer = await browser.send(page, actor="ada", password=PASSWORD)
        assert answer.headers["location"] == "/"


async def test_a_wrong_password_is_refused_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with browsing(locked_console()) as browser:
        answer = await browser.sign_in(password=OTHER_PASSWORD)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert (await browser.get("/")).status_code == 303
    assert OTHER_PASSWORD not in answer.text
    assert "console-password-wrong" in caplog.messages
    assert all(OTHER_PASSWORD not in str(vars(record)) for record in caplog.records)


async def test_wrong_passwords_are_limited() -> None:
    async with browsing(locked_console()) as browser:
        answers = [(await browser.sign_in(password=OTHER_PASSWORD)).status_code for _ in range(8)]
        assert answers == [403] * 5 + [429] * 3
        assert (await browser.sign_in()).status_code == 429


async def test_many_addresses_give_no_more_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.console.sign_in.ALL_TRIES_PER_SECOND", 0.001)  # one try in 1,000 s
    app, answers = locked_console(), []
    for number in range(3):
        transport = httpx.ASGITransport(app, client=(f"192.0.2.{number}", 1))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
            answers.append((await Browser(http).sign_in(password=OTHER_PASSWORD)).status_code)
    assert answers == [403, 429, 429]


@pytest.mark.parametrize("actor", ["", "  ", "x" * 101, "a\u202eb", "a\x00b"])
async def test_a_sign_in_needs_a_printable_name(actor: str) -> None:
    async with browsing(locked_console()) as browser:
        assert (await browser.sign_in(actor=actor)).status_code == 422


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", "stagehook-console=X; HttpOnly; Max-Age=43200; Path=/; SameSite=strict"),
        (
            "https://hooks.example.com/console",
            "__Secure-stagehook-console=X; HttpOnly; Max-Age=43200; Path=/console/; SameSite=strict; Secure",
        ),
    ],
)
async def test_the_cookie_is_kept_from_scripts_and_other_sites(url: str, expected: str) -> None:
    app = locked_console(url=url)
    base = url.removesuffix("/console")
    async with browsing(app, base) as browser:
        page = await browser.get("/sign-in")
        form = form_of(page)
        answer = await browser.http.post(
            "/sign-in",
            data={**form.fields, "actor": "ada", "password": PASSWORD},
            headers={"sec-fetch-site": "same-origin"},
        )
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert f"{name}=X;{rest.partition(';')[2]}" == expected


async def test_signing_out_removes_the_session(signed_in: Browser) -> None:
    answer = await signed_in.send(await signed_in.get("/nothing"), "/sign-out")
    assert answer.headers["location"] == "/sign-in"
    assert (await signed_in.get("/")).status_code == 303


async def test_a_session_of_another_password_is_void(signed_in: Browser) -> None:
    async with browsing(locked_console(OTHER_PASSWORD)) as browser:
        browser.http.cookies = signed_in.http.cookies
        assert (await browser.get("/nothing")).status_code == 303


async def test_several_processes_share_a_session(signed_in: Browser) -> None:
    async with browsing(locked_console()) as browser:
        browser.http.cookies = signed_in.http.cookies
        page = await browser.get("/nothing")
        assert page.status_code == 404
        assert (await signed_in.send(page, "/sign-out")).status_code == 303


async def test_a_form_without_a_session_is_not_carried_out(signed_in: Browser) -> None:
    page = await signed_in.get("/nothing")
    signed_in.http.cookies.clear()
    answer = await signed_in.send(page, "/sign-out")
    assert (answer.status_code, answer.text.count("Nothing was done")) == (401, 1)


@pytest.mark.parametrize("cookie", ["", "x", "WyJhIiwiYiJd.x.y", "é", "a" * 10_000])
def test_an_invalid_session_is_void(cookie: str) -> None:
    assert Sessions(PASSWORD).read(cookie) is None


def test_a_session_ends_after_its_time() -> None:
    cookie, later = Sessions(PASSWORD).issue("ada"), time.time() + SESSION_SECONDS
    with patch("itsdangerous.timed.time.time", lambda: later - 5):
        assert Sessions(PASSWORD).read(cookie) is not None
    with patch("itsdangerous.timed.time.time", lambda: later + 5):
        assert Sessions(PASSWORD).read(cookie) is None


async def test_without_a_password_nothing_is_asked() -> None:
    async with browsing(open_console()) as browser:
        page = await browser.get("/nothing")
        assert page.status_code == 404
        assert "<strong>ada</strong>" in page.text
        assert "/sign-out" not in page.text
        assert (await browser.get("/sign-in")).status_code == 404


def test_the_password_is_in_no_repr() -> None:
    assert PASSWORD not in repr(ConsoleOptions("http://127.0.0.1", PASSWORD, key=PASSWORD))
