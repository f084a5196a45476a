"""The sample partners: what the sandbox says in each one's form, that partner's file reads back into our words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from activities.environment import Environment
from activities.partners import PARTNERS, bank, cards, esign, identity, load_partners
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.received import Received, Unreadable
from activities.signatures import SignedRequest
from receiver.cli.demo.stack import sample_partners
from receiver.sandbox.roles import ROLES, SANDBOX, Role, role_of
from workflows.contract import Answer, StageCall

SETTINGS = sample_partners("http://127.0.0.1:8090")
DATA = {"full_name": "ada lovelace", "iban": "GB33"}
URL = "http://127.0.0.1:8000/callbacks/a.b"
SAMPLES = load_partners([*ROLES, "sandbox"], Environment(SETTINGS))
DECLINED = Answer("failed", code="declined", message="not that one")
PROGRESS = Answer("progress")
THIN = ("identity", "idcheck")
CALL = StageCall("run/with/slashes", "chain", 2, "step", "any", 3, 1_800_000_000, 1_900_000_000, DATA)


def read_sent(partner: Partner, words: Mapping[str, Any]) -> Answer:
    """What the partner's file reads in the only event of a callback."""
    received: Received = Received(json.dumps(words).encode())
    if partner.split:
        [received] = partner.split(received)
    event = partner.read_event(received)
    assert isinstance(event, Event)
    return event.answer


def response(words: Mapping[str, Any]) -> httpx.Response:
    return httpx.Response(200, json=words)


def succeeded(role: Role) -> Answer:
    return Answer("succeeded", role.findings("work-1", DATA))


def test_every_sample_has_a_role_and_a_form_of_its_own() -> None:
    assert set(PARTNERS) >= {*ROLES, "sandbox"}
    assert role_of("sandbox") is role_of("unheard-of") is SANDBOX


def test_each_sample_shows_something_else() -> None:
    """A scheme each, one without; two thin, and with it the only ones that can be asked; one with progress.

    One can be stopped, and one undone. Two have one webhook URL, and one of these sends several events in a request.
    """
    schemes = {name: partner.signature.name if partner.signature else "" for name, partner in SAMPLES.items()}
    assert schemes == {
        "identity": "persona",
        "bank": "standard-webhooks",
        "esign": "docusign",
        "cards": "",
        "idcheck": "stripe",
        "payments": "github",
        "sandbox": "",
    }
    assert [name for name in ROLES if SAMPLES[name].build_ask] == ["identity", "idcheck"]
    assert [name for name in ROLES if SAMPLES[name].stage_by == "reference"] == ["idcheck", "payments"]
    assert [name for name in ROLES if ROLES[name].has_one_url] == ["idcheck", "payments"]
    assert [name for name in ROLES if SAMPLES[name].split] == ["payments"]
    assert [name for name in ROLES if ROLES[name].reports_progress] == ["bank"]
    assert [name for name in ROLES if SAMPLES[name].build_stop] == ["esign"]
    assert [name for name in ROLES if SAMPLES[name].build_undo] == ["cards"]
    assert all(partner.loopback_only for partner in SAMPLES.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_the_partner_understands_our_call(name: str) -> None:
    role = role_of(name)
    order = role.read_order(json.loads(SAMPLES[name].build_call(CALL, URL).content))
    # idcheck takes no text of ours, not even the attempt.
    assert order.attempt == (1 if name == "idcheck" else 3)
    assert (order.callback_url, order.data) == ("" if role.has_one_url else URL, DATA)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_receipt_has_the_partners_id_and_an_outcome_if_given(name: str) -> None:
    role, partner = role_of(name), SAMPLES[name]
    for answer, read in ((PROGRESS, None), (succeeded(role), succeeded(role)), (DECLINED, DECLINED)):
        receipt = partner.read_receipt(response(role.receipt("work-1", answer)))
        assert (receipt.reference, receipt.answer) == ("work-1", None if role.has_one_url else read)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name not in THIN])
def test_a_callback_is_read_as_what_the_partner_said(name: str) -> None:
    role, partner = role_of(name), SAMPLES[name]
    for answer in (succeeded(role), DECLINED, PROGRESS):
        read = read_sent(partner, role.callback("work-1", answer))
        code = {"payments": "refused"}.get(name, answer.code) if answer.status == "failed" else ""
        assert (read.status, read.data, read.code) == (answer.status, answer.data, code)


@pytest.mark.parametrize("name", THIN)
def test_a_thin_callback_says_nothing_but_to_ask(name: str) -> None:
    role, partner = ROLES[name], SAMPLES[name]
    for answer in (succeeded(role), DECLINED, PROGRESS):
        assert read_sent(partner, role.callback("work-1", answer)).status == "ask"
    assert role.status is not None
    assert partner.read_status is not None
    for answer in (succeeded(role), DECLINED, PROGRESS):
        read = partner.read_status(response(role.status("work-1", answer)))
        assert (read.status, read.data) == (answer.status, answer.data)
        assert answer.status == "progress" or read.message == answer.message


def test_a_question_names_the_inquiry_whatever_its_id_is_made_of() -> None:
    build_ask = SAMPLES["identity"].build_ask
    assert build_ask is not None
    assert str(build_ask(CALL, "../x?y").url) == "http://127.0.0.1:8090/identity/inquiries/..%2Fx%3Fy"


@pytest.mark.parametrize("module", [identity, bank, esign, cards])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data": []}',
        b'{"data": {"attributes": {"name": 5}}}',
        b'{"data": {"attributes": {"name": "case.opened"}}}',
        b'{"type": "verification.verified", "data": {}}',
        b'{"type": "verification.verified", "data": []}',
        b'{"type": "transfer.paid", "data": {}}',
        b'{"event": "envelope-completed", "data": {"envelopeSummary": {}}}',
        b'{"event": "envelope-corrected", "data": {}}',
        b'{"card": {"state": "ACTIVE", "id": "c"}}',
        b'{"card": {"state": "LOST"}}',
    ],
)
def test_a_body_of_another_form_is_unreadable(module: Any, body: bytes) -> None:
    with pytest.raises(Unreadable):
        module.read_event(Received(body))


@pytest.mark.parametrize("name", ["identity", "bank", "esign", "cards"])
def test_requests_to_a_partner_carry_its_own_key(name: str) -> None:
    partner: Partner = SAMPLES[name]
    assert partner.auth is not None
    sent = next(partner.auth.auth_flow(partner.build_call(CALL, URL)))
    key = SETTINGS[f"{name.upper()}_KEY"]
    plain = {"identity": ("authorization", f"Bearer {key}"), "esign": ("authorization", f"Bearer {key}")}
    expected = {**plain, "cards": ("x-api-key", key), "bank": ("authorization", httpx.BasicAuth(key, "")._auth_header)}
    header, value = expected[name]
    assert sent.headers[header] == value


@pytest.mark.parametrize("name", ["identity", "bank", "esign"])
def test_the_sandboxs_signature_counts_with_its_secret_only(name: str) -> None:
    ours, theirs = SAMPLES[name].signature, load_partners([name], Environment(SETTINGS))[name].signature
    stranger = load_partners([name], Environment(sample_partners("http://127.0.0.1:8090")))[name].signature
    assert ours is not None
    assert theirs is not None
    assert stranger is not None
    headers = theirs.sign(b"{}", url=URL, now=1_800_000_000, delivery_id="d-1")
    request = SignedRequest("POST", URL, headers, b"{}")
    assert ours.verify(request, 1_800_000_000).key_index == 0
    with pytest.raises(Exception, match="mismatch"):
        stranger.verify(request, 1_800_000_000)


@pytest.mark.parametrize("name", [name for name in SAMPLES if SAMPLES[name].sample_event])
def test_a_sample_event_is_read_as_the_answer_that_it_reports(name: str) -> None:
    partner = SAMPLES[name]
    assert partner.sample_event is not None
    for answer in (succeeded(role_of(name)), DECLINED, PROGRESS):
        sent = Received(partner.sample_event(answer, "work-1"))
        [part] = partner.split(sent) if partner.split else [sent]
        event = partner.read_event(part)
        assert isinstance(event, Event)
        assert (event.answer.status, event.reference) == ("ask" if name in THIN else answer.status, "work-1")
