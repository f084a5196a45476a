"""Handshakes at both kinds of our URLs: a file's own, those that bring a key, and the limits of each kind."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from activities.environment import Environment
from activities.handshakes import Handshake, OwnHandshake, Reply
from activities.partners.events import NOT_OURS
from activities.partners.partner import handshake
from activities.partners.received import Received
from activities.sealing import NotSealed, Seals
from activities.signatures import SCHEMES, ConfigError
from receiver.cli import stagehook
from receiver.deliveries.delivery import Delivery
from receiver.sending.direct import Direct
from tests.parts.callbacks import BASE, CLAIMS, URLS
from tests.parts.one_url import GITHUB, ONE_URL, PLAIN, post, receiver
from tests.support import KEY

CALLBACK, SHARED = URLS.issue(CLAIMS), f"{BASE}/partners/bank"
AT_EITHER_URL = pytest.mark.parametrize("url", [CALLBACK, SHARED], ids=["callback", "partner"])
WORD = "an-enrolment-word"
SLACK = {"type": "url_verification", "challenge": "3eZbrw1a"}
JSON_TYPE = {"Content-Type": "application/json"}
META = "?hub.mode=subscribe&hub.verify_token=verify-me&hub.challenge=1"
TOKEN = "verification_token"
SIGNED: dict[str, Any] = {"signature": GITHUB, **ONE_URL}


@AT_EITHER_URL
@pytest.mark.parametrize(
    ("name", "body", "headers", "says"),
    [
        ("monday", {"challenge": "c"}, {}, {"challenge": "c"}),
        (
            "event-grid",
            [{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "c"}}],
            {"aeg-event-type": "SubscriptionValidation"},
            {"validationResponse": "c"},
        ),
    ],
)
async def test_an_unsigned_body_is_greeted_before_its_signature(
    name: str, body: Any, headers: dict[str, str], says: Any, url: str
) -> None:
    async with receiver(handshake=Handshake(name), **SIGNED) as http:
        answer = await http.post(url, json=body, headers=headers)
        padded = await http.post(url, content=json.dumps(body) + " " * 8192, headers={**headers, **JSON_TYPE})
        other = await http.post(url, json={"event": "x"}, headers=headers)
    assert (answer.status_code, answer.json(), answer.headers["cache-control"]) == (200, says, "no-store")
    assert (padded.status_code, other.status_code) == (401, 401)


@pytest.mark.parametrize(("method", "name"), [("HEAD", "trello"), ("GET", "mailchimp"), ("HEAD", "mailchimp")])
@AT_EITHER_URL
async def test_a_look_at_the_url_is_200_and_empty(method: str, name: str, url: str) -> None:
    async with receiver(handshake=Handshake(name), **SIGNED) as http:
        answer = await http.request(method, url)
    assert (answer.status_code, answer.content) == (200, b"")


@AT_EITHER_URL
async def test_xero_intent_to_receive_has_no_bodies(url: str) -> None:
    """Xero sends it with right and with wrong signatures, and wants 200 and 401, both empty."""
    xero, another = (SCHEMES["shopify"](secrets=[key]) for key in ("secret", "another"))  # another header, same HMAC
    asked = {"events": [], "firstEventSequence": 0, "lastEventSequence": 0, "entropy": "x"}
    async with receiver(handshake=Handshake("xero"), signature=xero, **ONE_URL) as http:
        right = await post(http, url, asked, xero)
        wrong = await post(http, url, asked, another)
    assert [(answer.status_code, answer.content) for answer in (right, wrong)] == [(200, b""), (401, b"")]
    assert "www-authenticate" in wrong.headers


async def test_adobe_sign_hears_its_client_id_with_each_2xx() -> None:
    name = "X-AdobeSign-ClientId"
    async with receiver(handshake=Handshake("adobe-sign", "our-client"), read_event=lambda received: NOT_OURS) as http:
        asked = await http.get(CALLBACK, headers={name: "our-client"})
        other = await http.get(CALLBACK, headers={name: "another"})
        event = await http.post(CALLBACK, json={}, headers={name: "our-client"})
    assert (asked.status_code, asked.headers[name], other.status_code) == (200, "our-client", 403)
    assert (event.status_code, event.headers[name]) == (202, "our-client")
    assert name not in other.headers


async def test_ebay_is_told_a_hash_of_the_public_url() -> None:
    async with receiver(handshake=Handshake("ebay", "token"), **SIGNED) as http:
        found = [(await http.get(f"{url}?challenge_code=c")).json()["challengeResponse"] for url in (CALLBACK, SHARED)]
    assert found == [hashlib.sha256(f"ctoken{url}".encode()).hexdigest() for url in (CALLBACK, SHARED)]


# --- a file's own handshake


def own(received: Received) -> Reply | None:
    """Shake hands in a form of its own."""
    if received.method == "POST":
        asked = json.loads(received.body).get("ping")
        return None if asked is None else Reply(body=asked, headers={"X-Pong": "1"})
    return Reply(body=received.header("X-Ask"))


@AT_EITHER_URL
async def test_a_file_answers_a_handshake_of_its_own(url: str) -> None:
    async with receiver(handshake=own, **SIGNED) as http:
        looked = await http.get(url, headers={"X-Ask": "a"})
        signed = await post(http, url, {"ping": "b"})
        unsigned = await post(http, url, {"ping": "b"}, None)
        event = await post(http, url, {})
    assert [(answer.status_code, answer.text) for answer in (looked, signed)] == [(200, "a"), (200, "b")]
    assert (signed.headers["x-pong"], signed.headers["cache-control"]) == ("1", "no-store")
    assert signed.headers["content-type"].startswith("text/plain")
    assert (unsigned.status_code, event.status_code) == (401, 422)


async def test_a_files_handshake_is_asked_once_about_a_get() -> None:
    asked = list[str]()
    query = f"{CALLBACK}?x=1"
    signature = SCHEMES["square"](secrets=["secret"])
    async with receiver(
        handshake=lambda received: asked.append(received.query), signature=signature, takes_get=True
    ) as http:
        answer = await http.get(query)
    assert (answer.status_code, asked) == (401, ["x=1"])


async def test_an_own_handshake_may_come_before_the_signature() -> None:
    several = [Handshake("dropbox"), OwnHandshake(own, proven=False)]
    async with receiver(handshake=several, signature=GITHUB) as http:
        answers = [await post(http, CALLBACK, {"ping": "b"}, None), await http.get(f"{CALLBACK}?challenge=c")]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "b"), (200, "c")]


@pytest.mark.parametrize(
    "made",
    [
        lambda: Reply(media_type="text/html", body="<script>"),
        lambda: Reply(status=302, headers={"Location": "https://evil.example"}),
        lambda: Reply(headers={"Set-Cookie": "a=b"}),
        lambda: Reply(status=204, body="x"),
        lambda: Reply(body="\ud800"),
        lambda: Reply(secret="\ud800"),
        lambda: Reply(body="x" * 4097),
        lambda: Reply(headers={"X-Echo": "a\r\nSet-Cookie: b=c"}),
        lambda: Reply(headers={"Cache-Control": "public"}),
        lambda: Reply(status=500),
        lambda: "<script>",
        lambda: (200, "<script>"),
        lambda: json.loads("{"),
    ],
)
async def test_a_broken_handshake_of_a_file_is_503(made: Any) -> None:
    async with receiver(handshake=lambda received: made()) as http:
        answer = await http.get(CALLBACK)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
    assert "script" not in answer.text


@AT_EITHER_URL
@pytest.mark.parametrize(
    "headers", [[("X-Ask", "<script>")], [("X-Ask", "a"), ("X-Ask", "b")], []], ids=["markup", "repeated", "missing"]
)
async def test_a_files_handshake_repeats_no_markup(url: str, headers: list[tuple[str, str]]) -> None:
    async with receiver(handshake=lambda received: Reply(body=received.header("X-Ask") or "<b>"), **SIGNED) as http:
        answer = await http.get(url, headers=headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (422, "no-store")
    assert "<" not in answer.text


def asks_in_a_form(received: Received) -> Reply | None:
    received.form()
    return None


async def test_a_callback_that_a_handshake_cannot_read_is_a_callback() -> None:
    given = {**SIGNED, "read_event": lambda received: NOT_OURS}
    async with receiver(handshake=asks_in_a_form, **given) as http:
        answers = [await post(http, SHARED, {}), await post(http, SHARED, {}, None)]
    assert [answer.status_code for answer in answers] == [202, 401]


async def test_an_unsigned_body_that_a_handshake_cannot_read_is_422() -> None:
    async with receiver(handshake=OwnHandshake(asks_in_a_form, proven=False), **SIGNED) as http:
        answer = await post(http, SHARED, {"ping": "b"}, None)
    assert answer.status_code == 422


# --- a key that the partner chooses


@AT_EITHER_URL
@pytest.mark.parametrize("name", ["asana", "notion"])
async def test_a_chosen_key_is_sealed_for_the_operator(name: str, url: str, caplog: pytest.LogCaptureFixture) -> None:
    key = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5"
    sent: dict[str, Any] = {"headers": {"X-Hook-Secret": key}} if name == "asana" else {"json": {TOKEN: key}}
    async with receiver(handshake=Handshake(name, WORD), **SIGNED) as http:
        with caplog.at_level(logging.WARNING, "stagehook.callbacks"):
            refused = [await http.post(url + query, **sent) for query in ("", "?enrol=x", f"?enrol={WORD}x")]
            assert not caplog.records
            answer = await http.post(f"{url}?enrol={WORD}", **sent)
    assert [(one.status_code, key in str(one.headers) + one.text) for one in refused] == [(403, False)] * 3
    assert answer.status_code == 200
    assert answer.headers.get("x-hook-secret") == (key if name == "asana" else None)
    [record] = caplog.records
    assert key not in str(vars(record))
    assert Seals(["a-new-key-of-at-least-32-characters!", KEY]).open(vars(record)["sealed"]) == key


async def test_a_chosen_key_changes_no_signature() -> None:
    """What verifies callbacks is the key in the settings, whatever keys are offered."""
    async with receiver(handshake=Handshake("asana", WORD), **SIGNED) as http:
        await http.post(f"{SHARED}?enrol={WORD}", headers={"X-Hook-Secret": "evil-key-of-a-stranger"})
        forged = await post(http, SHARED, {}, SCHEMES["github"](secrets=["evil-key-of-a-stranger"]))
        genuine = await post(http, SHARED, {})
    assert (forged.status_code, genuine.status_code) == (401, 422)


def test_without_an_enrolment_word_there_is_no_enrolment() -> None:
    environment = Environment({"SHORT": "abc", "WORD": WORD})
    assert handshake("asana", environment, "MISSING", fix="") is None
    assert not environment.faults
    assert handshake("asana", environment, "WORD", fix="") == Handshake("asana", WORD)
    assert handshake("notion", environment, "SHORT", fix="") is None
    assert environment.faults


async def test_callbacks_arrive_while_no_enrolment_is_open() -> None:
    """`handshake()` returns None without an enrolment word, also within a list."""
    closed = handshake("asana", Environment({}), "MISSING", fix="")
    async with receiver(handshake=[Handshake("slack"), closed], read_event=lambda _: NOT_OURS) as http:
        answer = await http.post(CALLBACK, json={})
    assert answer.status_code == 202


async def test_a_client_id_is_told_only_to_who_signs() -> None:
    """Adobe wants it in the answer to each callback. In a refusal a stranger would read it."""
    async with receiver(handshake=Handshake("adobe-sign", "our-client-id"), **SIGNED) as http:
        refused = await http.post(SHARED, json={"event": "x"})
    assert refused.status_code == 401
    assert "our-client-id" not in str(refused.headers)


async def test_without_a_signature_no_signed_handshake_is_greeted() -> None:
    """Anyone who has the URL could have a text of their own repeated or signed."""
    async with receiver(handshake=Handshake("slack"), signature=None) as http:
        answer = await http.post(CALLBACK, json=SLACK)
    assert answer.status_code == 422
    assert SLACK["challenge"] not in answer.text


async def test_any_key_is_repeated_only_where_none_is_used() -> None:
    with pytest.raises(ConfigError, match="lets a stranger choose the key"):
        replace(PLAIN, handshake=Handshake("x-hook-secret"), signature=GITHUB)
    async with receiver(handshake=Handshake("x-hook-secret"), signature=None) as http:
        answer = await http.post(CALLBACK, headers={"X-Hook-Secret": "k"})
        forged = await http.post(CALLBACK[:-2], headers={"X-Hook-Secret": "k"})
    assert (answer.status_code, answer.headers["x-hook-secret"], forged.status_code) == (200, "k", 404)


@pytest.mark.parametrize("sealed", ["", "x", "caf\u00e9", "=" * 100, "gAAAAA", "another key's"])
def test_what_was_not_sealed_with_our_keys_is_not_opened(sealed: str) -> None:
    if sealed == "another key's":
        sealed = Seals(["another-key"]).seal("secret")
    with pytest.raises(NotSealed):
        Seals([KEY]).open(sealed)


@pytest.mark.parametrize("keys", [KEY, f"a-new-key-of-at-least-32-characters!,{KEY}"])
def test_an_operator_unseals_a_key_from_the_log(keys: str) -> None:
    sealed = Seals([KEY]).seal("secret_b537207f")
    command = ["partner", "unseal"]
    shown = CliRunner().invoke(stagehook, [*command, sealed], env={"CALLBACK_KEYS": keys})
    piped = CliRunner().invoke(stagehook, [*command, "-"], input=f"{sealed}\n", env={"CALLBACK_KEYS": keys})
    assert (shown.stdout, piped.stdout) == ("secret_b537207f\n", "secret_b537207f\n")


def test_a_get_is_a_handshake_or_a_callback_not_both() -> None:
    with pytest.raises(ConfigError, match="a GET cannot be a callback"):
        replace(PLAIN, handshake=Handshake("mailchimp"), takes_get=True)


# --- limits


@pytest.mark.parametrize(
    ("shaken", "strangers", "own"),
    [
        ([Handshake("slack"), Handshake("dropbox")], "?challenge=c", (SHARED, SLACK)),
        ([Handshake("x-crc", "secret"), Handshake("dropbox")], "?challenge=c", (f"{SHARED}?crc_token=a", None)),
        (Handshake("meta", "verify-me"), "?hub.mode=subscribe&hub.verify_token=x", (f"{SHARED}{META}", None)),
        (Handshake("dropbox"), "?challenge=c", (f"{CALLBACK}?challenge=c", None)),
    ],
    ids=["signed", "a-proof", "with-a-secret", "at-its-own-url"],
)
async def test_strangers_do_not_use_up_a_partners_handshakes(
    monkeypatch: pytest.MonkeyPatch, shaken: Any, strangers: str, own: tuple[str, Any]
) -> None:
    monkeypatch.setattr("receiver.handshakes.HANDSHAKES_PER_SECOND", 0.01)
    monkeypatch.setattr("receiver.handshakes.PROOFS_PER_SECOND", 0.01)
    url, body = own
    async with receiver(handshake=shaken, **SIGNED) as http:
        flood = [(await http.get(SHARED + strangers)).status_code for _ in range(3)]
        answer = await (post(http, url, body) if body else http.get(url))
    assert flood[1:] == [429, 429]
    assert answer.status_code == 200


async def test_a_handshake_beyond_the_limit_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its query may hold a secret of ours, such as a verify token."""
    monkeypatch.setattr("receiver.handshakes.HANDSHAKES_PER_SECOND", 0.01)
    noted = list[Delivery]()
    monkeypatch.setattr(Direct, "may_note", lambda *kind: True)
    monkeypatch.setattr(Direct, "note", lambda self, delivery: noted.append(delivery))
    async with receiver(handshake=Handshake("meta", "verify-me"), **SIGNED) as http:
        answers = [(await http.get(SHARED + META)).status_code for _ in range(2)]
        await post(http, SHARED, {}, None)
    assert answers == [200, 429]
    assert [delivery.verdict for delivery in noted] == ["unproven"]
