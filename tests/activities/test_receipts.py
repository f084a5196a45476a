"""What partners' files may return or raise: a call that was taken is never made again, and the note says why."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
import respx
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.callback_urls import CallbackURLs, Claims
from activities.calls import PartnerCalls
from activities.environment import Environment
from activities.http import MAX_ANSWER_BYTES, http_client
from activities.partners import sandbox
from activities.partners.partner import Unreadable
from activities.partners.paths import path_segment
from tests.support import KEY
from workflows.contract import LARGEST_OUTCOME, Answer, Question, Receipt, StageCall

CALL = StageCall("run-1", "chain-1", 2, "account-check", "bank", 1, 1_800_000_000, 1_900_000_000, {"iban": "GB33"})
ENDPOINT = "http://sandbox.test/bank/calls"
URLS = CallbackURLs("https://hooks.test", [KEY])
CALLBACK_URL = URLS.issue(Claims.of(CALL))


class Bank:
    """A partner whose file does what the test says."""

    def __init__(self) -> None:
        self.receipt: Callable[[], Any] = lambda: Receipt("w-1")
        self.status: Callable[[], Any] = lambda: Answer("succeeded")
        self.request: Callable[[], Any] = lambda: httpx.Request("POST", ENDPOINT)

    def build(self, call: StageCall, url: str) -> httpx.Request:
        request: httpx.Request = self.request()
        return request

    def read_receipt(self, response: httpx.Response) -> Receipt:
        receipt: Receipt = self.receipt()
        return receipt

    def read_status(self, response: httpx.Response) -> Answer:
        answer: Answer = self.status()
        return answer


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
async def calls(bank: Bank) -> AsyncIterator[PartnerCalls]:
    plain = sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"}))
    partner = replace(
        plain,
        build_call=bank.build,
        build_ask=bank.build,
        read_receipt=bank.read_receipt,
        read_status=bank.read_status,
    )
    async with http_client() as http:
        yield PartnerCalls(http, URLS, {"bank": partner})


async def make(calls: PartnerCalls) -> Receipt:
    """Make the call of a partner that answers 202."""
    with respx.mock:
        route = respx.post(ENDPOINT).respond(202)
        receipt: Receipt = await ActivityEnvironment().run(calls.call_partner, CALL)
        assert route.call_count == 1
    return receipt


async def ask_in_vain(calls: PartnerCalls) -> ApplicationError:
    with respx.mock:
        respx.post(ENDPOINT).respond(200)
        with pytest.raises(ApplicationError) as raised:
            await ActivityEnvironment().run(calls.ask_partner, Question(CALL, "w-1"))
    assert (raised.value.type, raised.value.non_retryable) == ("PartnerNotAsked", False)
    return raised.value


FAILED: Any = Answer("failed")
BROKEN: list[tuple[Any, str]] = [
    (replace(FAILED, code=1042), "Answer.code is an int: return text"),
    (replace(FAILED, message=None), "Answer.message is null: return text"),
    (replace(FAILED, data=[]), "Answer.data is a list: return a JSON object"),
    (replace(FAILED, data={"score": float("nan")}), "Answer.data holds NaN or Infinity"),
    (replace(FAILED, data={"at": {1, 2}}), "Answer.data holds a set: return JSON values only"),
    (replace(FAILED, message="declined by Zoe \ud83d"), "Answer.message holds a lone surrogate"),
    (replace(FAILED, status="done"), "unknown Answer.status"),
    (replace(FAILED, data={"x": "y" * LARGEST_OUTCOME}), "the Answer has more than 32768 bytes"),
    ({"status": "failed"}, "expected an Answer, got a dict"),
]


@pytest.mark.parametrize(("answer", "flaw"), BROKEN)
async def test_a_broken_immediate_answer_is_left_out_and_noted(
    bank: Bank, calls: PartnerCalls, answer: Any, flaw: str
) -> None:
    bank.receipt = lambda: Receipt("w-1", answer=answer)
    receipt = await make(calls)
    assert (receipt.reference, receipt.answer, receipt.askable) == ("w-1", None, True)
    assert receipt.note.startswith("partner bank took the call (202), but its answer cannot be used: ")
    assert flaw in receipt.note


async def test_without_its_body_a_response_answers_nothing(bank: Bank, calls: PartnerCalls) -> None:
    """A file that reads the id in a header still gives it; what it makes of an empty body settles no stage."""
    bank.receipt = lambda: Receipt("w-1", answer=Answer("succeeded"))
    with respx.mock:
        respx.post(ENDPOINT).respond(202, content=bytes(MAX_ANSWER_BYTES + 1))
        receipt: Receipt = await ActivityEnvironment().run(calls.call_partner, CALL)
    assert (receipt.reference, receipt.answer) == ("w-1", None)
    assert f"more than {MAX_ANSWER_BYTES} bytes" in receipt.note


@pytest.mark.parametrize(("answer", "flaw"), BROKEN)
async def test_a_broken_status_is_a_failed_question(bank: Bank, calls: PartnerCalls, answer: Any, flaw: str) -> None:
    bank.status = lambda: answer
    message = (await ask_in_vain(calls)).message
    assert message.startswith("partner bank answered, but its answer cannot be used: ")
    assert flaw in message


@pytest.mark.parametrize(("given", "reference"), [(12345, "12345"), (None, ""), ("w", "w"), (0, "0")])
async def test_a_reference_becomes_text(bank: Bank, calls: PartnerCalls, given: Any, reference: str) -> None:
    bank.receipt = lambda: Receipt(given)
    receipt = await make(calls)
    assert (receipt.reference, receipt.askable, receipt.note) == (reference, reference != "", "")


@pytest.mark.parametrize("reference", [["w"], 1.5, True, "\ud83d", "w" * 301, f"see {CALLBACK_URL}"])
async def test_a_broken_reference_costs_no_answer(bank: Bank, calls: PartnerCalls, reference: Any) -> None:
    bank.receipt = lambda: Receipt(reference, answer=Answer("succeeded", {"a": 1}))
    receipt = await make(calls)
    assert (receipt.reference, receipt.askable, receipt.answer) == ("", False, Answer("succeeded", {"a": 1}))
    assert "Receipt.reference" in receipt.note


def fail(error: BaseException) -> Callable[[], Any]:
    def raising() -> Any:
        raise error

    return raising


FORGED = "x\n2026-01-01 INFO forged\x1b[31m \u009b " + "y" * 1000


@pytest.mark.parametrize(
    "error", [KeyError(FORGED), RecursionError(FORGED), Unreadable(FORGED), ValueError(CALLBACK_URL)]
)
async def test_what_a_file_raises_after_a_2xx_is_a_note_in_one_line(
    bank: Bank, calls: PartnerCalls, error: Exception
) -> None:
    bank.receipt = fail(error)
    note = (await make(calls)).note
    assert note.isprintable()
    assert len(note) <= 300
    assert CALLBACK_URL[-40:] not in note
    if not isinstance(error, Unreadable):
        assert f"its file raised {type(error).__name__} (test_receipts.py, line " in note


class Panic(BaseException):
    """As PyO3 raises it for a panic of a library in Rust."""


@pytest.mark.parametrize("error", [SystemExit(1), Panic(), CancelledError()])
async def test_a_file_that_would_end_the_worker_after_a_2xx_is_a_note(
    bank: Bank, calls: PartnerCalls, error: BaseException
) -> None:
    bank.receipt = bank.status = fail(error)
    says = f"its file raised {type(error).__name__} (test_receipts.py, line "
    assert says in (await make(calls)).note
    assert says in (await ask_in_vain(calls)).message


async def test_what_a_file_raises_of_a_status_is_a_failed_question(bank: Bank, calls: PartnerCalls) -> None:
    bank.status = fail(TypeError(FORGED))
    assert "its file raised TypeError (test_receipts.py, line " in (await ask_in_vain(calls)).message


@pytest.mark.parametrize("result", [None, {}, "w-1", [Receipt("w-1")]])
async def test_what_is_not_a_receipt_is_noted(bank: Bank, calls: PartnerCalls, result: Any) -> None:
    bank.receipt = lambda: result
    assert "return a Receipt" in (await make(calls)).note


async def test_an_echoed_callback_url_is_removed_from_an_answer(bank: Bank, calls: PartnerCalls) -> None:
    bank.receipt = lambda: Receipt("w", answer=Answer("failed", message=f"cannot reach {CALLBACK_URL}"))
    bank.status = lambda: Answer("failed", message=f"cannot reach {CALLBACK_URL}")
    told = (await make(calls)).answer
    with respx.mock:
        respx.post(ENDPOINT).respond(200)
        asked = await ActivityEnvironment().run(calls.ask_partner, Question(CALL, "w-1"))
    assert told == asked
    assert told is not None
    assert "[removed]" in told.message
    assert CALLBACK_URL.rpartition("/")[2] not in told.message


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (fail(ValueError(f"secret {CALLBACK_URL}")), "its file raised ValueError (test_receipts.py, line "),
        (lambda: path_segment(".."), "invalid id '..': it would change the path of the URL"),
        (lambda: None, "its file returned null: return an httpx.Request"),
    ],
)
async def test_a_request_that_a_file_cannot_build_was_never_sent(
    bank: Bank, calls: PartnerCalls, request_: Callable[[], Any], says: str
) -> None:
    bank.request = request_
    with pytest.raises(ApplicationError) as raised:
        await ActivityEnvironment().run(calls.call_partner, CALL)
    assert (raised.value.type, raised.value.non_retryable) == ("PartnerNotReached", False)
    assert raised.value.message.startswith("partner bank cannot be called: ")
    for message in (raised.value.message, (await ask_in_vain(calls)).message):
        assert says in message
        assert "secret" not in message
