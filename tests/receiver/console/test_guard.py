"""What is in front of the console's pages: the Host header, from where a form comes, its token, and headers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from receiver.console import guard as guard_module
from receiver.console.forms import LARGEST_POST, FormTokens
from receiver.console.guard import SAFE_HEADERS, ConsoleGuard
from receiver.console.options import ConsoleOptions
from receiver.console.sign_in import OpenDoor
from tests.parts.consoles import FROM_OURS, PASSWORD, URL, Browser, browsing, form_of, locked_console, open_console
from tests.support import SOON


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
async def test_loopback_is_served_by_each_of_its_names(host: str) -> None:
    async with browsing(locked_console()) as browser:
        assert (await browser.get("/sign-in", host=host)).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:8001", "localhost.:8000"]
)
async def test_another_name_for_this_machine_is_refused(host: str) -> None:
    """DNS rebinding: a page of evil.example would be of the same origin."""
    async with browsing(open_console()) as browser:
        answer = await browser.get("/", host=host)
    assert answer.status_code == 421
    assert f"Open {URL}/ instead" in answer.text


@pytest.mark.parametrize("hosts", [["127.0.0.1:8000", "evil.example"], ["127.0.0.1:8000"] * 2])
async def test_a_repeated_host_is_refused(hosts: list[str]) -> None:
    """A proxy in front could read the other one."""
    async with browsing(open_console()) as browser:
        answer = await browser.http.get("/", headers=[("host", host) for host in hosts])
    assert answer.status_code == 421


async def test_a_public_console_is_served_at_its_own_host_only() -> None:
    url = "https://hooks.example.com"
    async with browsing(locked_console(url=url), url) as browser:
        assert (await browser.get("/sign-in")).status_code == 200
        assert (await browser.get("/sign-in", host="hooks.example.com:443")).status_code == 200
        assert (await browser.get("/sign-in", host="127.0.0.1")).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "origin": URL},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {},
    ],
)
async def test_a_form_of_another_site_is_refused(signed_in: Browser, headers: Mapping[str, str]) -> None:
    page = await signed_in.get("/nothing")
    form = form_of(page, "/sign-out")
    answer = await signed_in.http.post(form.action, data=form.fields, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "same-origin"}, {"origin": URL}])
async def test_a_form_of_our_own_is_taken(signed_in: Browser, headers: Mapping[str, str]) -> None:
    form = form_of(await signed_in.get("/nothing"), "/sign-out")
    assert (await signed_in.http.post(form.action, data=form.fields, headers=headers)).status_code == 303


async def test_a_form_without_its_token_is_refused(signed_in: Browser) -> None:
    answer = await signed_in.http.post("/sign-out", data={"x": "y"}, headers=FROM_OURS)
    assert (answer.status_code, answer.text.count("Nothing was done")) == (403, 1)


async def test_a_token_of_another_session_is_refused(signed_in: Browser) -> None:
    token = form_of(await signed_in.get("/nothing"), "/sign-out").fields["token"]
    await signed_in.sign_in()
    answer = await signed_in.http.post("/sign-out", data={"token": token}, headers=FROM_OURS)
    assert answer.status_code == 403


@pytest.mark.parametrize("address", ["/run/order?id=a&order=fail&stage=2", "/run/order?id=b&order=skip&stage=2", "/x"])
async def test_a_token_of_another_form_is_refused(address: str) -> None:
    token = FormTokens("k").issue("", "/run/order?id=a&order=skip&stage=2")
    app = ConsoleGuard(_unreached, ConsoleOptions(URL, key="k"), OpenDoor("ada"), FormTokens("k"))
    async with browsing(app) as browser:
        answer = await browser.http.post(address, data={"token": token}, headers=FROM_OURS)
    assert answer.status_code == 403


async def _unreached(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * LARGEST_POST, 413),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 60), 400),
        ("application/x-www-form-urlencoded", b"a=%ff", 400),
        ("application/x-www-form-urlencoded", b"a=\xff", 400),
    ],
)
async def test_what_is_not_a_form_is_refused(signed_in: Browser, kind: str, body: bytes, status: int) -> None:
    answer = await signed_in.http.post("/sign-out", content=body, headers={**FROM_OURS, "content-type": kind})
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_other_methods_are_refused(signed_in: Browser, method: str) -> None:
    assert (await signed_in.http.request(method, "/")).status_code == 405


# --- headers


async def _broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a fault")


async def _hanging(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


async def test_every_answer_has_the_headers(signed_in: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "PAGE_SECONDS", 0.05)
    answers = [
        await signed_in.get("/sign-in"),
        await signed_in.get("/nothing"),
        await signed_in.get("/"),
        await signed_in.get("/", host="evil.example"),
        await signed_in.http.put("/"),
        await signed_in.http.post("/sign-out"),
    ]
    for app in (_broken, _hanging):
        guard = ConsoleGuard(app, ConsoleOptions(URL), OpenDoor("ada"), FormTokens("k"))
        async with browsing(guard) as browser:
            answers.append(await browser.get("/"))
    assert [answer.status_code for answer in answers] == [200, 404, 503, 421, 405, 403, 500, 503]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in SAFE_HEADERS} == dict(SAFE_HEADERS)
        assert answer.headers["cache-control"] == "no-store"


async def test_files_may_be_kept_and_change_their_name(signed_in: Browser) -> None:
    page = await signed_in.get("/sign-in")
    [style] = [part.split('"')[0] for part in page.text.split('href="') if part.startswith("/static/console-")]
    answer = await signed_in.get(style)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await signed_in.get("/static/console.css")).status_code == 404


async def test_a_page_holds_no_inline_style_or_script(signed_in: Browser) -> None:
    page = await signed_in.get("/sign-in")
    assert " style=" not in page.text
    assert "<style" not in page.text
    assert page.text.count("<script") == page.text.count('<script src="/static/') == 1


async def test_over_plain_http_forms_keep_their_origin() -> None:
    """Browsers send no Sec-Fetch-Site there, and `Origin: null` with no-referrer."""
    url = "http://10.0.0.7:8000"
    async with browsing(locked_console(url=url), url) as browser:
        assert (await browser.get("/sign-in")).headers["referrer-policy"] == "same-origin"


async def test_a_fault_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    guard = ConsoleGuard(_broken, ConsoleOptions(URL), OpenDoor("ada"), FormTokens("k"))
    async with browsing(guard) as browser:
        answer = await browser.get("/")
    assert "a fault" not in answer.text
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.exc_info is not None


async def test_strangers_who_send_slowly_take_no_place() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"actor="
        await asyncio.Event().wait()

    async with browsing(locked_console()) as browser:
        headers = {**FROM_OURS, "content-type": "application/x-www-form-urlencoded"}
        sending = [
            asyncio.create_task(browser.http.post("/sign-in", content=slowly(), headers=headers))
            for _ in range(2 * guard_module.PAGES_AT_ONCE)
        ]
        async with asyncio.timeout(3 * SOON):
            assert (await browser.get("/sign-in")).status_code == 200
        assert not any(one.done() for one in sending)
        for one in sending:
            one.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


async def test_hanging_pages_leave_a_place_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that waits for a place counts that wait, so that it ends too."""
    monkeypatch.setattr(guard_module, "PAGE_SECONDS", 0.2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/hang":
            await asyncio.Event().wait()
        await Response("here")(scope, receive, send)

    guard = ConsoleGuard(app, ConsoleOptions(URL), OpenDoor("ada"), FormTokens(PASSWORD))
    async with browsing(guard) as browser:
        hanging = [browser.get("/hang") for _ in range(3 * guard_module.PAGES_AT_ONCE)]
        assert {answer.status_code for answer in await asyncio.gather(*hanging)} == {503}
        assert (await browser.get("/")).text == "here"
