"""What is logged of a call that failed: a line with the facts, and a traceback only for an unexpected error."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Replayer

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls, http_client
from activities.environment import Environment
from activities.partners import sandbox
from activities.worker import WORKFLOWS, build_worker, workflow_runner
from receiver.logs import facts_of
from tests.support import KEY, QUEUE, failure_of, stage, start
from workflows.contract import Answer, Question, StageCall

CALL = StageCall("run-1", "chain-1", 2, "account-check", "bank", 1, 1_800_000_000, 1_900_000_000, pipeline="onboarding")
ENDPOINT = "http://sandbox.test/bank/calls"
KNOWN = {"partner": "bank", "pipeline": "onboarding", "workflow_id": "run-1", "stage": 2, "attempt": 1}
RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5))


@pytest.fixture
async def calls() -> AsyncIterator[PartnerCalls]:
    """Of a bank that can be asked."""

    def build_ask(call: StageCall, reference: str) -> httpx.Request:
        return httpx.Request("GET", f"{ENDPOINT}/{reference}")

    plain = sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"}))
    bank = dataclasses.replace(plain, build_ask=build_ask, read_status=lambda _: Answer("ask"))
    async with http_client() as http:
        yield PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": bank})


async def failed(calls: PartnerCalls, what: StageCall | Question = CALL, **info: Any) -> ApplicationError:
    env = ActivityEnvironment()
    now = {"scheduled_time": datetime.now(UTC), "schedule_to_close_timeout": timedelta(hours=1)}
    env.info = dataclasses.replace(env.info, **{**now, "retry_policy": RETRIES, **info})
    with pytest.raises(ApplicationError) as raised:
        await (env.run(calls.ask_partner, what) if isinstance(what, Question) else env.run(calls.call_partner, what))
    return raised.value


def logged(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The facts of the only line."""
    [record] = [one for one in caplog.records if one.name.startswith("stagehook")]
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    return {"event": record.getMessage(), **dict(facts_of(record))}


@respx.mock
async def test_a_call_that_is_tried_again_is_a_line_with_its_facts(
    calls: PartnerCalls, caplog: pytest.LogCaptureFixture
) -> None:
    respx.post(ENDPOINT).respond(500, text="no\ndatabase")
    error = await failed(calls, attempt=3)
    assert error.category is ApplicationErrorCategory.BENIGN
    why = "partner bank answered 500: no database"
    again = {"status": 500, "why": why, "again_in": 4.0}
    assert logged(caplog) == {"event": "call-failed", **KNOWN, "try": 3, **again}


@respx.mock
async def test_a_partner_that_cannot_be_reached_has_no_status(
    calls: PartnerCalls, caplog: pytest.LogCaptureFixture
) -> None:
    respx.post(ENDPOINT).mock(side_effect=httpx.ConnectError("refused"))
    await failed(calls)
    why = "partner bank could not be reached (ConnectError)"
    assert logged(caplog) == {"event": "call-failed", **KNOWN, "try": 1, "why": why, "again_in": 1.0}


@respx.mock
async def test_a_call_that_is_accepted_is_a_line_for_debugging(
    calls: PartnerCalls, caplog: pytest.LogCaptureFixture
) -> None:
    respx.post(ENDPOINT).respond(202, json={"id": "w-1"})
    caplog.set_level(logging.DEBUG, "stagehook")
    await ActivityEnvironment().run(calls.call_partner, CALL)
    [record] = [one for one in caplog.records if one.name == "stagehook.calls"]
    assert (record.getMessage(), record.levelno) == ("call", logging.DEBUG)
    assert dict(facts_of(record)) == {**KNOWN, "try": 1}


@respx.mock
async def test_a_refusal_is_final_and_counts_as_a_failure(
    calls: PartnerCalls, caplog: pytest.LogCaptureFixture
) -> None:
    respx.post(ENDPOINT).respond(422)
    error = await failed(calls)
    assert error.category is ApplicationErrorCategory.UNSPECIFIED
    why = "partner bank answered 422"
    assert logged(caplog) == {"event": "call-failed", **KNOWN, "try": 1, "status": 422, "why": why, "final": True}


@respx.mock
@pytest.mark.parametrize(
    ("headers", "info", "says"),
    [
        ({"Retry-After": "90"}, {}, {"again_in": 90.0}),
        ({}, {"attempt": 5_000}, {"again_in": 300.0}),
        ({}, {"retry_policy": None}, {}),
        ({}, {"retry_policy": RetryPolicy(maximum_attempts=2), "attempt": 2}, {"final": True}),
        ({"Retry-After": "90"}, {"schedule_to_close_timeout": timedelta(seconds=60)}, {"final": True}),
    ],
    ids=["Retry-After", "longest", "unknown", "last try", "no time left"],
)
async def test_the_line_says_when_the_next_try_begins_if_there_is_one(
    headers: dict[str, str],
    info: dict[str, Any],
    says: dict[str, Any],
    calls: PartnerCalls,
    caplog: pytest.LogCaptureFixture,
) -> None:
    respx.post(ENDPOINT).respond(503, headers=headers)
    await failed(calls, **info)
    assert {name: value for name, value in logged(caplog).items() if name in {"again_in", "final"}} == says


@respx.mock
async def test_a_question_that_fails_is_a_line_too(calls: PartnerCalls, caplog: pytest.LogCaptureFixture) -> None:
    respx.get("http://sandbox.test/bank/calls/w-1").respond(502)
    await failed(calls, Question(CALL, "w-1"))
    shown = logged(caplog)
    assert (shown["event"], shown["stage"], shown["status"]) == ("ask-failed", 2, 502)


async def test_an_error_that_nobody_expects_is_left_to_the_sdk(
    calls: PartnerCalls, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(CallbackURLs, "of", broken)
    env = ActivityEnvironment()
    with pytest.raises(ZeroDivisionError):
        await env.run(calls.call_partner, CALL)
    assert caplog.records == []


async def test_a_history_with_the_category_replays(
    real: WorkflowEnvironment, unused_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Temporal records the category beside the failure's type, message and flag, which stay as they were."""
    env = Environment({"SANDBOX_URL": f"http://127.0.0.1:{unused_port}"})
    async with http_client() as http:
        calls = PartnerCalls(http, CallbackURLs("https://hooks.test", [KEY]), {"bank": sandbox.partner("bank", env)})
        async with build_worker(real.client, calls, task_queue=QUEUE):
            handle = await start(real.client, stage(1, partner="bank", call_timeout=1.0, call_within=1.0))
            error = await failure_of(handle)
    history = await handle.fetch_history()
    [failure] = [
        event.activity_task_failed_event_attributes.failure
        for event in history.events
        if event.HasField("activity_task_failed_event_attributes")
    ]
    info = failure.application_failure_info
    assert (info.type, info.non_retryable, info.category) == ("PartnerNotReached", False, 1)
    assert failure.message == "partner bank could not be reached (ConnectError: nothing listens there)"
    assert failure.message in error.message
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=workflow_runner())
    assert (await replayer.replay_workflow(history)).replay_failure is None
    assert not any("Completing activity as failed" in one.getMessage() for one in caplog.records)
