"""Handshakes at our URLs, and callbacks at a partner's one webhook URL."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.callback_urls import CallbackURLs, Claims
from activities.environment import Environment
from activities.handshakes import Handshake
from activities.partners import load_partners
from activities.partners.events import NOT_OURS, Event
from activities.partners.partner import Partner
from activities.partners.reading import text_at
from activities.partners.received import Received
from activities.signatures import SCHEMES, Scheme
from receiver.answers import Verdict
from receiver.app import create_app
from receiver.deliveries.capture import Capture
from receiver.deliveries.delivery import read_line
from receiver.sending.signals import Reached, Signals
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS, for_temporal, no_temporal, url_for
from tests.parts.one_url import GITHUB, ONE_URL, PLAIN, carrying, post, receiver
from tests.parts.partner_list import list_only
from tests.support import ScriptedPartner, progress_of, result_of, stage, start, until, waiting, working
from workflows.contract import Answer

SQUARE = SCHEMES["square"](secrets=["secret"])


ELSEWHERE = CallbackURLs(BASE, ["another-key-of-at-least-32-characters"])


class Unknown(Signals):
    """A Temporal that knows no run."""

    def __init__(self) -> None:
        super().__init__(no_temporal)

    async def send(self, *args: Any, **options: Any) -> Reached:
        return Reached.UNKNOWN


# --- handshakes


SLACK = {"type": "url_verification", "challenge": "3eZbrw1a"}
ZOOM = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
JSON, TEXT = "application/json", "text/plain; charset=utf-8"
AT_EITHER_URL = pytest.mark.parametrize("url", [URLS.issue(CLAIMS), "/partners/bank"], ids=["callback", "partner"])


@AT_EITHER_URL
@pytest.mark.parametrize(
    ("handshake", "body", "says", "media_type"),
    [
        (Handshake("slack"), SLACK, "3eZbrw1a", TEXT),
        (Handshake("zoom", "s"), ZOOM, "encryptedToken", JSON),
        (Handshake("discord"), {"type": 1}, '{"type": 1}', JSON),
    ],
)
async def test_a_signed_handshake_is_answered_at_either_url(
    handshake: Handshake, body: dict[str, Any], says: str, media_type: str, url: str
) -> None:
    async with receiver(handshake=handshake, signature=GITHUB, **ONE_URL) as http:
        answer = await post(http, url, body)
        unsigned = await post(http, url, body, None)
        missigned = await post(http, url, body, SCHEMES["github"](secrets=["another"]))
    assert (answer.status_code, says in answer.text) == (200, True)
    assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == (media_type, "nosniff")
    assert [(other.status_code, says in other.text) for other in (unsigned, missigned)] == [(401, False)] * 2


async def test_a_signed_handshake_needs_a_partner_that_signs() -> None:
    async with receiver(handshake=Handshake("slack")) as http:
        assert (await post(http, URLS.issue(CLAIMS), SLACK, None)).status_code == 422


@AT_EITHER_URL
@pytest.mark.parametrize(
    ("handshake", "method", "query", "headers", "status", "text"),
    [
        (Handshake("dropbox"), "GET", "?challenge=abc", {}, 200, "abc"),
        (Handshake("graph"), "POST", "?validationToken=a%20b", {"Content-Type": "text/plain"}, 200, "a b"),
        (Handshake("meta", "v"), "GET", "?hub.mode=subscribe&hub.verify_token=v&hub.challenge=1", {}, 200, "1"),
        (Handshake("meta", "v"), "GET", "?hub.mode=subscribe&hub.verify_token=w&hub.challenge=1", {}, 403, None),
        (Handshake("x-crc", "s"), "GET", "?crc_token=abc", {}, 200, None),
        (Handshake("cloudevents", "x.example"), "OPTIONS", "", {"WebHook-Request-Origin": "x.example"}, 200, ""),
    ],
)
async def test_an_unsigned_handshake_is_answered_at_either_url(
    handshake: Handshake, method: str, query: str, headers: dict[str, str], status: int, text: str | None, url: str
) -> None:
    async with receiver(handshake=handshake, signature=GITHUB, **ONE_URL) as http:
        answer = await http.request(method, url + query, headers=headers)
        forged = await http.request(method, url[:-2] + query, headers=headers)
    assert answer.status_code == status
    assert text is None or answer.text == text
    assert answer.headers["content-type"] == (JSON if handshake.name == "x-crc" else TEXT)
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")
    assert forged.status_code == (405 if "callbacks" in url and method != "POST" else 404)


async def test_consent_to_cloudevents_names_the_allowed_rate() -> None:
    async with receiver(handshake=Handshake("cloudevents", "x.example")) as http:
        headers = {"WebHook-Request-Origin": "x.example", "WebHook-Request-Rate": "1000"}
        answer = await http.options(URLS.issue(CLAIMS), headers=headers)
    assert (answer.headers["webhook-allowed-origin"], answer.headers["webhook-allowed-rate"]) == ("x.example", "12")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
@pytest.mark.parametrize("url", [URLS.issue(CLAIMS), "/partners/bank"])
async def test_other_methods_without_a_handshake_are_405(method: str, url: str) -> None:
    for handshake in (None, Handshake("graph")):
        async with receiver(signature=GITHUB, **ONE_URL, handshake=handshake) as http:
            answer = await http.request(method, f"{url}?challenge=x&validationToken=x")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_get_for_a_partner_that_is_not_enabled_is_405_as_well() -> None:
    async with receiver(handshake=Handshake("dropbox")) as http:
        answer = await http.get(URLS.issue(replace(CLAIMS, partner="unheard-of")) + "?challenge=x")
    assert answer.status_code == 405


async def test_what_a_handshake_asks_in_vain_is_read_as_no_callback() -> None:
    """Not even by a partner's file that takes everything for a success."""

    def read_anything(received: Received) -> Event:
        return Event(Answer("succeeded"))

    for signed in (GITHUB, None):
        async with receiver(handshake=Handshake("slack"), signature=signed, read_event=read_anything) as http:
            answer = await post(http, URLS.issue(CLAIMS), {**SLACK, "challenge": "<b>"}, signed)
        assert answer.status_code == 422


@pytest.mark.parametrize("handshake", [Handshake("dropbox"), Handshake("slack")])
async def test_a_handshake_reaches_no_run(real: WorkflowEnvironment, handshake: Handshake) -> None:
    async with (
        receiver(for_temporal(real.client), handshake=handshake, signature=GITHUB) as http,
        working(real.client, ScriptedPartner()),
    ):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        url = url_for(handle)
        answer = await (post(http, url, SLACK) if handshake.proven else http.get(url + "?challenge=x"))
        assert answer.status_code == 200
        progress = await progress_of(handle)
        await post(http, url, DONE)
        await result_of(handle)
    assert (progress.stages[0].state, progress.stages[0].ledger_total, progress.ignored) == ("waiting", 0, {})


async def test_handshakes_are_limited_apart_from_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.handshakes.PROOFS_PER_SECOND", 0.01)
    async with receiver(handshake=Handshake("x-crc", "secret")) as http:
        answers = [await http.get(URLS.issue(CLAIMS) + f"?crc_token=a{n}") for n in range(2)]
        callback = await http.post(URLS.issue(CLAIMS), json={})
    assert [answers[0].status_code, answers[-1].status_code] == [200, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert callback.status_code == 422


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


# --- a GET that is a callback


def by_query(received: Received) -> Event:
    return Event(Answer("succeeded", {"n": text_at(received.query_fields(), "n")}))


TAKES_GET: dict[str, Any] = {"takes_get": True, "read_event": by_query}
SIGNS_URL = SCHEMES["square"](secrets=["secret"])


async def test_a_get_settles_a_stage_where_its_query_is_signed(real: WorkflowEnvironment) -> None:
    async with (
        receiver(for_temporal(real.client), signature=SIGNS_URL, **TAKES_GET) as http,
        working(real.client, ScriptedPartner()),
    ):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        url = url_for(handle) + "?n=7"
        proof = SIGNS_URL.sign(b"", url=url, now=time.time(), delivery_id="")
        unsigned = await http.get(url)
        changed = await http.get(url_for(handle) + "?n=8", headers=proof)
        head = await http.head(url, headers=proof)
        signed = await http.get(url, headers=proof)
        outcome = (await result_of(handle)).outcomes["step-1"]
    assert [answer.status_code for answer in (unsigned, changed, head, signed)] == [401, 401, 405, 202]
    assert (outcome.cause, outcome.data) == ("callback", {"n": "7"})


async def test_a_get_settles_nothing_elsewhere() -> None:
    for changes in ({"signature": SIGNS_URL}, {"signature": GITHUB, "takes_get": True}, {"takes_get": True}):
        async with receiver(**changes) as http:
            url = URLS.issue(CLAIMS) + "?n=7"
            proof = SIGNS_URL.sign(b"", url=url, now=time.time(), delivery_id="")
            assert (await http.get(url, headers=proof)).status_code == 405


def test_a_get_without_a_signed_url_is_a_fault_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for signature in (None, GITHUB):
        partner = replace(PLAIN, signature=signature, takes_get=True)
        list_only(monkeypatch, {"bank": partial(_as_it_is, partner)})
        environment = Environment({})
        load_partners(["bank"], environment)
        assert "takes a GET" in environment.faults[0].problem


def _as_it_is(partner: Partner, _: Environment) -> Partner:
    return partner
