"""Calls to partners: what is sent, what is tried again, and what reaches the history of an answer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote

import httpx
import pytest
import respx
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs, Claims, fingerprint
from activities.calls import NOT_TAKEN, PartnerCalls, http_client
from activities.environment import Environment
from activities.partner_words import partner_words
from activities.partners import sandbox
from tests.parts.activity_calls import CALL, CALLBACK_URL, ENDPOINT, TOKEN, make, refusal
from tests.support import KEY
from workflows.contract import Answer, Receipt


@respx.mock
async def test_a_partner_gets_the_callback_url_and_idempotency_key(calls: PartnerCalls) -> None:
    route = respx.post(ENDPOINT).respond(202, json={"id": "w-1"})
    receipt, _ = await make(calls)
    sent = route.calls.last.request
    assert CALLBACK_URL in sent.content.decode()
    assert sent.headers["idempotency-key"] == Claims.of(CALL).idempotency_key
    assert receipt == Receipt(reference="w-1", key=fingerprint(KEY))


@respx.mock
async def test_a_retry_sends_the_very_same_request(calls: PartnerCalls) -> None:
    route = respx.post(ENDPOINT).mock(side_effect=[httpx.Response(500), httpx.Response(202, json={"id": "w-1"})])
    await refusal(calls)
    await make(calls, attempt=2)
    first, second = (call.request for call in route.calls)
    assert first.content == second.content
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


@respx.mock
async def test_the_partner_may_answer_at_once(calls: PartnerCalls) -> None:
    respx.post(ENDPOINT).respond(200, json={"id": "w-1", "status": "succeeded", "data": {"account_id": "a"}})
    receipt, _ = await make(calls)
    assert receipt.answer == Answer("succeeded", data={"account_id": "a"})


@respx.mock
@pytest.mark.parametrize("status", [301, 307, 407, 408, 429, 500, 502, 503, 504])
async def test_passing_troubles_are_tried_again(calls: PartnerCalls, status: int) -> None:
    respx.post(ENDPOINT).respond(status, headers={"Location": "http://elsewhere.test/"})
    error = await refusal(calls)
    assert error.type == ("PartnerNotReached" if status in {407, 429} else "PartnerUnclear")
    assert not error.non_retryable
    assert str(status) in error.message


@respx.mock
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_no_is_final_and_carries_the_partners_words(calls: PartnerCalls, status: int) -> None:
    respx.post(ENDPOINT).respond(status, json={"error": "no such   iban\n"})
    error = await refusal(calls)
    assert (error.type, error.non_retryable) == ("PartnerRefused", True)
    assert error.message == f'partner bank answered {status}: {{"error":"no such iban\\n"}}'


@respx.mock
async def test_a_no_after_a_try_that_may_have_been_taken_is_unclear(calls: PartnerCalls) -> None:
    respx.post(ENDPOINT).respond(409)
    error = await refusal(calls, attempt=2)
    assert (error.type, error.non_retryable) == ("PartnerUnclear", True)


@respx.mock
async def test_a_no_after_tries_that_were_not_taken_is_a_refusal(calls: PartnerCalls) -> None:
    respx.post(ENDPOINT).respond(409)
    assert (await refusal(calls, attempt=3, heartbeats=[NOT_TAKEN, 2])).type == "PartnerRefused"


@respx.mock
async def test_a_heartbeat_of_an_earlier_try_vouches_for_that_one_only(calls: PartnerCalls) -> None:
    """Temporal keeps it through a later try whose answer was lost."""
    respx.post(ENDPOINT).respond(422)
    assert (await refusal(calls, attempt=3, heartbeats=[NOT_TAKEN, 1])).type == "PartnerUnclear"


@respx.mock
async def test_a_call_begun_by_an_earlier_execution_may_be_taken(calls: PartnerCalls) -> None:
    respx.post(ENDPOINT).mock(side_effect=[httpx.Response(409), httpx.ConnectError("refused")])
    for _ in range(2):
        with pytest.raises(ApplicationError) as raised:
            await make(calls, dataclasses.replace(CALL, repeated=True))
        assert raised.value.type == "PartnerUnclear"


async def test_a_worker_without_the_partner_vouches_for_no_try(calls: PartnerCalls) -> None:
    with pytest.raises(ApplicationError) as raised:
        await make(calls, dataclasses.replace(CALL, partner="unheard-of"), attempt=2)
    assert raised.value.type == "PartnerUnclear"


@respx.mock
@pytest.mark.parametrize(
    ("answer", "surely_not_taken"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ConnectTimeout("slow"), True),
        (httpx.Response(407), True),
        (httpx.Response(429), True),
        (httpx.Response(503, headers={"Retry-After": "1"}), True),
        (httpx.Response(503), False),
        (httpx.ReadTimeout("lost"), False),
        (httpx.RemoteProtocolError("cut"), False),
        (httpx.Response(500), False),
        (httpx.Response(504), False),
    ],
)
async def test_a_try_says_by_heartbeat_that_it_was_not_taken(
    calls: PartnerCalls, answer: httpx.Response | Exception, *, surely_not_taken: bool
) -> None:
    respx.post(ENDPOINT).mock(side_effect=[answer, answer, answer])
    before: list[object]
    for attempt, before, expected in (
        (1, [], surely_not_taken),
        (2, [NOT_TAKEN, 1], surely_not_taken),
        (2, [], False),
    ):
        beats: list[object] = []
        env = ActivityEnvironment()
        env.info = dataclasses.replace(env.info, attempt=attempt, heartbeat_details=before)
        env.on_heartbeat = lambda *details, beats=beats: beats.extend(details)
        with pytest.raises(ApplicationError):
            await env.run(calls.call_partner, CALL)
        assert beats == ([NOT_TAKEN, attempt] if expected else [])


@respx.mock
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", None),
        ("999999", 3600),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("1e3", None),
        ("٣", None),
        (f"Mon, 01 Jan {9**30} 00:00:00 GMT", None),
    ],
)
async def test_retry_after_in_seconds_is_honoured_up_to_an_hour(
    calls: PartnerCalls, value: str, seconds: int | None
) -> None:
    respx.post(ENDPOINT).mock(return_value=httpx.Response(429, headers=[(b"Retry-After", value.encode("utf-8"))]))
    delay = (await refusal(calls)).next_retry_delay
    assert delay == (timedelta(seconds=seconds) if seconds else None)


@respx.mock
async def test_retry_after_may_be_a_date(calls: PartnerCalls) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    respx.post(ENDPOINT).respond(503, headers={"Retry-After": date})
    delay = (await refusal(calls)).next_retry_delay
    assert delay is not None
    assert 55 <= delay.total_seconds() <= 61


@respx.mock
@pytest.mark.parametrize(
    "echo", [CALLBACK_URL, TOKEN, quote(TOKEN, safe=""), quote(CALLBACK_URL, safe=""), TOKEN.replace(".", "%2E")]
)
async def test_an_echoed_callback_url_does_not_reach_the_history(calls: PartnerCalls, echo: str) -> None:
    respx.post(ENDPOINT).respond(422, text=f"cannot call back {echo} from here")
    message = (await refusal(calls)).message
    assert TOKEN not in message
    assert TOKEN[-20:] not in message


@respx.mock
@pytest.mark.parametrize("where", ["headers", "params", "password", "user"])
async def test_echoed_credentials_do_not_reach_the_history(where: str) -> None:
    secret = "sk_live_0123456789"

    class Key(httpx.Auth):
        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            if where == "headers":
                request.headers["X-Api-Key"] = secret
                request.headers["X-Mode"] = "unknown-mode"  # no credential, and an ordinary word
            elif where == "password":
                request.headers["Authorization"] = httpx.BasicAuth("user", secret)._auth_header
            elif where == "user":
                request.headers["Authorization"] = httpx.BasicAuth(secret, "")._auth_header
            else:
                request.url = request.url.copy_add_param("api_key", secret)
            yield request

    respx.post(ENDPOINT).respond(401, text=f"the key {secret} is unknown")
    partner = sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"}))
    async with http_client() as http:
        keyed = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": replace(partner, auth=Key())})
        assert (await refusal(keyed)).message == "partner bank answered 401: the key [removed] is unknown"


FORMED = {"api_key": 'it/is "my+key" \u00e9'}
KEYED = httpx.Request("GET", "https://x/", params=FORMED, headers={"X-Token": "=a/b+c/d="})


@pytest.mark.parametrize(
    "echo",
    [
        "=a\\/b+c\\/d=",
        "=a/b\\u002Bc/d=",
        "\\u003da/b\\u002bc\\/d\\u003D",
        "%3da%2fb%2bc%2fd%3d",
        "it%2Fis+%22my%2Bkey%22+%C3%A9",
        "it%2fis+%22my%2bkey%22+%c3%a9",
        'it/is \\"my+key\\" \\u00e9',
        "\\u0025c3%A9 it\\u00252Fis+%22my%2Bkey%22+%C3%A9",
    ],
)
def test_a_partners_words_with_a_re_spelt_secret_are_removed(echo: str) -> None:
    answer = httpx.Response(401, content=f'{{"error": "no such key: {echo}"}}'.encode(), request=KEYED)
    assert partner_words(answer) == "[removed]"


@pytest.mark.parametrize("said", ['{"error": "caf\\u00e9 \\/ 100% + \\\\ \\ud800"}', "%zz%", "\\u00"])
def test_escapes_that_hide_no_secret_are_left_as_they_are(said: str) -> None:
    assert partner_words(httpx.Response(401, content=said.encode(), request=KEYED)) == said


class Bytes(httpx.AsyncByteStream):
    """A body as it comes from the wire: httpx would decode a ready one at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


@respx.mock
async def test_a_large_or_broken_refusal_is_a_refusal_all_the_same(calls: PartnerCalls) -> None:
    for answer in (
        httpx.Response(422, content=b"x" * 2_000_000),
        httpx.Response(422, stream=Bytes(b"no gzip"), headers={"Content-Encoding": "gzip"}),
    ):
        respx.post(ENDPOINT).mock(return_value=answer)
        assert (await refusal(calls)).type == "PartnerRefused"


@respx.mock
async def test_a_partners_long_words_are_cut(calls: PartnerCalls) -> None:
    respx.post(ENDPOINT).respond(422, text="x" * 100_000)
    assert len((await refusal(calls)).message) < 400


@respx.mock
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"id": "w", "status": "odd"}', b"\xff", b'\xef\xbb\xbf{"id": "w"}', b'{"id": []}'],
)
async def test_a_2xx_that_cannot_be_read_is_an_accepted_call(calls: PartnerCalls, body: bytes) -> None:
    respx.post(ENDPOINT).respond(202, content=body)
    receipt, _ = await make(calls)
    assert (receipt.reference, receipt.answer, receipt.askable) == ("", None, False)
    assert receipt.note.startswith("partner bank took the call (202), but its answer cannot be used: ")


@respx.mock
async def test_an_endless_answer_is_cut_off(calls: PartnerCalls) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    respx.post(ENDPOINT).mock(return_value=httpx.Response(202, stream=endless()))  # type: ignore[arg-type]
    assert "more than 1048576 bytes" in (await make(calls))[0].note


@respx.mock
async def test_a_partner_that_hangs_is_given_up_before_the_activity_is(calls: PartnerCalls) -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    respx.post(ENDPOINT).mock(side_effect=hang)
    env = ActivityEnvironment()
    env.info = dataclasses.replace(env.info, start_to_close_timeout=timedelta(seconds=0.2))
    with pytest.raises(ApplicationError, match="TimeoutError"):
        await asyncio.wait_for(env.run(calls.call_partner, CALL), 5)


async def test_a_partner_that_is_not_enabled_here_is_tried_again(calls: PartnerCalls) -> None:
    """A deploy that enables it lets the run go on."""
    with pytest.raises(ApplicationError) as raised:
        await make(calls, dataclasses.replace(CALL, partner="unheard-of"))
    assert (raised.value.type, raised.value.non_retryable) == ("PartnerNotReached", False)
