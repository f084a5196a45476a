"""Handshakes at callback URLs and at a partner's one URL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.handshakes import Handshake
from activities.partners.events import Event
from activities.partners.received import Received
from activities.signatures import SCHEMES
from tests.parts.callbacks import CLAIMS, DONE, URLS, for_temporal, url_for
from tests.parts.one_url import GITHUB, ONE_URL, post, receiver
from tests.support import ScriptedPartner, progress_of, result_of, stage, start, waiting, working
from workflows.contract import Answer

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
