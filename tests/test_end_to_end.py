"""Worker, receiver and sandbox partner in one loop, on the real server: all but the sockets is as in production."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx
import pytest
import respx
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import CallbackURLs
from activities.calls import PartnerCalls, http_client
from activities.environment import Environment
from activities.partners import load_partners
from activities.runs import Runs
from activities.worker import build_worker
from receiver.app import create_app
from receiver.cli.demo.running import INPUT
from receiver.cli.demo.stack import sample_partners
from receiver.sandbox.app import SandboxPartner
from receiver.sandbox.work import Work
from receiver.sending.signals import Signals
from tests.support import KEY, QUEUE, SOON, Handle, failure_of, operate, progress_of, result_of, until, waiting
from workflows.contract import Pipeline, for_older_workers
from workflows.pipelines import ONBOARDING

NAMES = ("identity", "bank", "esign", "cards")
PUBLIC_URL = "http://receiver.test"


@dataclass
class House:
    """The parts of one system, and a way to start a run in it."""

    client: Client
    sandbox: SandboxPartner

    async def onboard(self, pipeline: Pipeline | None = None) -> Handle:
        return await Runs(self.client).start(pipeline or impatient(), INPUT, task_queue=QUEUE)

    def works(self, partner: str) -> list[Work]:
        return [work for work in self.sandbox.ledger.values() if work.partner == partner]


def impatient(timeout: float = 20.0) -> Pipeline:
    """Onboarding with short timeouts, in which no stage waits for a person."""
    stages = [replace(stage, timeout=timeout) for stage in ONBOARDING.stages]
    return for_older_workers(replace(ONBOARDING, stages=stages))


@asynccontextmanager
async def house(real: WorkflowEnvironment, **script: Sequence[str]) -> AsyncIterator[House]:
    """All parts, with the partners playing what the script says. The mock stays open until the worker is down."""
    urls = CallbackURLs(PUBLIC_URL, [KEY])
    partners = load_partners(NAMES, Environment(sample_partners("http://sandbox.test")))
    schemes = {name: partner.signature for name, partner in partners.items() if partner.signature}

    async def connected() -> Client:
        return real.client

    app = create_app(urls, partners, Signals(connected))
    plays: Mapping[str, Sequence[str]] = script
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as to_receiver, http_client() as to_partners:
        sandbox = SandboxPartner(to_receiver, plays, schemes=schemes, delay=0.05)
        with respx.mock(assert_all_called=False) as network:
            network.route(host="sandbox.test").mock(side_effect=respx.ASGIHandler(sandbox.app))
            async with build_worker(real.client, PartnerCalls(to_partners, urls, partners), task_queue=QUEUE):
                yield House(real.client, sandbox)
            await sandbox.aclose()


async def test_onboarding_goes_through_four_partners(real: WorkflowEnvironment) -> None:
    async with house(real) as parts:
        result = await result_of(await parts.onboard())
    causes = {name: outcome.cause for name, outcome in result.outcomes.items()}
    assert causes == {"identity-check": "asked", **dict.fromkeys(("account-check", "contract", "card"), "callback")}
    assert result.outcomes["identity-check"].data["legal_name"] == "Ada Lovelace"
    assert set(result.outcomes["card"].data) == {"card_id", "last_four"}


OTHER_PLAYS = ("early", "at-once", "busy", "missigned", "slow")


@pytest.mark.parametrize(
    "play", ["twice", "forged", *(pytest.param(play, marks=pytest.mark.system) for play in OTHER_PLAYS)]
)
async def test_whatever_a_partner_plays_its_stage_is_settled_once(real: WorkflowEnvironment, play: str) -> None:
    async with house(real, bank=[play]) as parts:
        handle = await parts.onboard()
        result = await result_of(handle)
        [work] = parts.works("bank")
        if play == "twice":
            async with asyncio.timeout(SOON):
                while len(work.deliveries) < 3:
                    await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)  # nothing else comes
        stage = (await progress_of(handle)).stages[1]
    assert result.outcomes["account-check"].status == "succeeded"
    assert stage.cause == ("answered" if play == "at-once" else "callback")
    answered = [(delivery.kind, delivery.answered) for delivery in work.deliveries]
    progress = answered[:1]
    assert [entry.what for entry in stage.ledger] == ["callback progress of call 1"] * len(progress)
    assert progress == ([] if play == "at-once" else [("progress", 202)])
    assert answered[1:] == {
        "twice": [("callback", 202)] * 2,
        "at-once": [],
        "forged": [("forged", 404), ("callback", 202)],
        "missigned": [("missigned", 401), ("callback", 202)],
    }.get(play, [("callback", 202)])


async def test_a_thin_callback_is_asked_and_a_card_may_come_at_once(real: WorkflowEnvironment) -> None:
    async with house(real, identity=["twice"], cards=["at-once"]) as parts:
        handle = await parts.onboard()
        result = await result_of(handle)
        [identity], [card] = parts.works("identity"), parts.works("cards")
    assert [result.outcomes[name].cause for name in ("identity-check", "card")] == ["asked", "answered"]
    assert result.outcomes["identity-check"].data == {"legal_name": "Ada Lovelace", "check_id": identity.id}
    assert [delivery.answered for delivery in identity.deliveries] == [202, 202]
    assert (identity.asked >= 1, card.deliveries) == (True, [])


@pytest.mark.system
async def test_a_partner_with_a_lost_callback_is_asked_at_the_deadline(real: WorkflowEnvironment) -> None:
    async with house(real, identity=["lost"]) as parts:
        handle = await parts.onboard(impatient(timeout=0.5))
        assert (await result_of(handle)).outcomes["identity-check"].cause == "asked"


@pytest.mark.system
async def test_a_call_that_was_put_off_is_the_same_work_to_the_partner(real: WorkflowEnvironment) -> None:
    async with house(real, identity=["busy"]) as parts:
        await result_of(await parts.onboard())
        [work] = parts.works("identity")
    assert work.tries == 3


@pytest.mark.system
async def test_a_silent_partner_is_called_again_with_another_url(real: WorkflowEnvironment) -> None:
    async with house(real, esign=["never", "later"]) as parts:
        handle = await parts.onboard(impatient(timeout=1.0))
        result = await result_of(handle)
        works = parts.works("esign")
    assert result.outcomes["contract"].attempt == 2
    assert [work.attempt for work in works] == [1, 2]
    assert len({work.id for work in works}) == 2


@pytest.mark.system
async def test_a_partner_that_declines_ends_the_run_with_its_words(real: WorkflowEnvironment) -> None:
    async with house(real, bank=["failing"]) as parts:
        error = await failure_of(await parts.onboard())
    assert error.message == "stage 2 account-check: partner bank: declined: the sandbox was told to decline"


@pytest.mark.system
async def test_a_declined_stage_of_onboarding_waits_for_a_person(real: WorkflowEnvironment) -> None:
    async with house(real, bank=["failing"]) as parts:
        handle = await parts.onboard(ONBOARDING)
        shown = await until(handle, 2, lambda stage: stage.state == "needs_person")
        await operate(handle, "succeed", 2, data={"account_id": "acc-1"})
        result = await result_of(handle)
    assert shown.message == "the sandbox was told to decline"
    assert (result.outcomes["account-check"].cause, result.outcomes["card"].status) == ("operator", "succeeded")


@pytest.mark.system
async def test_a_partner_that_refuses_the_call_ends_the_run_at_once(real: WorkflowEnvironment) -> None:
    async with house(real, bank=["refusing"]) as parts:
        error = await failure_of(await parts.onboard())
    assert error.type == "StageFailed"
    assert "partner bank answered 422" in error.message


async def test_a_history_holds_no_token_url_or_key(real: WorkflowEnvironment) -> None:
    """Whoever can read a history must not be able to settle a stage."""
    async with house(real, bank=["busy"]) as parts:
        handle = await parts.onboard()
        await result_of(handle)
        # As text, for in JSON the payloads would be hidden in base64.
        history = "".join(str(event) for event in (await handle.fetch_history()).events)
    assert "ada lovelace" in history
    assert "/callbacks/" not in history
    assert "receiver.test" not in history
    assert KEY not in history


@pytest.mark.system
async def test_progress_answers_the_same_after_the_worker_was_replaced(real: WorkflowEnvironment) -> None:
    async with house(real, bank=["twice"]) as parts:
        handle = await parts.onboard()
        await result_of(handle)
        await asyncio.sleep(0.3)
        before = await progress_of(handle)
    async with house(real):
        assert await progress_of(handle) == before


@pytest.mark.system
async def test_temporals_ui_reads_like_the_pipeline(real: WorkflowEnvironment) -> None:
    async with house(real, bank=["never"]) as parts:
        handle = await parts.onboard()
        await waiting(handle, 2)
        described = await handle.describe()
        details = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        history = await handle.fetch_history()
    assert await described.static_summary() == "onboarding: 4 stages"
    assert "2. account-check (bank): call 1, waiting until" in details.current_details
    assert "1. identity-check (identity): succeeded by asked" in details.current_details
    summaries = {event.user_metadata.summary.data.decode() for event in history.events}
    assert {'"2 account-check: call 1 of bank"', '"2 account-check: callback of bank"'} <= summaries
