"""Runs that outlast an execution, a worker or a version, on the real server: reset, continue-as-new, deploys."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace

import httpx
import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from activities.store.database import Database
from activities.store.store import Store
from receiver.app import create_app
from tests.parts.callbacks import BASE, DONE, URLS, for_temporal, partners, receiver, url_for
from tests.parts.junk import junk_until_continued
from tests.stores import PATIENT
from tests.support import (
    SOON,
    Handle,
    ScriptedPartner,
    call_back,
    count_events,
    progress_of,
    reset,
    result_of,
    stage,
    start,
    task_before_the_first_signal,
    until,
    waiting,
    working,
)
from tests.workflows.classes import BrokenPipeline
from workflows.contract import ADVANCE_STAGE, Answer, Receipt, StageCall


@pytest.mark.system
async def test_a_reset_between_callback_and_retry_loses_nothing(real: WorkflowEnvironment) -> None:
    async with receiver(for_temporal(real.client)) as http, working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle, 1)
        url = url_for(handle)
        first = await http.post(url, json=DONE)
        await waiting(handle, 2)
        await reset(real.client, handle)
        latest: Handle = real.client.get_workflow_handle(handle.id)
        await waiting(latest, 2)
        again = await http.post(url, json=DONE)
        settled = await until(latest, 1, lambda stage: stage.ledger_total == 1)
        chain = (await progress_of(latest)).chain_id
    assert (first.status_code, again.status_code) == (202, 202)
    assert (settled.outcome, settled.ledger[0].why) == ("succeeded", "duplicate")
    assert chain == handle.first_execution_run_id


@pytest.mark.system
async def test_a_stage_that_a_reset_opened_takes_its_lost_callback(
    real: WorkflowEnvironment, database: Database
) -> None:
    """It is the same call, and the store knows the callback as taken: Temporal is asked all the same."""
    timing = replace(PATIENT, resend_pause=0.0)
    app = create_app(URLS, partners(), for_temporal(real.client), store=Store(database), timing=timing)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
        working(real.client, ScriptedPartner()),
    ):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle, 1)
        url = url_for(handle)
        assert (await http.post(url, json=DONE)).status_code == 202
        await waiting(handle, 2)
        await reset(real.client, handle, await task_before_the_first_signal(handle), without_signals=True)
        latest: Handle = real.client.get_workflow_handle(handle.id)
        await until(latest, 1, lambda one: one.state == "waiting" and one.outcome is None)
        assert (await http.post(url, json=DONE)).status_code == 202
        settled = await until(latest, 1, lambda one: one.outcome is not None)
    assert (settled.outcome, settled.cause) == ("succeeded", "callback")


@pytest.mark.system
async def test_a_run_that_continues_as_new_goes_on_as_if_it_had_not(restless: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    async with receiver(for_temporal(restless.client)) as http, working(restless.client, partner):
        handle = await start(restless.client, stage(1), stage(2, needs={"x": "step-1.account_id"}), stage(3))
        await waiting(handle, 1)
        url = url_for(handle)
        assert (await http.post(url, json=DONE)).status_code == 202
        before = await waiting(handle, 2)
        latest = restless.client.get_workflow_handle(handle.id)
        sent = await junk_until_continued(restless, handle)
        after = await waiting(latest, 2)
        assert (await http.post(url, json=DONE)).status_code == 202
        assert (await http.post(url_for(handle, 2, issued_at=partner.calls[1].issued_at), json=DONE)).status_code == 202
        await waiting(latest, 3)
        progress = await progress_of(latest)
        described = await latest.describe()
        await latest.signal(ADVANCE_STAGE, 3)
        result = await result_of(handle)
    assert after == before
    assert progress.ignored == {"no such stage": sent}
    assert progress.stages[0].ledger[0].why == "duplicate"
    assert [call.stage for call in partner.calls] == [1, 2, 3]
    assert [outcome.status for outcome in result.outcomes.values()] == ["succeeded", "succeeded", "advanced"]
    assert await described.memo() == {"pipeline": "testing"}


@pytest.mark.system
async def test_a_run_that_continues_as_new_in_a_call_repeats_it(restless: WorkflowEnvironment) -> None:
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


@pytest.mark.system
async def test_runs_survive_a_nondeterministic_deploy_and_roll_back(
    real: WorkflowEnvironment,
) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await waiting(handle)
    async with working(real.client, partner, [BrokenPipeline]):
        await call_back(handle, partner.calls[0])
        # The history has an event of a failed task only if it was the task's first attempt.
        async with asyncio.timeout(3 * SOON):
            while (await handle.describe()).raw_description.pending_workflow_task.attempt < 2:
                await asyncio.sleep(0.05)
        held_up = (await handle.describe()).status
    # Temporal tries a failed task again after 10 s.
    async with working(real.client, partner), asyncio.timeout(3 * SOON):
        assert (await handle.result()).outcomes["step-1"].cause == "callback"
    assert held_up is WorkflowExecutionStatus.RUNNING


async def test_two_workers_share_a_run_without_a_failed_task(real: WorkflowEnvironment) -> None:
    partner = ScriptedPartner()
    other = await Client.connect(real.client.service_client.config.target_host, namespace=real.client.namespace)
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
