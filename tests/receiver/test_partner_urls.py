"""A partner's one webhook URL for every call: tokens in signed bodies, limits, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import Claims
from activities.environment import Environment
from activities.handshakes import Handshake
from activities.partners import load_partners
from activities.partners.events import NOT_OURS, Event
from activities.partners.partner import Partner
from activities.partners.received import Received
from activities.signatures import SCHEMES, Scheme
from receiver.answers import Verdict
from receiver.app import create_app
from receiver.deliveries.capture import Capture
from receiver.deliveries.delivery import read_line
from receiver.sending.signals import Signals
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS, for_temporal, no_temporal, url_for
from tests.parts.one_url import GITHUB, ONE_URL, PLAIN, carrying, post, receiver
from tests.parts.partner_list import list_only
from tests.parts.switchable import Switchable
from tests.parts.unknown_runs import ELSEWHERE, SQUARE, Unknown
from tests.support import ScriptedPartner, result_of, stage, start, until, waiting, working
from workflows.contract import Answer

# --- one URL for everything


@pytest.mark.parametrize("form", ["url", "token"])
async def test_the_token_in_a_signed_body_says_what_it_answers(real: WorkflowEnvironment, form: str) -> None:
    async with (
        receiver(for_temporal(real.client), signature=GITHUB, **ONE_URL) as http,
        working(real.client, ScriptedPartner()),
    ):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        url = url_for(handle)
        body = carrying(url if form == "url" else url.rpartition("/")[2])
        first, again = await post(http, "/partners/partner-1", body), await post(http, "/partners/partner-1", body)
        outcome = (await result_of(handle)).outcomes["step-1"]
        late = await post(http, "/partners/partner-1", {**body, "data": {"n": 2}})
    # Every event of an account comes to this URL, and after many 4xx a provider disables it.
    assert (first.status_code, again.status_code, late.status_code) == (202, 202, 202)
    assert late.json() == {"answer": "this callback URL is closed: its work is over"}
    assert (outcome.cause, outcome.data) == ("callback", {"account_id": "a-1"})


async def test_progress_is_taken_there_as_well(real: WorkflowEnvironment) -> None:
    async with (
        receiver(for_temporal(real.client), signature=GITHUB, **ONE_URL) as http,
        working(real.client, ScriptedPartner()),
    ):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        body = {**carrying(url_for(handle)), "status": "progress"}
        assert (await post(http, "/partners/partner-1", body)).status_code == 202
        found = await until(handle, 1, lambda stage: stage.ledger_total == 1)
    assert found.state == "waiting"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (carrying(URLS.issue(CLAIMS)[:-2]), "ignored"),
        (carrying(""), "ignored"),
        (carrying(URLS.issue(replace(CLAIMS, partner="partner-1"))), "ignored"),
        (carrying(URLS.issue(replace(CLAIMS, partner="partner-1", expires_at=1_790_000_001))), "ignored"),
        (carrying(URLS.issue(replace(CLAIMS, expires_at=1_790_000_001))), "closed"),
        (DONE, "cannot be read"),
        (b"{", "cannot be read"),
    ],
)
async def test_no_token_or_a_bad_one_is_answered_as_the_table_says(body: Any, says: str) -> None:
    """A token of another partner's call is a bad one here, for this signature proves nothing about it."""
    async with receiver(signature=GITHUB, **ONE_URL) as http:
        answer = await post(http, "/partners/bank", body)
    assert answer.status_code == (422 if says == "cannot be read" else 202)
    assert says in answer.json()["answer"]


async def test_an_event_that_is_not_ours_is_answered_2xx() -> None:
    async with receiver(signature=GITHUB, stage_by="token", read_event=lambda received: NOT_OURS) as http:
        answer = await post(http, "/partners/bank", {"type": "payout.paid"})
        unsigned = await post(http, "/partners/bank", {"type": "payout.paid"}, None)
        overlooked = await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)))
        foreign = await post(http, "/partners/bank", carrying(ELSEWHERE.issue(CLAIMS)))
    assert (answer.status_code, answer.json()["answer"]) == (202, "ignored: it is about no work of ours")
    assert (unsigned.status_code, overlooked.status_code, foreign.status_code) == (401, 503, 202)


async def test_an_event_of_another_partner_of_ours_is_answered_2xx() -> None:
    """Two partners' files may read one provider's account: each URL gets the events of both."""
    async with receiver(signature=GITHUB, stage_by="token", read_event=lambda received: NOT_OURS) as http:
        other = URLS.issue(replace(CLAIMS, partner="partner-1"))
        assert (await post(http, "/partners/bank", carrying(other))).status_code == 202


async def test_an_unknown_run_at_one_url_is_no_2xx_without_a_store() -> None:
    async with receiver(Unknown(), signature=GITHUB, **ONE_URL) as http:
        assert (await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)))).status_code == 503
        assert (await post(http, URLS.issue(CLAIMS), carrying("x"))).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/partners/bank/", "/partners/%62ank", "/partners/", "/partners/unheard-of", "/partners"],
)
async def test_a_partners_url_has_one_spelling(path: str) -> None:
    async with receiver(signature=GITHUB, **ONE_URL) as http:
        answer = await post(http, path, carrying("x"))
    assert answer.status_code == 404


async def test_an_unproven_body_is_401_before_anything_reads_it() -> None:
    def read_nothing(received: Received) -> Event:
        raise AssertionError("read")

    async with receiver(signature=GITHUB, stage_by="token", read_event=read_nothing) as http:
        assert (await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)), None)).status_code == 401


@pytest.mark.parametrize("scheme", [None, SCHEMES["bearer"](secrets=["a-long-token"])])
async def test_a_partner_whose_bodies_are_not_signed_has_no_url_there(scheme: Scheme | None) -> None:
    async with receiver(signature=scheme, **ONE_URL) as http:
        assert (await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)), scheme)).status_code == 404


async def test_a_partner_with_a_url_for_each_call_has_none_there() -> None:
    async with receiver(signature=GITHUB) as http:
        assert (await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)))).status_code == 404


async def test_a_scheme_that_signs_the_url_signs_the_public_one() -> None:
    app = create_app(URLS, {"bank": replace(PLAIN, signature=SQUARE, **ONE_URL)}, Signals(no_temporal))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://another.test") as http:
        headers = dict(SQUARE.sign(b"{}", url=f"{BASE}/partners/bank", now=0, delivery_id=""))
        headers["Content-Type"] = "application/json"
        assert (await http.post("/partners/bank", content=b"{}", headers=headers)).status_code == 422
        assert (await http.post("/partners/bank?x=1", content=b"{}", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    ("changes", "is_fault"),
    [
        (ONE_URL, True),
        ({"handshake": Handshake("slack")}, True),
        ({"handshake": Handshake("dropbox")}, False),
        ({**ONE_URL, "signature": GITHUB}, False),
        ({**ONE_URL, "signature": SCHEMES["bearer"](secrets=["a-long-token"])}, True),
    ],
)
def test_what_needs_a_signature_and_has_none_is_a_fault_at_start(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], *, is_fault: bool
) -> None:
    def factory(environment: Environment) -> Partner:
        return replace(PLAIN, **changes)

    list_only(monkeypatch, {"bank": factory})
    environment = Environment({})
    load_partners(["bank"], environment)
    assert [fault.name for fault in environment.faults] == (["PARTNERS"] if is_fault else [])


# --- how much a partner may bring


async def test_without_a_store_one_call_cannot_use_up_its_runs_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a store, what is too much for now is kept, and sent later."""
    monkeypatch.setattr("receiver.budget.BURST", 3)
    monkeypatch.setattr("receiver.budget.SECONDS_PER_CALLBACK", 3600.0)
    body = carrying(URLS.issue(CLAIMS))
    async with receiver(Switchable(), signature=GITHUB, **ONE_URL) as http:
        answers = [await post(http, "/partners/bank", {**body, "data": {"n": n}}) for n in range(5)]
    assert [answer.status_code for answer in answers] == [202] * 3 + [429] * 2


async def test_a_partner_over_its_rate_is_429_and_others_are_not() -> None:
    async with receiver(rate=0.05) as http:
        answers = [await http.post(URLS.issue(replace(CLAIMS, stage=n)), json={}) for n in range(1, 4)]
        other = await http.post(URLS.issue(replace(CLAIMS, partner="partner-1")), json={})
    assert [answer.status_code for answer in answers] == [422, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
    assert other.status_code == 422


async def test_what_is_not_proven_is_not_counted_against_the_partner() -> None:
    async with receiver(rate=0.01, signature=GITHUB) as http:
        url = URLS.issue(CLAIMS)
        refused = [(await post(http, url, {}, None)).status_code for _ in range(5)]
        answers = [(await post(http, url, {})).status_code for _ in range(2)]
    assert (refused, answers) == ([401] * 5, [422, 429])


# --- what is kept of a delivery there


@pytest.mark.parametrize("claims", [CLAIMS, None])
def test_the_token_in_a_body_is_not_kept(claims: Claims | None) -> None:
    token = URLS.issue(CLAIMS).rpartition("/")[2]
    capture = Capture("POST", [], "?a=1", "", token, claims=claims)
    capture.at_partner_url("/partners/bank", "bank")
    capture.body = json.dumps(carrying(URLS.issue(CLAIMS))).encode()
    kept = capture.delivery(Verdict.ACCEPTED)
    assert (kept.partner, kept.target) == ("bank", "/partners/bank?a=1")
    assert kept.body is not None
    assert token not in kept.body.decode()
    assert read_line(json.dumps(kept.as_json()).encode()) == kept


def test_a_body_that_writes_its_token_otherwise_is_not_kept() -> None:
    token = URLS.issue(CLAIMS).rpartition("/")[2]
    capture = Capture("POST", [], "", "", token, claims=CLAIMS, body=b'"\\u0061..."')
    capture.at_partner_url("/partners/bank", "bank")
    assert capture.delivery(Verdict.ACCEPTED).body is None


async def test_a_file_that_reads_the_wrong_field_loses_nothing() -> None:
    def misread(received: Received) -> Event:
        return Event(Answer("succeeded"), token="")

    async with receiver(signature=GITHUB, stage_by="token", read_event=misread) as http:
        overlooked = await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)))
        foreign = await post(http, "/partners/bank", carrying(ELSEWHERE.issue(CLAIMS)))
    assert (overlooked.status_code, foreign.status_code) == (503, 202)
