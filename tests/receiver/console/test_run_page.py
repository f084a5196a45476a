"""The console's page of a run on the real server, and the orders of its forms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from unittest.mock import patch

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.operations import CommandUnsure
from activities.runs import Runs
from receiver.console import orders
from tests.parts.consoles import Browser, browsing, form_of, open_console, with_client
from tests.support import (
    Handle,
    ScriptedPartner,
    call_back,
    failure_of,
    progress_of,
    result_of,
    stage,
    start,
    until,
    waiting,
    working,
)
from workflows.contract import Answer

pytestmark = pytest.mark.system

HOSTILE = "<script>alert(1)</script>\u202e\x1b\x00" + "x" * 100_000
WHY = "as agreed"


@pytest.fixture
async def browser(real: WorkflowEnvironment) -> AsyncIterator[Browser]:
    async with browsing(open_console(with_client(real.client))) as browser:
        yield browser


def order(name: str, number: int = 1) -> str:
    return f"/run/order?id=run&order={name}&stage={number}"


async def test_orders_act_once_and_are_in_the_ledger(real: WorkflowEnvironment, browser: Browser) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        before = await waiting(handle)
        form = await browser.get(order("extend"))
        sent = [await browser.send(form, duration="2h", reason=WHY) for _ in range(2)]
        assert [answer.status_code for answer in sent] == [303, 303]
        assert sent[0].headers["location"] == sent[1].headers["location"]
        shown = await browser.get(sent[0].headers["location"])
        assert 'role="status">Stage 1: extend by 2 hours, by ada.' in shown.text
        after = await waiting(handle)
        assert (after.deadline or 0) - (before.deadline or 0) == 7200
        assert [(one.what, one.why) for one in after.ledger] == [("extend by 2 hours, by ada", WHY)]
        assert f"<strong>extend by 2 hours, by ada</strong>: {WHY}" in shown.text

        assert (await browser.send(await browser.get(order("skip")), reason=WHY)).status_code == 303
        await waiting(handle, 2)
        late = await browser.send(form, duration="1h", reason=WHY)
        assert late.status_code == 409
        grave = await browser.get(order("succeed", 2))
        assert (await browser.send(grave, reason=WHY, data='{"n": 1}')).status_code == 303
        result = await result_of(handle)
    assert [(one.status, one.data) for one in result.outcomes.values()] == [("skipped", {}), ("succeeded", {"n": 1})]


async def test_an_order_is_for_the_call_that_was_seen(real: WorkflowEnvironment, browser: Browser) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        seen = await browser.get(order("fail"))
        again = await browser.get(order("call-again"))
        assert (await browser.send(again, reason=WHY)).status_code == 303
        await until(handle, 1, lambda one: one.attempts == 2 and one.state == "waiting")
        answer = await browser.send(seen, reason=WHY)
        assert answer.status_code == 409
        assert "call 2 by now" in answer.text
        assert (await progress_of(handle)).stages[0].state == "waiting"


async def test_a_run_is_cancelled_and_a_failed_one_resumed(real: WorkflowEnvironment, browser: Browser) -> None:
    partner = ScriptedPartner()
    async with working(real.client, partner):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        cancel = await browser.get(order("cancel", 0))
        await call_back(handle, partner.calls[0], Answer("failed", message=HOSTILE))
        await failure_of(handle)
        assert (await browser.send(cancel, reason=WHY)).status_code == 409
        page = await browser.get("/run?id=run")
        assert "alert(1)" in page.text
        assert "<script>alert" not in page.text
        assert len(page.text) < 20_000

        resume = await browser.get(order("resume", 0))
        assert "stage 1 step-1" in resume.text
        assert (await browser.send(resume, reason=WHY)).status_code == 303
        await until(handle_of(real), 1, lambda one: one.state == "waiting")
        assert (await browser.send(resume, reason=WHY)).status_code == 303
        assert (await browser.send(resume, reason="another")).status_code == 409
        assert len(partner.calls) == 2

        cancel = await browser.get(order("cancel", 0))
        assert (await browser.send(cancel, reason=WHY)).status_code == 303
        async with asyncio.timeout(30):
            while "resume" not in (page := await browser.get("/run?id=run")).text:
                await asyncio.sleep(0.05)
        assert f"<strong>request to cancel the run</strong>: cancelled by ada: {WHY}" in page.text
        assert (await browser.send(cancel, reason=WHY)).status_code == 303
        assert (await browser.send(cancel, reason="another")).status_code == 409


def handle_of(env: WorkflowEnvironment) -> Handle:
    handle: Handle = env.client.get_workflow_handle("run")
    return handle


async def test_waits_are_ended_by_hand(real: WorkflowEnvironment, browser: Browser) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        assert (await browser.get(order("advance", 2))).status_code == 409
        form = await browser.get(order("advance", 1))
        for _ in range(2):
            assert (await browser.send(form, reason=WHY)).status_code == 303
        await waiting(handle, 2)
        [entry] = (await progress_of(handle)).stages[0].ledger
        assert (entry.what, entry.why) == ("advance, by ada", WHY)
        assert f"<strong>advance, by ada</strong>: {WHY}" in (await browser.get("/run?id=run")).text
        of_another_run = await browser.send(await browser.get(order("advance", 2)), reason=WHY, chain="x")
        assert of_another_run.status_code == 409
        await waiting(handle, 2)


async def test_an_order_needs_a_reason_and_sound_fields(real: WorkflowEnvironment, browser: Browser) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        for name, fields, said in (
            ("skip", {"reason": " "}, "The reason has 0 characters"),
            ("skip", {"reason": "x" * 2_000}, "use 1 to"),
            ("extend", {"reason": WHY, "duration": "soon"}, "Invalid duration"),
            ("succeed", {"reason": WHY, "data": "[]"}, "not a JSON object"),
            ("succeed", {"reason": WHY, "data": '{"a": NaN}'}, "not a JSON object"),
            ("succeed", {"reason": WHY, "attempt": "x"}, "The form is incomplete"),
        ):
            answer = await browser.send(await browser.get(order(name)), **fields)
            assert (answer.status_code, said in answer.text) == (422, True)
        assert len((await progress_of(handle)).stages[0].ledger) == 0
        assert (await browser.get(order("resume", 0))).status_code == 409


async def test_an_order_that_is_unsure_can_be_sent_again(real: WorkflowEnvironment, browser: Browser) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        form = await browser.get(order("skip"))
        with patch.object(orders, "operate", side_effect=CommandUnsure("no answer")):
            answer = await browser.send(form, reason=WHY)
        assert answer.status_code == 504
        assert form_of(answer, "/run/order").fields["command"] == form_of(form, "/run/order").fields["command"]
        assert (await browser.send(answer, reason=WHY)).status_code == 303
        await result_of(handle)


async def test_without_a_worker_the_page_says_what_is_known(real: WorkflowEnvironment, browser: Browser) -> None:
    await start(real.client, stage(1))
    with patch("activities.runs.WORKER_ANSWERS_WITHIN", timedelta(seconds=0.2)):
        page = await browser.get("/run?id=run")
    assert page.status_code == 200
    assert "start a worker with `stagehook worker`" in page.text
    assert "Cancel the run" in page.text


async def test_an_unknown_run_or_order_is_not_found(real: WorkflowEnvironment, browser: Browser) -> None:
    for address in ("?id=nothing", "", "?id=", "/order?id=a&order=x", "/order?id=a&order=skip&stage=x"):
        assert (await browser.get(f"/run{address}")).status_code == 404
    assert (await browser.get(f"/run?id={'x' * 1001}")).status_code == 404


async def test_looking_at_a_form_changes_nothing(real: WorkflowEnvironment, browser: Browser) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        signals = await Runs(real.client).count_signals("run")
        for name in orders.ORDERS:
            await browser.get(order(name, 0 if name in {"cancel", "resume"} else 1))
        assert await Runs(real.client).count_signals("run") == signals
        assert (await progress_of(handle)).stages[0].ledger == []


async def test_a_forged_notice_is_not_shown() -> None:
    async with browsing(open_console()) as browser:
        page = await browser.get("/run?id=x&notice=IkFsbCBydW5zIGZhaWxlZCI.x")
    assert 'role="status"' not in page.text
