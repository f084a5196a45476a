"""Races and repetitions, on the real server: whatever comes when, a stage is settled once, by the first valid cause."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, replace

import httpx
import pytest
import respx
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest, SignalWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls, http_client
from activities.environment import Environment
from activities.partners import load_partners
from activities.worker import WORKFLOWS, build_worker, workflow_runner
from receiver.budget import BURST
from tests.conftest import BINARIES
from tests.receiver.test_callbacks import DONE, for_temporal, receiver, url_for
from tests.support import (
    KEY,
    QUEUE,
    SOON,
    Handle,
    ScriptedPartner,
    call_back,
    progress_of,
    result_of,
    stage,
    start,
    until,
    waiting,
    working,
)
from tests.workflows.classes import BrokenPipeline
from workflows.contract import ADVANCE_STAGE, NOT_REACHED, Answer, Receipt, StageCall


async def count_events(handle: Handle, kind: str) -> int:
    return len([None async for event in handle.fetch_history_events() if event.WhichOneof("attributes") == kind])


async def until_event(handle: Handle, kind: str) -> None:
    async with asyncio.timeout(SOON):
        while not await count_events(handle, kind):
            await asyncio.sleep(0.05)


# --- a callback and the end of its wait


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


async def test_a_try_that_may_have_been_taken_outweighs_an_earlier_one_that_was_not(real: WorkflowEnvironment) -> None:
    """503, then a lost answer, then a refusal of the repetition: the callback must still count."""
    urls = CallbackURLs("http://receiver.test", [KEY])
    partners = load_partners(["bank"], Environment({"SANDBOX_URL": "http://sandbox.test"}))
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


async def test_a_run_continues_as_new_in_the_middle_of_a_call_and_repeats_it(restless: WorkflowEnvironment) -> None:
    """Or a flood during a call that is tried for days would use up the execution's signals."""
    answering = asyncio.Event()

    async def lose_answers(call: StageCall) -> Receipt:
        if answering.is_set():
            return Receipt(reference="at last")
        raise ApplicationError("no whole answer", type="PartnerUnclear")

    partner = ScriptedPartner(lose_answers)
    async with working(restless.client, partner):
        handle = await start(restless.client, stage(1))
        await asyncio.wait_for(partner.asked.wait(), SOON)
        await junk_until_continued(restless, handle)
        latest = restless.client.get_workflow_handle(handle.id)
        answering.set()
        await waiting(latest)
        await call_back(latest, partner.calls[0])
        assert (await result_of(handle)).outcomes["step-1"].attempt == 1
    first, last = partner.calls[0], partner.calls[-1]
    assert (first.repeated, last.repeated) == (False, True)
    assert replace(last, repeated=False) == first


async def junk_until_continued(env: WorkflowEnvironment, handle: Handle) -> None:
    latest = env.client.get_workflow_handle(handle.id)
    for n in range(40):
        await latest.signal(ADVANCE_STAGE, f"junk-{n}")
    async with asyncio.timeout(SOON):
        while (await latest.describe()).run_id == handle.first_execution_run_id:
            await asyncio.sleep(0.05)


async def test_callbacks_of_past_and_future_stages_settle_only_their_own(real: WorkflowEnvironment) -> None:
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


# --- the same run in another execution


async def reset_to_the_start(real: WorkflowEnvironment, handle: Handle) -> None:
    await real.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=real.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            reason="a test",
            workflow_task_finish_event_id=4,
            request_id="reset",
        )
    )


async def test_a_reset_between_callback_and_retry_loses_and_doubles_nothing(real: WorkflowEnvironment) -> None:
    async with receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle, 1)
        url = url_for(handle)
        first = await http.post(url, json=DONE)
        await waiting(handle, 2)
        await reset_to_the_start(real, handle)
        latest: Handle = real.client.get_workflow_handle(handle.id)
        await waiting(latest, 2)
        again = await http.post(url, json=DONE)
        settled = await until(latest, 1, lambda stage: stage.ledger_total == 1)
        chain = (await progress_of(latest)).chain_id
    assert (first.status_code, again.status_code) == (202, 202)
    assert (settled.outcome, settled.ledger[0].why) == ("succeeded", "duplicate")
    assert chain == handle.first_execution_run_id


@pytest.fixture
async def restless() -> AsyncIterator[WorkflowEnvironment]:
    """A real server that suggests to continue as new after very few events."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BINARIES / "temporal"),
        dev_server_log_level="error",
        dev_server_extra_args=["--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=40"],
    ) as env:
        yield env


async def test_a_run_that_continues_as_new_goes_on_as_if_it_had_not(restless: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with receiver(for_temporal(restless.client)) as http, working(restless.client, partner):
        handle = await start(restless.client, stage(1), stage(2, needs={"x": "step-1.account_id"}), stage(3))
        await waiting(handle, 1)
        url = url_for(handle)
        assert (await http.post(url, json=DONE)).status_code == 202
        before = await waiting(handle, 2)
        latest = restless.client.get_workflow_handle(handle.id)
        await junk_until_continued(restless, handle)
        after = await waiting(latest, 2)
        assert (await http.post(url, json=DONE)).status_code == 202
        assert (await http.post(url_for(handle, 2, issued_at=partner.calls[1].issued_at), json=DONE)).status_code == 202
        await waiting(latest, 3)
        progress = await progress_of(latest)
        described = await latest.describe()
        await latest.signal(ADVANCE_STAGE, 3)
        result = await result_of(handle)
    assert after == before
    assert progress.ignored == {"no such stage": 40}
    assert progress.stages[0].ledger[0].why == "duplicate"
    assert [call.stage for call in partner.calls] == [1, 2, 3]
    assert [outcome.status for outcome in result.outcomes.values()] == ["succeeded", "succeeded", "advanced"]
    assert await described.memo() == {"pipeline": "testing"}


# --- floods


async def test_one_url_cannot_use_up_the_signals_of_its_run(real: WorkflowEnvironment) -> None:
    """The worker is away, so that nothing but the receiver holds the flood back."""
    async with receiver(for_temporal(real.client)) as http:
        handle = await start(real.client, stage(1))
        url = url_for(handle)
        answers = [await http.post(url, json={"status": "failed", "n": n}) for n in range(BURST + 50)]
        again = await http.post(url, json={"status": "failed", "n": 0})
        signals = await count_events(handle, "workflow_execution_signaled_event_attributes")
        await handle.signal(ADVANCE_STAGE, 1)
    assert [answer.status_code for answer in answers] == [202] * BURST + [429] * 50
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers[BURST:])
    assert (again.status_code, signals) == (202, BURST)


@pytest.mark.fault
@pytest.mark.timeout(300)
async def test_a_run_outlives_ten_thousand_signals(real: WorkflowEnvironment) -> None:
    """Sent without a pause they reach the limit before the run can continue as new; seconds later it has done so."""

    async def persist(handle: Handle, argument: object) -> None:
        async with asyncio.timeout(90):
            while True:
                try:
                    await handle.signal(ADVANCE_STAGE, argument)
                    return
                except RPCError as error:
                    if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                        raise
                    await asyncio.sleep(0.1)

    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        latest = real.client.get_workflow_handle(handle.id)
        for batch in range(105):
            await asyncio.gather(*(persist(latest, f"junk-{batch}-{n}") for n in range(100)))
        async with asyncio.timeout(120):
            while sum((await progress_of(latest)).ignored.values()) < 10_500:
                await asyncio.sleep(0.5)
        await persist(latest, 1)
        assert (await result_of(handle)).outcomes["step-1"].status == "advanced"


@pytest.mark.fault
@pytest.mark.timeout(300)
async def test_every_callback_of_a_burst_that_was_answered_2xx_is_in_its_runs_history(
    real: WorkflowEnvironment,
) -> None:
    """Far more at once than Temporal takes in the time: each is answered 202 or 503, and the ledgers agree."""
    async with receiver(for_temporal(real.client)) as http:
        handles = [await start(real.client, stage(1), id=f"run-{n}") for n in range(60)]
        answered: Counter[str] = Counter()
        statuses: Counter[int] = Counter()

        async def send(handle: Handle, n: int) -> None:
            body = {"status": "progress", "data": {"message": f"{handle.id}-{n}"}}
            answer = await http.post(url_for(handle), json=body)
            statuses[answer.status_code] += 1
            answered[handle.id] += answer.status_code == 202

        await asyncio.gather(*(send(handle, n) for n in range(25) for handle in handles))
        kept = {
            handle.id: await count_events(handle, "workflow_execution_signaled_event_attributes") for handle in handles
        }
    assert set(statuses) <= {202, 503}
    assert statuses[202] > 0
    # What was answered 503 may have been taken all the same; its retry would be another progress report.
    assert all(kept[name] >= answered[name] for name in kept)


# --- anything at all


JSON: dict[str, bytes] = {"encoding": b"json/plain"}
RAW_PAYLOADS = {
    "no arguments": [],
    "ten arguments": [Payload(metadata=JSON, data=b"1")] * 10,
    "text": [Payload(metadata=JSON, data=b'"1"')],
    "a fraction": [Payload(metadata=JSON, data=b"1.0")],
    "a huge exponent": [Payload(metadata=JSON, data=b"1e400")],
    "a huge number": [Payload(metadata=JSON, data=b"9" * 5000)],
    "null": [Payload(metadata=JSON, data=b"null")],
    "nil": [Payload(metadata={"encoding": b"binary/null"})],
    "true": [Payload(metadata=JSON, data=b"true")],
    "an object": [Payload(metadata=JSON, data=b'{"stage": 1}')],
    "a lone surrogate": [Payload(metadata=JSON, data=b'"\\ud800"')],
    "a lone surrogate as callback": [Payload(metadata=JSON, data=b"1"), Payload(metadata=JSON, data=b'"\\ud800"')],
    "no json": [Payload(metadata=JSON, data=b"{")],
    "no utf-8": [Payload(metadata=JSON, data=b"\xff\xfe")],
    "deep": [Payload(metadata=JSON, data=b"[" * 100_000)],
    "bytes": [Payload(metadata={"encoding": b"binary/plain"}, data=b"\x00\x01")],
    "an unknown encoding": [Payload(metadata={"encoding": b"martian"}, data=b"1")],
    "no encoding": [Payload(data=b"1")],
    "a protobuf of nobody": [
        Payload(metadata={"encoding": b"json/protobuf", "messageType": b"no.such.Type"}, data=b"{}")
    ],
    "a megabyte": [Payload(metadata=JSON, data=b'"' + b"x" * 1_000_000 + b'"')],
}
DROPPED_BY_THE_SDK = {
    "a huge number",
    "no json",
    "no utf-8",
    "deep",
    "an unknown encoding",
    "no encoding",
    "a protobuf of nobody",
}
"""Undecodable: the SDK logs and drops them before the workflow sees them."""


async def test_whatever_payload_is_sent_the_run_neither_moves_nor_sticks(real: WorkflowEnvironment) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        for number, payloads in enumerate(RAW_PAYLOADS.values()):
            for name in (ADVANCE_STAGE, "advance-stage"):
                request = SignalWorkflowExecutionRequest(
                    namespace=real.client.namespace,
                    workflow_execution=WorkflowExecution(workflow_id=handle.id),
                    signal_name=name,
                    request_id=f"{name}-{number}",
                )
                request.input.payloads.extend(payloads)
                await real.client.workflow_service.signal_workflow_execution(request)
        progress = await progress_of(handle)
        failed = await count_events(handle, "workflow_task_failed_event_attributes")
        status = (await handle.describe()).status
        await handle.signal(ADVANCE_STAGE, 1)
        assert (await result_of(handle)).outcomes["step-1"].status == "advanced"
    assert progress.stages[0].state == "waiting"
    assert progress.ignored["unknown signal name"] == len(RAW_PAYLOADS)
    heard = sum(progress.ignored.values()) - len(RAW_PAYLOADS)
    assert heard == len(RAW_PAYLOADS) - len(DROPPED_BY_THE_SDK)
    assert (failed, status) == (0, WorkflowExecutionStatus.RUNNING)


@pytest.mark.parametrize(
    "inputs", [[], ['"1"'], ["1.5"], ["null"], ["{}"], ["[1]"], ["true"], ["99"], ["-1"], ["1", "2", "3"]]
)
async def test_the_temporal_cli_can_send_nothing_that_sticks(real: WorkflowEnvironment, inputs: list[str]) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        command = [
            str(BINARIES / "temporal"),
            "workflow",
            "signal",
            "--workflow-id",
            handle.id,
            "--name",
            ADVANCE_STAGE,
        ]
        address = real.client.service_client.config.target_host
        given = [word for value in inputs for word in ("--input", value)]
        process = await asyncio.create_subprocess_exec(*command, "--address", address, *given, stdout=sys.stderr)
        assert await asyncio.wait_for(process.wait(), SOON) == 0
        progress = await progress_of(handle)
        assert sum(progress.ignored.values()) == 1
        await handle.signal(ADVANCE_STAGE, 1)
        assert (await result_of(handle)).outcomes["step-1"].status == "advanced"


# --- versions


async def test_a_deploy_that_breaks_determinism_holds_runs_up_and_a_roll_back_frees_them(
    real: WorkflowEnvironment,
) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await waiting(handle)
    async with working(real.client, partner, [BrokenPipeline]):
        await call_back(handle, partner.calls[0])
        await until_event(handle, "workflow_task_failed_event_attributes")
        held_up = (await handle.describe()).status
    async with working(real.client, partner):
        assert (await result_of(handle)).outcomes["step-1"].cause == "callback"
    assert held_up is WorkflowExecutionStatus.RUNNING


async def test_two_workers_on_one_queue_share_a_run_without_a_failed_task(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    other = await Client.connect(real.client.service_client.config.target_host)
    async with working(real.client, partner), working(other, partner):
        handle = await start(real.client, *(stage(n) for n in range(1, 6)))
        for n in range(1, 6):
            await waiting(handle, n)
            await call_back(handle, partner.calls[-1])
        await result_of(handle)
    assert await count_events(handle, "workflow_task_failed_event_attributes") == 0


async def test_a_newer_receiver_and_an_older_one_are_understood(real: WorkflowEnvironment) -> None:
    """Unknown fields are ignored, and fields with defaults may be missing."""
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle, 1)
        call = partner.calls[0]
        newer = {
            "answer": {**asdict(Answer("succeeded", {"n": 1})), "mood": "good"},
            "chain_id": call.chain_id,
            "attempt": call.attempt,
            "issued_at": call.issued_at,
            "delivery": "d-1",
        }
        await handle.signal(ADVANCE_STAGE, args=[1, newer])
        await waiting(handle, 2)
        older = {"answer": {"status": "succeeded"}, "chain_id": call.chain_id, "attempt": 1, "issued_at": 1}
        await handle.signal(ADVANCE_STAGE, args=[2, older])
        outcomes = (await result_of(handle)).outcomes
    assert [outcome.data for outcome in outcomes.values()] == [{"n": 1}, {}]
