"""Who may enter a console of its own: on this machine without a password, or by an identity proxy's assertion."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.parts.browsers import Watched, check_looks, new_context
from tests.parts.console_systems import ConsoleSystem
from tests.parts.consoles import PASSWORD
from tests.parts.key_servers import key_server

pytestmark = pytest.mark.browser

HEADER = "X-Goog-IAP-JWT-Assertion"
THEIRS, STRANGERS = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


# --- on loopback, without a password


@pytest.fixture(scope="module")
def open_port(console: ConsoleSystem, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with console.own_console(tmp_path_factory.mktemp("open"), USER="grace", LOGNAME="grace") as port:
        yield port


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    context = new_context(browser)
    yield context
    context.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_on_this_machine_it_is_open(host: str, open_port: str, context: Any, pictures: Path) -> None:
    visited = Watched(context.new_page(), f"http://{host}:{open_port}")
    page = visited.open("/")
    page.get_by_role("heading", name="Waiting").wait_for()
    assert page.get_by_text("grace").count() == 1
    assert page.get_by_label("Password").count() == 0
    check_looks(visited, f"open-{host}", pictures)


def test_on_this_machine_an_order_has_the_users_name(open_port: str, context: Any, console: ConsoleSystem) -> None:
    run = console.start("openly")
    visited = Watched(context.new_page(), f"http://localhost:{open_port}")
    extend(visited, run)
    assert [(one["what"], one["why"]) for one in console.ledger(run)] == [("extend by 2 hours, by grace", "a holiday")]


@pytest.mark.parametrize("host", ["console.localhost", "evil.localhost"])
def test_another_name_of_this_machine_is_refused(host: str, open_port: str, context: Any) -> None:
    """A page elsewhere may let its name lead here; the browser then takes both for one site."""
    visited = Watched(context.new_page(), f"http://{host}:{open_port}")
    for path in ("/", "/run?id=waits", "/static/console.css"):
        page = visited.open(path, 421)
        assert f"The console is not at this address. Open http://127.0.0.1:{open_port}/ instead." in page.content()


# --- behind an identity proxy


@dataclass
class Proxied:
    """A console behind an identity proxy, whose part the browser plays: it adds the proxy's header."""

    browser: Any
    base: str
    contexts: list[Any]

    def visitor(self, headers: dict[str, str]) -> Watched:
        self.contexts.append(new_context(self.browser, extra_http_headers=headers))
        return Watched(self.contexts[-1].new_page(), self.base)


@pytest.fixture(scope="module")
def proxied_base(console: ConsoleSystem, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with key_server() as served:
        jwk = jwt.get_algorithm_by_name("ES256").to_jwk(THEIRS.public_key(), as_dict=True)
        served.documents["/jwks"] = json.dumps({"keys": [{**jwk, "kid": "k-1"}]}).encode()
        settings = {
            "CONSOLE_PASSWORD": PASSWORD,
            "CONSOLE_IDENTITY_HEADER": HEADER,
            "CONSOLE_IDENTITY_JWKS": f"{served.url}/jwks",
            "CONSOLE_IDENTITY_AUDIENCE": "console",
            "CONSOLE_IDENTITY_ISSUER": "https://team.example.com",
            "CONSOLE_IDENTITY_ALGORITHM": "ES256",
        }
        with console.own_console(tmp_path_factory.mktemp("proxied"), **settings) as port:
            yield f"http://127.0.0.1:{port}"


@pytest.fixture
def proxied(browser: Any, proxied_base: str) -> Iterator[Proxied]:
    proxied = Proxied(browser, proxied_base, [])
    wait_for_keys(proxied)
    yield proxied
    for context in proxied.contexts:
        context.close()


def wait_for_keys(proxied: Proxied) -> None:
    """Wait until the console has fetched the proxy's keys: until then it answers 503."""
    page = proxied.visitor({HEADER: assertion()}).page
    for _ in range(60):
        if page.goto(f"{proxied.base}/").status == 200:
            return
        page.wait_for_timeout(500)
    raise AssertionError(page.content())


def assertion(key: ec.EllipticCurvePrivateKey = THEIRS, **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "aud": "console",
        "iss": "https://team.example.com",
        "iat": now,
        "exp": now + 600,
        "email": "ada@x.example",
    }
    return jwt.encode({**claims, **changes}, key, "ES256", {"kid": "k-1"})


REFUSED = {
    "missing": {},
    "a-bare-name": {HEADER: "ada@x.example"},
    "a-header-of-another-proxy": {"X-Forwarded-User": "ada", "Remote-User": "ada"},
    "expired": {HEADER: assertion(iat=1_700_000_000, exp=1_700_000_600)},
    "wrongly-signed": {HEADER: assertion(STRANGERS)},
    "of-another-audience": {HEADER: assertion(aud="another")},
    "unsigned": {HEADER: jwt.encode({"aud": "console", "email": "ada@x.example"}, "", "none")},
}


def extend(visited: Watched, run: str) -> None:
    """Put the deadline of the run's first stage off, by its form."""
    page = visited.open(f"/run?id={run}")
    page.get_by_role("link", name="Extend stage 1", exact=True).click()
    page.get_by_label("By how long").fill("2h")
    page.get_by_label("Reason").fill("a holiday")
    page.get_by_role("button", name="Extend stage 1", exact=True).click()
    page.get_by_text("Stage 1: extend by 2 hours").wait_for()
    visited.check()


def test_the_assertion_names_the_visitor(proxied: Proxied, pictures: Path) -> None:
    visited = proxied.visitor({HEADER: assertion()})
    page = visited.open("/")
    page.get_by_role("heading", name="Waiting").wait_for()
    assert page.get_by_text("ada@x.example").count() == 1
    assert page.get_by_label("Password").count() == 0
    check_looks(visited, "proxied", pictures)


def test_the_assertion_names_the_actor_in_the_ledger(proxied: Proxied, console: ConsoleSystem) -> None:
    run = console.start("proxied")
    extend(proxied.visitor({HEADER: assertion()}), run)
    assert [one["what"] for one in console.ledger(run)] == ["extend by 2 hours, by ada@x.example"]


@pytest.mark.parametrize("name", REFUSED)
def test_without_a_sound_assertion_no_page_is_shown(name: str, proxied: Proxied) -> None:
    visited = proxied.visitor(REFUSED[name])
    for path in ("/", "/run?id=waits", "/sign-in"):
        page = visited.open(path, 403)
        assert page.locator("body").inner_text().startswith("The identity proxy's assertion is missing or invalid.")


@pytest.mark.parametrize("name", REFUSED)
def test_without_a_sound_assertion_no_form_is_taken(name: str, proxied: Proxied, console: ConsoleSystem) -> None:
    """The form was shown to its visitor, whose assertion has expired since, say."""
    visited = proxied.visitor({HEADER: assertion()})
    page = visited.open("/run/order?id=waits&order=extend&stage=1")
    page.get_by_label("By how long").fill("2h")
    page.get_by_label("Reason").fill("a holiday")
    before = console.ledger("waits")
    page.context.set_extra_http_headers(REFUSED[name])
    with page.expect_response(lambda response: response.request.method == "POST") as sent:
        page.get_by_role("button", name="Extend stage 1", exact=True).click()
    assert sent.value.status == 403
    assert console.ledger("waits") == before


def test_a_form_is_for_the_visitor_who_was_shown_it(proxied: Proxied, console: ConsoleSystem) -> None:
    visited = proxied.visitor({HEADER: assertion()})
    page = visited.open("/run/order?id=waits&order=extend&stage=1")
    page.get_by_label("By how long").fill("2h")
    page.get_by_label("Reason").fill("a holiday")
    page.context.set_extra_http_headers({HEADER: assertion(email="eve@x.example")})
    with page.expect_response(lambda response: response.request.method == "POST") as sent:
        page.get_by_role("button", name="Extend stage 1", exact=True).click()
    assert sent.value.status == 403
    assert "eve" not in json.dumps(console.ledger("waits"))
