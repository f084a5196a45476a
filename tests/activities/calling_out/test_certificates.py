"""Calls with client certificates, through proxies, and with their settings."""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs, Claims
from activities.calls import PartnerCalls
from activities.connection import Connection, connection
from activities.environment import Environment
from activities.http import BoundedTransport
from activities.reaching import plain_words
from activities.signatures import ConfigError
from tests.parts.called_bank import (
    CA,
    CALL,
    OTHER_CA,
    OURS,
    PASSWORD,
    SERVER,
    bank,
    call,
    connected,
    credentials,
    proving,
    refusal,
)
from tests.parts.certificates import HERE, issue
from tests.parts.partner_servers import PartnerServer, forward_proxy, partner_server, tls
from tests.support import KEY
from workflows.contract import NOT_REACHED, Receipt

# --- certificates


async def test_a_client_certificate_proves_who_calls(tmp_path: Path) -> None:
    """Also to the token endpoint, which the same connection leads to."""
    with partner_server(tls(tmp_path, SERVER, CA)) as server:
        partner = bank(server, auth=credentials(server), connection=proving())
        [receipt] = await call(partner)
        assert isinstance(receipt, Receipt), receipt
        assert (len(server.tokens), len(server.calls)) == (1, 1)


@pytest.mark.parametrize(
    ("ours", "why"),
    [
        (connected(), "it requires a client certificate"),
        (proving(issue("ours", OTHER_CA)), "it refuses our client certificate"),
        (proving(issue("ours", CA, valid_to=-1)), "our client certificate has expired on "),
    ],
    ids=["none", "foreign", "expired"],
)
async def test_a_refused_client_certificate_is_said_plainly(tmp_path: Path, ours: Connection, why: str) -> None:
    with partner_server(tls(tmp_path, SERVER, CA), needs_token=False) as server:
        assert f"could not be reached (ConnectError: {why}" in await refusal(bank(server, connection=ours))
        assert not server.calls


@pytest.mark.parametrize(
    ("reason", "type_", "why"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", NOT_REACHED, "ReadError: it requires a client certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", NOT_REACHED, "ReadError: it refuses our client certificate"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", NOT_REACHED, "ReadError: it says that our client certificate was revoked"),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "PartnerUnclear", "gave no whole answer (ReadError)"),
    ],
)
async def test_an_alert_after_the_request_is_told_from_lost_answers(reason: str, type_: str, why: str) -> None:
    """With TLS 1.3 a refusal of our certificate arrives in place of the answer, and no partner has read the call."""
    alert = ssl.SSLError(1, f"[SSL: {reason}]")
    alert.reason = reason

    class Alerting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise alert

    async with httpx.AsyncClient(transport=BoundedTransport(Alerting())) as http:
        calls = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": bank(PartnerServer("http://x"))})
        with pytest.raises(ApplicationError) as raised:
            await ActivityEnvironment().run(calls.call_partner, CALL)
    assert (raised.value.type, why in raised.value.message) == (type_, True)


def test_an_expired_authority_is_blamed_for_nothing_else() -> None:
    """OpenSSL itself says if it was the authority."""
    old = issue("another ca", valid_to=-1)
    way = connected(certificate=OURS.pem.decode(), key=OURS.key_pem.decode(), authority=(CA.pem + old.pem).decode())
    assert plain_words(httpx.ReadTimeout(""), way) == "ReadTimeout"


UNTRUSTED = "its certificate is not from an authority that is trusted"


@pytest.mark.parametrize(
    ("theirs", "way", "why"),
    [
        (SERVER, Connection(), UNTRUSTED),
        (
            SERVER,
            Connection(authority=OTHER_CA.pem.decode()),
            "its certificate is not from an authority that is trusted",
        ),
        (issue("server", CA), connected(), "its certificate is for another host name"),
        (issue("server", CA, hosts=HERE, valid_to=-1), connected(), "its certificate has expired"),
    ],
    ids=["public", "another", "host", "expired"],
)
async def test_a_partners_wrong_certificate_is_said_plainly(
    tmp_path: Path, theirs: Any, way: Connection, why: str
) -> None:
    with partner_server(tls(tmp_path, theirs), needs_token=False) as server:
        assert f"could not be reached (ConnectError: {why})" in await refusal(bank(server, connection=way))
        assert not server.calls


async def test_each_partner_is_called_by_its_own_connection(tmp_path: Path) -> None:
    """One client serves several partners on the main queue: no connection may be shared between them."""
    with partner_server(tls(tmp_path, SERVER, CA), needs_token=False) as server:
        found = await call(bank(server, connection=proving()), bank(server, connection=connected()), times=3)
    assert [isinstance(one, Receipt) for one in found] == [True] * 3 + [False] * 3


# --- proxies


async def test_a_proxy_leads_calls_and_token_requests_on(tmp_path: Path) -> None:
    with partner_server(tls(tmp_path, SERVER, CA)) as server, forward_proxy("us", PASSWORD) as proxy:
        way = replace(proving(), proxy=proxy.url)
        [receipt] = await call(bank(server, auth=credentials(server), connection=way))
        assert isinstance(receipt, Receipt), receipt
    assert set(proxy.asked) == {server.url.removeprefix("https://")}
    assert len(server.calls) == 1
    assert "proxy-authorization" not in server.calls[0]


async def test_a_proxy_that_refuses_us_is_said_plainly(tmp_path: Path) -> None:
    with partner_server(tls(tmp_path, SERVER), needs_token=False) as server, forward_proxy("us", "another") as proxy:
        way = connected(proxy=proxy.url.replace("another", PASSWORD))
        assert "could not be reached (ProxyError: the proxy answers 407)" in await refusal(bank(server, connection=way))
    assert not server.calls


async def test_a_proxy_that_refuses_plain_http_has_led_no_call_on(server: PartnerServer) -> None:
    with forward_proxy("us", "another") as proxy:
        assert "answered 407" in await refusal(bank(server, connection=Connection(proxy=proxy.url.replace("us", "we"))))
    assert not server.calls


async def test_a_proxy_that_is_not_there_is_said_plainly(server: PartnerServer) -> None:
    way = connected(proxy=f"http://us:{PASSWORD}@127.0.0.1:9")
    why = "could not be reached (ConnectError: its proxy, nothing listens there)"
    assert why in await refusal(bank(server, connection=way))


# --- settings


def test_certificates_come_from_variables_or_files(tmp_path: Path) -> None:
    certificate, key = OURS.saved(tmp_path, "ours")
    one_line = {"A_CLIENT_CERT": OURS.pem.decode().replace("\n", "\\n"), "A_CLIENT_KEY": OURS.key_pem.decode()}
    files = {"A_CLIENT_CERT": str(certificate), "A_CLIENT_KEY": str(key)}
    more = {"A_CA_CERT": CA.pem.decode(), "A_PROXY_URL": "http://us:pass@proxy.test:3128/"}
    for variables in (one_line, files):
        environment = Environment({**variables, **more})
        made = connection(environment, "A")
        environment.check()
        assert (made.certificate.strip(), made.key.strip()) == (
            OURS.pem.decode().strip(),
            OURS.key_pem.decode().strip(),
        )
        assert made.proxy == "http://us:pass@proxy.test:3128"
        assert OURS.key_pem.decode() not in repr(made)
    assert connection(Environment({}), "A") == Connection()


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"CLIENT_CERT": OURS.pem.decode()}, "A_CLIENT_CERT is set, and A_CLIENT_KEY is not"),
        ({"CLIENT_KEY": OURS.key_pem.decode()}, "A_CLIENT_KEY is set, and A_CLIENT_CERT is not"),
        (
            {"CLIENT_CERT": "/nowhere", "CLIENT_KEY": "/nowhere"},
            "A_CLIENT_CERT is neither PEM nor the path",
        ),
        ({"CLIENT_CERT": OURS.key_pem.decode(), "CLIENT_KEY": OURS.key_pem.decode()}, "A_CLIENT_CERT holds no certif"),
        ({"CLIENT_CERT": OURS.pem.decode(), "CLIENT_KEY": OURS.pem.decode()}, "A_CLIENT_KEY holds no private key"),
        ({"CLIENT_CERT": OURS.pem.decode(), "CLIENT_KEY": SERVER.key_pem.decode()}, "A_CLIENT_KEY is not the key of"),
        ({"CA_CERT": "-----BEGIN CERTIFICATE-----\nx"}, "A_CA_CERT holds no certificate"),
        ({"PROXY_URL": "proxy.test:3128"}, "A_PROXY_URL is not the URL of an HTTP proxy"),
        ({"PROXY_URL": f"http://us:{PASSWORD}\x7f@proxy.test:3128"}, "A_PROXY_URL is not the URL of an HTTP proxy"),
        ({"PROXY_URL": "socks5://proxy.test:1080"}, "A_PROXY_URL is not the URL of an HTTP proxy"),
        ({"PROXY_URL": f"http://us:{PASSWORD}@proxy.test:0x1/"}, "A_PROXY_URL is not the URL of an HTTP proxy"),
    ],
)
def test_what_cannot_be_used_is_a_fault_at_start(variables: dict[str, str], fault: str) -> None:
    environment = Environment({f"A_{name}": value for name, value in variables.items()})
    connection(environment, "A")
    assert str(environment.faults[0]).startswith(fault)
    assert PASSWORD not in str(environment.faults)


def test_an_expired_certificate_stops_no_process() -> None:
    old = issue("ours", CA, valid_to=-1)
    environment = Environment({"A_CLIENT_CERT": old.pem.decode(), "A_CLIENT_KEY": old.key_pem.decode()})
    [flaw] = connection(environment, "A").flaws(datetime.now(UTC))
    assert not environment.faults
    assert flaw.startswith("our client certificate has expired on 20")


# --- the idempotency key


@pytest.mark.parametrize("name", ["X-Request-Reference", "Idempotency-Key", ""])
async def test_the_key_goes_into_the_header_that_the_file_names(server: PartnerServer, name: str) -> None:
    server.needs_token = False
    await call(bank(server, idempotency_header=name))
    carried = {header for header, value in server.calls[0].items() if value == Claims.of(CALL).idempotency_key}
    assert carried == ({name.lower()} if name else set())


@pytest.mark.parametrize("name", ["Authorization", "host", "Content-Length", "X Key", "X-Key\r\n", "Accept-Encoding"])
def test_the_key_takes_no_header_of_another_use(server: PartnerServer, name: str) -> None:
    with pytest.raises(ConfigError, match="idempotency_header"):
        bank(server, idempotency_header=name)
