"""What `stagehook doctor` says of certificates, proxies and token endpoints of partners."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from activities.connection import Connection
from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.auth import ClientCredentials
from receiver.cli.doctor.calling_out import ways_to_partners
from tests.parts.certificates import issue
from tests.parts.partner_servers import forward_proxy, partner_server

SECRET, PASSWORD = "a-client-secret", "a-proxy-password"
OURS, OLD = issue("ours"), issue("ours", valid_to=-1)


async def told(**parts: Any) -> list[tuple[bool, str]]:
    partner = replace(sandbox.partner("bank", Environment({})), **parts)
    lines = [(found.ok, found.line()) async for found in ways_to_partners({"bank": partner})]
    for secret in (SECRET, PASSWORD, OURS.key_pem.decode()):
        assert secret not in str(lines)
    return lines


def pair(issued: Any) -> Connection:
    return Connection(issued.pem.decode(), issued.key_pem.decode())


async def test_the_doctor_says_nothing_of_a_direct_way() -> None:
    assert await told() == []


@pytest.mark.parametrize(("issued", "ok", "says"), [(OURS, True, "is valid"), (OLD, False, "has expired on 20")])
async def test_the_doctor_tells_of_a_client_certificate(issued: Any, says: str, *, ok: bool) -> None:
    [(is_ok, line)] = await told(connection=pair(issued))
    assert (is_ok, f"bank: our client certificate {says}" in line) == (ok, True)


async def test_the_doctor_tells_of_an_expired_authority() -> None:
    [(is_ok, line)] = await told(connection=Connection(authority=OLD.pem.decode()))
    assert (is_ok, "bank: its authority's certificate has expired on 20" in line) == (False, True)


async def test_the_doctor_tells_of_a_proxy() -> None:
    with forward_proxy("us", PASSWORD) as proxy:
        [(reached, _)] = await told(connection=Connection(proxy=proxy.url))
    [(is_ok, line)] = await told(connection=Connection(proxy=f"http://us:{PASSWORD}@127.0.0.1:9"))
    assert (reached, is_ok) == (True, False)
    assert "bank: its proxy 127.0.0.1:9 is not reached (ConnectionRefusedError: nothing listens there)" in line


async def test_the_doctor_tells_of_a_token_endpoint() -> None:
    with partner_server() as server:
        auth = ClientCredentials(f"{server.url}/token", "id", SECRET)
        [(given, _)] = await told(auth=auth)
        server.token_answer = lambda number: (401, {"error": "invalid_client", "error_description": SECRET})
        [(is_ok, line)] = await told(auth=ClientCredentials(f"{server.url}/token", "id", SECRET))
    assert (given, is_ok) == (True, False)
    assert "bank: its token endpoint answers 401 (invalid_client); try: check the client id" in line
