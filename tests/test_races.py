"""A callback against timers, lost answers and its own copies, on the real server: the first valid cause settles."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import respx
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls, http_client
from activities.environment import Environment
from activities.partners import sandbox
from activities.worker import WORKFLOWS, build_worker, workflow_runner
from tests.support import (
    KEY,
    QUEUE,
    ScriptedPartner,
    call_back,
    progress_of,
    result_of,
    stage,
    start,
    until_event,
    waiting,
    working,
)
from workflows.contract import NOT_REACHED, Answer, Receipt, StageCall


@pytest.mark.parametrize("first", ["callback", "timer"])
async def test_a_callback_that_shares_its_task_with_the_timer_wins(real: WorkflowEnvironment, first: str) -> None:
    """The worker is away while both happen, and finds them in one task."""
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1, timeout=2.0))
        await waiting(handle)
    if first == "callback":
        await call_back(handle, partner.calls[0])
    await until_event(handle, "timer_fired_event_attributes")
    if first == "timer":
        await call_back(handle, partner.calls[0])
    async with working(real.client, partner):
        assert (await result_of(handle)).outcomes["step-1"].cause == "callback"


@pytest.mark.parametrize("final", [False, True], ids=["still retried", "failed for good"])
async def test_a_callback_counts_although_its_calls_answer_was_lost(real: WorkflowEnvironment, *, final: bool) -> None:
    async def call_back_and_lose_the_answer(call: StageCall) -> Receipt:
        await call_back(real.client.get_workflow_handle("run"), call, Answer("succeeded", {"n": 1}))
        raise ApplicationError("no whole answer", type="PartnerUnclear", non_retryable=final)

    async with working(real.client, ScriptedPartner(call_back_and_lose_the_answer)):
        outcome = (await result_of(await start(real.client, stage(1)))).outcomes["step-1"]
    assert (outcome.cause, outcome.data) == ("callback", {"n": 1})


@pytest.mark.system
async def test_a_call_that_no_worker_takes_up_is_scheduled_again(real: WorkflowEnvironment) -> None:
    """Hours without a worker for the calls are no partner's fault."""
    partner = ScriptedPartner()
    async with Worker(real.client, task_queue=QUEUE, workflows=WORKFLOWS, workflow_runner=workflow_runner()):
        handle = await start(real.client, stage(1, call_within=1.0))
        await until_event(handle, "activity_task_timed_out_event_attributes")
        state = (await progress_of(handle)).stages[0].state
    async with working(real.client, partner):
        await waiting(handle)
    assert state == "calling"
    assert {call.attempt for call in partner.calls} == {1}


@pytest.mark.system
async def test_a_try_that_may_be_taken_outweighs_an_earlier_refusal(real: WorkflowEnvironment) -> None:
    """503, then a lost answer, then a refusal of the repetition: the callback must still count."""
    urls = CallbackURLs("http://receiver.test", [KEY])
    partners = {"bank": sandbox.partner("bank", Environment({"SANDBOX_URL": "http://sandbox.test"}))}
    async with http_client() as http:
        calls = PartnerCalls(http, urls, partners)
        with respx.mock:
            route = respx.post("http://sandbox.test/bank/calls")
            route.mock(
                side_effect=[
                    httpx.Response(503, headers={"Retry-After": "1"}),
                    httpx.ReadTimeout("lost"),
                    httpx.Response(422),
                ]
            )
            async with build_worker(real.client, calls, task_queue=QUEUE):
                handle = await start(real.client, stage(1, partner="bank"))
                settled = await waiting(handle)
    assert route.call_count == 3
    assert settled.note == "partner bank answered 422"


@pytest.mark.system
async def test_a_call_that_is_under_way_at_its_end_may_have_been_taken(real: WorkflowEnvironment) -> None:
    """The try before it surely was not, but this one's callback may still come."""
    tries = 0

    async def refuse_then_hang(call: StageCall) -> Receipt:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ApplicationError("could not be reached", type=NOT_REACHED)
        await asyncio.sleep(20)
        raise AssertionError("unreachable")

    partner = ScriptedPartner(refuse_then_hang)
    async with working(real.client, partner):
        handle = await start(real.client, stage(1, call_within=3.0))
        settled = await waiting(handle)
        await call_back(handle, partner.calls[-1])
        assert (await result_of(handle)).outcomes["step-1"].cause == "callback"
    assert (tries, settled.note) == (2, "could not be reached")


async def test_callbacks_of_other_stages_settle_only_their_own(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2), stage(3))
        await waiting(handle, 1)
        await call_back(handle, partner.calls[0], Answer("succeeded", {"n": 3}), stage=3)
        await call_back(handle, partner.calls[0], Answer("succeeded", {"n": 1}))
        await waiting(handle, 2)
        await call_back(handle, partner.calls[0], Answer("failed"))
        await call_back(handle, partner.calls[1], Answer("succeeded", {"n": 2}))
        outcomes = (await result_of(handle)).outcomes
    assert [outcome.data for outcome in outcomes.values()] == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert [call.stage for call in partner.calls] == [1, 2]
