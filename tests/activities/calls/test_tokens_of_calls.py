"""The token of a call: all tries send the same, in the version that its run has chosen."""

from __future__ import annotations

import dataclasses
import json

import httpx
import pytest
import respx
from temporalio.exceptions import ApplicationError

from activities.callback_urls import CallbackURLs, Claims
from activities.calls import PartnerCalls, http_client
from activities.environment import Environment
from activities.partners import sandbox
from tests.parts.activity_calls import CALL, ENDPOINT, make, refusal_of
from tests.support import KEY

CHAIN = "01a20379-1751-78ce-ac76-c1d64654450f"
SHORT_CALL = dataclasses.replace(CALL, chain_id=CHAIN, token_version=2)


@respx.mock
async def test_all_tries_of_a_call_send_the_token_of_its_version(calls: PartnerCalls) -> None:
    route = respx.post(ENDPOINT).mock(side_effect=[httpx.Response(500), httpx.Response(202, json={"id": "w-1"})] * 2)
    for call in (SHORT_CALL, dataclasses.replace(SHORT_CALL, token_version=1)):
        with pytest.raises(ApplicationError):
            await make(calls, call)
        await make(calls, call, attempt=2)
    sent = [call.request for call in route.calls]
    urls = [json.loads(request.content)["callback_url"] for request in sent]
    issue = CallbackURLs("https://hooks.test", [KEY]).issue
    assert urls == [issue(Claims.of(SHORT_CALL), version) for version in (2, 2, 1, 1)]
    assert len({request.headers["idempotency-key"] for request in sent}) == 1, "it does not depend on the version"


@respx.mock
async def test_what_a_call_says_for_statistics_changes_no_key(calls: PartnerCalls) -> None:
    route = respx.post(ENDPOINT).respond(202, json={"id": "w-1"})
    await make(calls, dataclasses.replace(CALL, pipeline="onboarding", definition="0123456789ab"))
    assert route.calls.last.request.headers["idempotency-key"] == Claims.of(CALL).idempotency_key


@respx.mock
async def test_a_later_releases_token_version_is_left_to_its_worker(calls: PartnerCalls) -> None:
    route = respx.post(ENDPOINT).respond(202)
    with pytest.raises(
        ApplicationError, match="unknown token version 3: use one of 1, 2; a worker of a later"
    ) as raised:
        await make(calls, dataclasses.replace(CALL, token_version=3))
    assert (raised.value.type, raised.value.non_retryable, route.called) == ("PartnerNotReached", False, False)


@respx.mock
async def test_an_echoed_short_token_is_removed_from_the_failure(calls: PartnerCalls) -> None:
    url = CallbackURLs("https://hooks.test", [KEY]).of(SHORT_CALL)
    respx.post(ENDPOINT).respond(422, text=f"cannot reach {url}")
    with pytest.raises(ApplicationError) as raised:
        await make(calls, SHORT_CALL)
    assert raised.value.message == "partner bank answered 422: cannot reach https://hooks.test/callbacks/[removed]"


@respx.mock
async def test_a_too_long_url_is_refused_before_any_request() -> None:
    route = respx.post(ENDPOINT).respond(202, json={"id": "w-1"})
    urls = CallbackURLs("https://hooks.test", [KEY])
    plain = sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"}))
    long, short = (len(urls.of(dataclasses.replace(SHORT_CALL, token_version=version))) for version in (1, 2))
    async with http_client() as http:
        for limit, call, taken in (
            (long, CALL, True),
            (short, SHORT_CALL, True),
            (short - 1, SHORT_CALL, False),
            (short, dataclasses.replace(SHORT_CALL, token_version=1), False),
        ):
            calls = PartnerCalls(http, urls, {"bank": dataclasses.replace(plain, longest_url=limit)})
            route.reset()
            if taken:
                await make(calls, call)
            else:
                error = await refusal_of(calls, call)
                assert (error.type, error.non_retryable) == ("PartnerRefused", True)
                assert f"and it takes {limit} (longest_url): start runs with a shorter id" in error.message
                error = await refusal_of(calls, call, attempt=2)
                assert (error.type, error.non_retryable) == ("PartnerUnclear", True), "an earlier try may be taken"
            assert route.called is taken
