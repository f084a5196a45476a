"""Tokens of version two at the receiver: taken, recorded without the token, shown, and made again by a replay."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from activities.callback_urls import Claims
from activities.partners.partner import Partner
from activities.redaction import tokens as redaction
from activities.redaction.tokens import redact_tokens, tokens
from activities.signatures import SCHEMES
from activities.store.database import Database
from activities.store.store import Store
from receiver.answers import Verdict
from receiver.app import create_app
from receiver.cli.partner.finding import find
from receiver.cli.signature.captured import PLACEHOLDER
from receiver.deliveries.archive import Archive
from receiver.deliveries.capture import Capture
from receiver.deliveries.delivery import Delivery, placeholder, without_tokens_in_body
from receiver.replay.sending import Replay, addressed
from tests.commands import command
from tests.parts.callbacks import BASE, DONE, URLS
from tests.parts.deliveries import delivery
from tests.parts.one_url import GITHUB, ONE_URL, PLAIN, carrying, post
from tests.parts.switchable import Switchable
from tests.stores import PATIENT
from tests.support import KEY
from workflows.contract import TOKEN_VERSIONS

CLAIMS = Claims("run", "01a20379-1751-78ce-ac76-c1d64654450f", 1, 1, "bank", 1_790_000_000, 4_000_000_000)
URL = URLS.issue(CLAIMS, 2)
TOKEN = URL.rpartition("/")[2]
OTHER = replace(CLAIMS, workflow_id="another", chain_id="0190a379-1751-78ce-ac76-c1d64654450f")
TWILIO = SCHEMES["twilio"](secrets=["x" * 32])
FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
BY_VERSION = pytest.mark.parametrize("version", TOKEN_VERSIONS)


@asynccontextmanager
async def recording(database: Database, partner: Partner) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(URLS, {"bank": partner}, Switchable(), store=Store(database), timing=PATIENT)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http


def at_one_url(body: bytes, **changes: Any) -> Delivery:
    return delivery(target="/partners/bank", body=body, **{**vars(CLAIMS), **changes})


async def test_it_is_taken_at_both_urls_and_recorded_without_token(database: Database) -> None:
    async with recording(database, replace(PLAIN, signature=GITHUB)) as http:
        assert (await post(http, URL, DONE)).status_code == 202
        assert (await post(http, URLS.issue(CLAIMS, 1), DONE)).status_code == 202  # the same call, so a duplicate
        assert (await post(http, URL[:-1], DONE)).status_code == 404
    async with recording(database, replace(PLAIN, signature=GITHUB, **ONE_URL)) as http:
        body = carrying(URLS.issue(OTHER, 2))
        assert (await post(http, "/partners/bank", body)).status_code == 202
        assert (await post(http, "/partners/bank", {**body, "metadata": {"callback": TOKEN[:-1]}})).status_code == 202
    accepted, duplicate, unknown, at_one_url, ignored = Archive(database).every()
    assert [accepted.target, duplicate.target] == ["/callbacks/{run/1/1/v2}", "/callbacks/{run/1/1}"]
    assert (duplicate.verdict, duplicate.duplicate_of) == ("duplicate", accepted.id)
    assert (unknown.target, unknown.verdict) == ("/callbacks/{unknown}", "unknown")
    assert (at_one_url.claims, ignored.verdict) == (OTHER, "ignored")
    assert b'"callback": "http://receiver.test/callbacks/{another/1/1/v2}"' in (at_one_url.body or b"")


async def test_a_result_that_the_file_overlooks_is_found_by_it(database: Database) -> None:
    partner = replace(PLAIN, signature=GITHUB, **ONE_URL)
    async with recording(database, partner) as http:
        answer = await post(http, "/partners/bank", {**carrying("none"), "note": f"for {TOKEN}"})
    assert answer.status_code == 503


@BY_VERSION
def test_a_replay_keeps_the_captured_version_in_the_path(version: int) -> None:
    one = delivery(target=f"/callbacks/{placeholder(CLAIMS, version)}?q=1", **vars(CLAIMS))
    assert addressed(one, URLS, CLAIMS) == (URLS.issue(CLAIMS, version) + "?q=1", one.body)
    assert addressed(one, URLS, OTHER) == (URLS.issue(OTHER, version) + "?q=1", one.body)


@BY_VERSION
def test_a_replay_keeps_the_captured_version_in_the_body(version: int) -> None:
    body = b'{"url": "' + URLS.issue(CLAIMS, version).encode() + b'"}'
    shown = without_tokens_in_body(at_one_url(body))
    assert shown.body == b'{"url": "http://receiver.test/callbacks/%b"}' % placeholder(CLAIMS, version).encode()
    assert addressed(shown, URLS, CLAIMS) == ("http://receiver.test/partners/bank", body)
    assert URLS.issue(OTHER, version).encode() in addressed(shown, URLS, OTHER)[1]


@BY_VERSION
async def test_a_verbatim_replay_keeps_the_signature_valid(database: Database, version: int) -> None:
    """The signature covers the token, in the body or in the URL: another version's would be refused."""
    async with recording(database, replace(PLAIN, signature=GITHUB, **ONE_URL)) as http:
        assert (await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS, version)))).status_code == 202
        (kept,) = Archive(database).every()
        sent = Replay(http, URLS, {"bank": PLAIN}, mode="verbatim").write([(kept, CLAIMS)])
        assert (await http.send(sent)).status_code == 202
    url, body = URLS.issue(CLAIMS, version), b"A=1"
    signed = TWILIO.sign(body, url=url, now=time.time(), delivery_id="d-1")
    captured = Capture("POST", [*FORM, *signed], "", "", url.rpartition("/")[2], claims=CLAIMS, body=body)
    again = Replay(httpx.AsyncClient(), URLS, {}, mode="verbatim").write(
        [(captured.delivery(Verdict.ACCEPTED), CLAIMS)]
    )
    assert (str(again.url), again.content) == (url, body)


def test_a_body_is_shown_with_a_placeholder_for_every_token() -> None:
    one, word = URLS.issue(CLAIMS, 1).rpartition("/")[2], f"id_{TOKEN}-retry"
    shown = without_tokens_in_body(at_one_url(f"{TOKEN} {URL} {one} {word} {TOKEN}".encode()))
    short = "{run/1/1/v2}"
    assert shown.body is not None
    first, url, long, in_word, last = shown.body.decode().split()
    assert (first, url, long, last) == (short, f"{BASE}/callbacks/{short}", "{run/1/1}", short)
    assert (in_word.startswith("id_{"), TOKEN[:40] in in_word) == (True, False)


@pytest.mark.parametrize("where", ["%s", '{"a": "%s"}', "x%s", "https://x.example/callbacks/%s?y", "a-%s_b"])
def test_a_refused_body_and_its_headers_keep_no_token(where: str) -> None:
    text = where % TOKEN
    capture = Capture("POST", [("X-Work", text)], f"?w={text}", "", "", body=text.encode())
    capture.at_partner_url("/partners/bank", "bank")
    one = capture.delivery(Verdict.UNPROVEN)
    assert TOKEN[3:50] not in f"{one.target} {one.headers} {one.body!r}"


def test_what_looks_like_a_token_is_redacted_if_refused() -> None:
    alike = b"sh2" + b"A" * 70
    assert list(tokens(alike)) == []
    assert redact_tokens(b"x " + alike + b" y") == b"x [redacted] y"


def test_a_placeholder_of_either_version_is_recognized() -> None:
    for version in TOKEN_VERSIONS:
        found = PLACEHOLDER.search(b"x %b y" % placeholder(CLAIMS, version).encode())
        assert found is not None
        assert found[0].decode() == placeholder(CLAIMS, version)


def test_partner_new_finds_a_short_token_in_a_captured_body() -> None:
    found = find({"id": "w-1", "status": "done", "meta": {"ours": URL}})
    assert found is not None
    assert found.token == ("meta", "ours")


def test_a_word_with_many_beginnings_is_not_searched_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place could begin a token, and none does: the rest of the word counts as one."""
    looked: list[bytes] = []
    monkeypatch.setattr(redaction, "begins_with_claims", looked.append)
    [found] = tokens(b"sh2" * 100_000)
    assert (len(looked) <= 5_000, max(map(len, looked)) < 400, found.end) == (True, True, 300_000)
    looked.clear()
    list(tokens(b" ".join([b"sh2" * 40] * 1_000)))
    assert len(looked) <= 3_000


def test_the_command_line_reads_a_short_token() -> None:
    done = command("token", "inspect", URL, "--json", CALLBACK_KEYS=KEY)
    assert (done.code, json.loads(done.out)["idempotency_key"]) == (0, CLAIMS.idempotency_key)
    refused = command("token", "inspect", URL + "A", CALLBACK_KEYS=KEY)
    assert (refused.code != 0, TOKEN in refused.err) == (True, False)
