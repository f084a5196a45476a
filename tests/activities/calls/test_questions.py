"""Questions to partners about a call whose callback has not come."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
import respx
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls, http_client
from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.received import Received
from activities.signatures import ConfigError
from tests.parts.activity_calls import CALL, CALLBACK_URL, ENDPOINT, TOKEN, make
from tests.support import KEY
from workflows.contract import LARGEST_OUTCOME, Answer, Question, StageCall

QUESTION = Question(dataclasses.replace(CALL, data={}), "w-1")
STATUS = "http://sandbox.test/bank/calls/w-1"


@pytest.fixture
async def asking() -> AsyncIterator[PartnerCalls]:
    """A bank that can be asked."""
    plain = sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"}))

    def build_ask(call: StageCall, reference: str) -> httpx.Request:
        return httpx.Request("GET", f"{ENDPOINT}/{reference}")

    def read_status(response: httpx.Response) -> Answer:
        return sandbox.read_event(Received(response.content)).answer

    bank = replace(plain, build_ask=build_ask, read_status=read_status)
    async with http_client() as http:
        yield PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": bank})


async def vain(calls: PartnerCalls, question: Question = QUESTION) -> ApplicationError:
    with pytest.raises(ApplicationError) as raised:
        await ActivityEnvironment().run(calls.ask_partner, question)
    return raised.value


@respx.mock
async def test_a_partner_is_asked_by_the_receipts_reference(asking: PartnerCalls) -> None:
    respx.get(STATUS).respond(200, json={"status": "succeeded", "data": {"a": 1}})
    assert await ActivityEnvironment().run(asking.ask_partner, QUESTION) == Answer("succeeded", {"a": 1})


@respx.mock
@pytest.mark.parametrize("echo", [TOKEN, TOKEN.replace(".", "\\u002e"), TOKEN.replace(".", "%2E")])
async def test_a_callback_url_in_the_answer_to_a_question_is_removed(asking: PartnerCalls, echo: str) -> None:
    respx.get(STATUS).respond(404, text=f'{{"error": "no work for {echo}"}}')
    message = (await vain(asking)).message
    assert message.startswith("partner bank answered 404: ")
    assert echo[-20:] not in message


@respx.mock
@pytest.mark.parametrize(("reference", "askable"), [("w-1", True), ("", False), ("w" * 301, False)])
async def test_a_receipt_says_whether_the_partner_can_be_asked(
    asking: PartnerCalls, reference: str, *, askable: bool
) -> None:
    respx.post(ENDPOINT).respond(202, json={"id": reference})
    receipt, _ = await make(asking)
    assert receipt.askable is askable
    assert receipt.reference == (reference if askable else "")  # whole or not at all: a part names other work


@respx.mock
@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(400),
        httpx.Response(404),
        httpx.Response(500),
        httpx.Response(302),
        httpx.Response(200, content=b"x"),
        httpx.Response(200, json={"status": "succeeded", "data": {"x": "y" * LARGEST_OUTCOME}}),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("lost"),
    ],
)
async def test_whatever_goes_wrong_with_asking_is_tried_again(
    asking: PartnerCalls, answer: httpx.Response | Exception
) -> None:
    respx.get(STATUS).mock(side_effect=[answer])
    error = await vain(asking)
    assert (error.type, error.non_retryable) == ("PartnerNotAsked", False)


@respx.mock
async def test_a_callback_url_in_a_status_answer_stays_out_of_history(asking: PartnerCalls) -> None:
    respx.get(STATUS).respond(404, text=f"nothing for {CALLBACK_URL}")
    assert TOKEN not in (await vain(asking)).message


async def test_a_worker_that_cannot_ask_leaves_it_to_other_workers(calls: PartnerCalls) -> None:
    for question in (QUESTION, Question(dataclasses.replace(CALL, partner="unheard-of"), "w-1")):
        error = await vain(calls, question)
        assert ("cannot be asked" in error.message, error.non_retryable) == (True, False)


def test_a_partner_that_can_be_asked_can_read_the_answer() -> None:
    plain = sandbox.partner("bank", Environment({}))
    with pytest.raises(ConfigError, match="go together"):
        replace(plain, read_status=lambda response: Answer("progress"))
