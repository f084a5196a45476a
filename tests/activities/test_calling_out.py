"""Calls to partners that want a token, a client certificate or a proxy, against servers of the tests."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs, Claims
from activities.calls import PartnerCalls
from activities.connection import Connection, connection
from activities.environment import Environment
from activities.http import BoundedTransport, http_client
from activities.partners import PARTNERS, load_partners, sandbox
from activities.partners.auth import ClientCredentials
from activities.partners.partner import Partner, idempotency_key
from activities.reaching import plain_words
from activities.signatures import ConfigError
from tests.parts.certificates import HERE, issue
from tests.parts.partner_servers import PartnerServer, forward_proxy, partner_server, tls
from tests.support import KEY, SOON
from workflows.contract import NOT_REACHED, Answer, Question, Receipt, StageCall

CALL = StageCall("run-1", "chain-1", 2, "account-check", "bank", 1, 1_800_000_000, 1_900_000_000)
SECRET = "a-client-secret:with/colon"
PASSWORD = "a-proxy-password"

CA, OTHER_CA = issue("ca"), issue("another ca")
SERVER, OURS = issue("server", CA, hosts=HERE), issue("ours", CA)


def bank(server: PartnerServer, **parts: Any) -> Partner:
    def build_call(call: StageCall, callback_url: str) -> httpx.Request:
        return httpx.Request("POST", f"{server.url}/checks", json={"key": idempotency_key(call)})

    plain = sandbox.partner("bank", Environment({}))
    return replace(plain, build_call=build_call, read_receipt=lambda _: Receipt(reference="w-1"), **parts)


def credentials(server: PartnerServer, **parts: Any) -> ClientCredentials:
    return ClientCredentials(f"{server.url}/token", "an id", SECRET, "checks.write", **parts)


async def call(*partners: Partner, times: int = 1, within: float = SOON) -> list[Receipt | BaseException]:
    """Call the partners so many times at once, with a worker's client."""
    env = ActivityEnvironment()
    env.info = dataclasses.replace(env.info, start_to_close_timeout=timedelta(seconds=within))
    async with http_client() as http:
        urls = CallbackURLs("https://hooks.test", [KEY])
        all_calls = [PartnerCalls(http, urls, {"bank": partner}) for partner in partners for _ in range(times)]
        running = [env.run(calls.call_partner, CALL) for calls in all_calls]
        return await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 3 * SOON)


async def refusal(partner: Partner, *, within: float = SOON) -> str:
    """What a call says that the partner certainly has not taken."""
    [error] = await call(partner, within=within)
    assert isinstance(error, ApplicationError), error
    assert (error.type, error.non_retryable) == (NOT_REACHED, False)
    for secret in (SECRET, PASSWORD, OURS.key_pem.decode()):
        assert secret not in repr(error) + str(error.details) + str(error.__cause__)
    return error.message


def connected(**parts: Any) -> Connection:
    return Connection(**{"authority": CA.pem.decode(), **parts})


def proving(issued: Any = OURS) -> Connection:
    return connected(certificate=issued.pem.decode(), key=issued.key_pem.decode())


@pytest.fixture
def server() -> Iterator[PartnerServer]:
    with partner_server() as server:
        yield server


# --- OAuth 2.0 client credentials


async def test_fifty_calls_at_once_take_one_token(server: PartnerServer) -> None:
    server.token_pause = 0.2
    found = await call(bank(server, auth=credentials(server)), times=50)
    assert [one for one in found if isinstance(one, BaseException)] == []
    assert (len(server.tokens), len(server.calls)) == (1, 50)
    assert {sent["authorization"] for sent in server.calls} == {"Bearer token-1"}


@pytest.mark.parametrize("in_body", [True, False])
async def test_a_token_is_asked_for_as_rfc_6749_says(server: PartnerServer, *, in_body: bool) -> None:
    await call(bank(server, auth=credentials(server, in_body=in_body, more={"audience": "api"})))
    [(form, authorization)] = server.tokens
    sent = {name: values[0] for name, values in parse_qs(form).items()}
    own = {"client_id": "an id", "client_secret": SECRET} if in_body else {}
    assert sent == {"grant_type": "client_credentials", "scope": "checks.write", "audience": "api", **own}
    basic = httpx.BasicAuth("an+id", "a-client-secret%3Awith%2Fcolon")._auth_header
    assert authorization == ("" if in_body else basic)


async def test_a_401_renews_the_token_once_for_all_calls(server: PartnerServer) -> None:
    server.good = {"token-2"}
    found = await call(bank(server, auth=credentials(server)), times=10)
    assert [one for one in found if isinstance(one, BaseException)] == []
    assert len(server.tokens) == 2


async def test_a_second_401_is_the_partners_answer(server: PartnerServer) -> None:
    server.good = set()
    [error] = await call(bank(server, auth=credentials(server)))
    assert isinstance(error, ApplicationError)
    assert (error.type, "answered 401" in error.message) == ("PartnerRefused", True)
    assert (len(server.tokens), len(server.calls)) == (2, 2)


@pytest.mark.parametrize(
    ("seconds", "passed", "tokens"),
    [
        *((3600, 3569, 1), (3600, 3571, 2), (100, 89, 1), (100, 91, 2), ("3600", 3569, 1), (None, 10**9, 1), (0, 0, 2)),
        pytest.param(10**400, 10**7, 1, id="huge"),
    ],
)
async def test_a_token_is_renewed_before_it_expires(
    server: PartnerServer, seconds: Any, passed: float, tokens: int
) -> None:
    now = [1000.0]
    life = {} if seconds is None else {"expires_in": seconds}
    server.token_answer = lambda number: (200, {"access_token": f"token-{number}", **life})
    auth = credentials(server, now=lambda: now[0])
    await auth.token()
    now[0] += passed
    assert await auth.token() == f"token-{tokens}"
    assert len(server.tokens) == tokens


@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        (
            401,
            {"error": "invalid_client", "error_description": SECRET},
            "its token endpoint answers 401 (invalid_client)",
        ),
        (400, {"error": SECRET}, "its token endpoint answers 400"),
        (503, b"<html>" + SECRET.encode(), "its token endpoint answers 503"),
        (302, b"", "its token endpoint answers 302"),
        (200, b"<html>", "answers 200 without a usable access_token"),
        (200, b"[" * 100_000, "answers 200 without a usable access_token"),
        (200, {"access_token": 7}, "answers 200 without a usable access_token"),
        (200, {"access_token": "a\r\nX-Evil: 1"}, "answers 200 without a usable access_token"),
        (200, {"access_token": "x" * 9000}, "answers 200 without a usable access_token"),
        (200, {"access_token": "x", "token_type": "mac"}, "gives another kind of token than bearer"),
        (200, b"x" * 2_000_000, "answers 200 without a usable access_token"),
    ],
)
async def test_a_token_endpoint_that_gives_none_is_said_plainly(
    server: PartnerServer, status: int, said: Any, why: str
) -> None:
    server.token_answer = lambda number: (status, said)
    partner = bank(server, auth=credentials(server))
    assert (await refusal(partner)).endswith(why)
    assert not server.calls
    server.token_answer = PartnerServer().token_answer
    server.good = {"token-2"}
    [receipt] = await call(partner)
    assert isinstance(receipt, Receipt)


async def test_many_calls_hear_of_one_failed_token_request(server: PartnerServer) -> None:
    server.token_answer, server.token_pause = lambda number: (500, b""), 0.2
    found = await call(bank(server, auth=credentials(server)), times=20)
    assert {one.type for one in found if isinstance(one, ApplicationError)} == {NOT_REACHED}
    assert (len(server.tokens), len(server.calls)) == (1, 0)


async def test_a_token_endpoint_that_hangs_takes_no_call(
    server: PartnerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token_pause = 1.0
    partner = bank(server, auth=credentials(server))
    assert "its authentication takes too long" in await refusal(partner, within=0.3)
    monkeypatch.setattr("activities.partners.auth.TOKEN_SECONDS", 0.2)
    assert "its token endpoint gives no answer (TimeoutError)" in await refusal(bank(server, auth=credentials(server)))
    assert not server.calls


async def test_a_token_endpoint_that_is_not_there_takes_no_call(server: PartnerServer) -> None:
    auth = ClientCredentials("http://127.0.0.1:9/token", "id", SECRET)
    assert "gives no answer (ConnectError: nothing listens there)" in await refusal(bank(server, auth=auth))


IMPOSSIBLE_URLS = (
    *(
        "/oauth/token",
        "",
        "api.example/token",
        "ftp://api.example/token",
        "https://",
        "https://api.example:70000/token",
    ),
    *("https://a b.example/", "https://api.example/\n", "https://user:pass@api.example/token", "https://[::1/token"),
)


@pytest.mark.parametrize("url", IMPOSSIBLE_URLS)
async def test_an_impossible_token_url_is_refused_at_the_start(url: str, server: PartnerServer) -> None:
    with pytest.raises(ConfigError, match=r"partner bank: the token URL of auth is not a plain http or https URL: use"):
        bank(server, auth=ClientCredentials(url, "id", SECRET))


async def test_a_token_url_may_have_a_query(server: PartnerServer) -> None:
    assert bank(server, auth=ClientCredentials(f"{server.url}/token?version=2", "id", SECRET)).auth


def test_a_missing_variable_is_not_also_a_wrong_token_url(
    server: PartnerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wants_tokens(environment: Environment) -> Partner:
        url = environment.url("BANK_API", fix="the bank's API")
        return bank(server, auth=ClientCredentials(f"{url}/token", "id", SECRET))

    monkeypatch.setitem(PARTNERS, "bank", wants_tokens)
    environment = Environment({})
    assert load_partners(["bank"], environment) == {}
    assert [(fault.name, fault.problem) for fault in environment.faults] == [("BANK_API", "is not set")]


async def test_a_question_without_a_token_is_not_asked(server: PartnerServer) -> None:
    server.token_answer = lambda number: (401, {"error": "invalid_client"})

    def build_ask(call: StageCall, reference: str) -> httpx.Request:
        return httpx.Request("GET", f"{server.url}/checks/{reference}")

    asked = bank(server, auth=credentials(server), build_ask=build_ask, read_status=lambda _: Answer("ask"))
    async with http_client() as http:
        calls = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": asked})
        with pytest.raises(ApplicationError, match="bank was not asked: its token endpoint answers 401") as raised:
            await ActivityEnvironment().run(calls.ask_partner, Question(CALL, "w-1"))
    assert raised.value.type == "PartnerNotAsked"


def test_a_synchronous_client_gets_no_token(server: PartnerServer) -> None:
    with httpx.Client(auth=credentials(server)) as http, pytest.raises(RuntimeError):
        http.post(server.url)


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
