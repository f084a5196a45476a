"""An identity proxy in front of the console: its assertion is verified, and a bare header proves nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.types import ASGIApp

from activities.environment import Environment
from receiver.console.app import create_console
from receiver.console.identity import Identity, read_identity
from receiver.console.options import ConsoleOptions
from receiver.console.sources import Sources
from tests.parts.consoles import PASSWORD, URL, away, browsing
from tests.parts.key_servers import KeyServer, key_server

HEADER = "Cf-Access-Jwt-Assertion"
THEIRS, STRANGERS = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
SETTINGS = {
    "CONSOLE_PASSWORD": PASSWORD,
    "CONSOLE_IDENTITY_HEADER": HEADER,
    "CONSOLE_IDENTITY_AUDIENCE": "console",
    "CONSOLE_IDENTITY_ISSUER": "https://team.example.com",
    "CONSOLE_IDENTITY_ALGORITHM": "ES256",
}


@pytest.fixture
def served() -> Iterator[KeyServer]:
    with key_server() as served:
        jwk = jwt.get_algorithm_by_name("ES256").to_jwk(THEIRS.public_key(), as_dict=True)
        served.documents["/jwks"] = json.dumps({"keys": [{**jwk, "kid": "k-1"}]}).encode()
        yield served


def identity_of(served: KeyServer) -> Identity:
    env = Environment({**SETTINGS, "CONSOLE_IDENTITY_JWKS": f"{served.url}/jwks"})
    identity = read_identity(env)
    env.check()
    assert identity is not None
    return identity


def console_of(identity: Identity) -> ASGIApp:
    return create_console(ConsoleOptions(URL, PASSWORD, key=PASSWORD), Sources(away), identity)


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


async def test_the_visitor_is_the_one_of_the_assertion(served: KeyServer) -> None:
    identity = identity_of(served)
    identity.scheme.prepare(wait=30)
    async with browsing(console_of(identity)) as browser:
        page = await browser.http.get("/nothing", headers={HEADER: assertion()})
        assert page.status_code == 404
        assert "<strong>ada@x.example</strong>" in page.text
        assert "/sign-out" not in page.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {HEADER: "ada@x.example"},
        {"X-Forwarded-User": "ada"},
        {HEADER: assertion(STRANGERS)},
        {HEADER: assertion(aud="another")},
        {HEADER: assertion(iss="https://other.example.com")},
        {HEADER: assertion(exp=1_000_000_000)},
        {HEADER: "eyJhbGciOiJub25lIn0.eyJhdWQiOiJjb25zb2xlIn0."},
        {HEADER: assertion(email=None)},
        {HEADER: assertion(email=["ada"])},
        {HEADER: assertion(email="x" * 101)},
        {HEADER: assertion(email="a\u202eb")},
    ],
    ids=[
        *("nothing", "a bare name", "another header", "a stranger's", "audience", "issuer", "expired", "unsigned"),
        *("no name", "names", "a long name", "a name that turns"),
    ],
)
async def test_what_is_not_proven_is_refused(served: KeyServer, headers: dict[str, str]) -> None:
    identity = identity_of(served)
    identity.scheme.prepare(wait=30)
    async with browsing(console_of(identity)) as browser:
        for path in ("/", "/sign-in", "/static/x"):
            assert (await browser.http.get(path, headers=headers)).status_code == 403


async def test_without_its_keys_the_proxy_is_not_refused_for_good(served: KeyServer) -> None:
    served.holding.clear()
    async with browsing(console_of(identity_of(served))) as browser:
        assert (await browser.http.get("/", headers={HEADER: assertion()})).status_code == 503
    served.holding.set()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"CONSOLE_IDENTITY_JWKS": ""}, "CONSOLE_IDENTITY_JWKS"),
        ({"CONSOLE_IDENTITY_JWKS": "a-shared-secret-of-32-characters"}, "CONSOLE_IDENTITY_JWKS"),
        ({"CONSOLE_IDENTITY_JWKS": "http://keys.example.com/jwks"}, "CONSOLE_IDENTITY_JWKS"),
        ({"CONSOLE_IDENTITY_ALGORITHM": "HS256"}, "CONSOLE_IDENTITY_ALGORITHM"),
        ({"CONSOLE_IDENTITY_ALGORITHM": "none"}, "CONSOLE_IDENTITY_ALGORITHM"),
        ({"CONSOLE_IDENTITY_AUDIENCE": ""}, "CONSOLE_IDENTITY_AUDIENCE"),
        ({"CONSOLE_IDENTITY_ISSUER": ""}, "CONSOLE_IDENTITY_ISSUER"),
        ({"CONSOLE_PASSWORD": ""}, "CONSOLE_PASSWORD"),
    ],
)
def test_incomplete_settings_of_a_proxy_are_refused(changes: dict[str, str], named: str) -> None:
    env = Environment({**SETTINGS, "CONSOLE_IDENTITY_JWKS": "https://keys.example.com/jwks", **changes})
    read_identity(env)
    assert {fault.name for fault in env.faults} == {named}


def test_without_a_header_there_is_no_proxy() -> None:
    env = Environment({"CONSOLE_IDENTITY_AUDIENCE": "console"})
    assert read_identity(env) is None
    assert env.faults == []
