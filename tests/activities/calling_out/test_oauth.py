"""Calls with a token of OAuth 2.0 client credentials."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import http_client
from activities.partners import PARTNERS, load_partners
from activities.partners.auth import ClientCredentials
from activities.partners.partner import Partner
from activities.signatures import ConfigError
from tests.parts.called_bank import CALL, SECRET, bank, call, credentials, refusal
from tests.parts.partner_servers import PartnerServer
from tests.support import KEY
from workflows.contract import NOT_REACHED, Answer, Question, Receipt, StageCall


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
