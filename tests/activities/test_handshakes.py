"""Handshakes are answered in their provider's form, and nothing else is."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.handshakes import HANDSHAKES, Handshake, HandshakeRequest, Reply, When
from activities.signatures import ConfigError
from tests.parts.handshake_requests import (
    ALIKE,
    GOOD,
    IN_HEADERS,
    ITR,
    JSON,
    SECRETS,
    URL,
    WEBSUB,
    WORD,
    enrolling,
    event_grid,
    get,
    options,
    post,
    shake,
    twitch,
)


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_handshake_is_answered_in_its_providers_form(name: str) -> None:
    asked, status, media_type, body = GOOD[name]
    reply = shake(name, asked)
    assert reply is not None
    said = json.loads(reply.body) if media_type == JSON else reply.body
    assert (reply.status, reply.media_type, said) == (status, media_type, body)
    if name in IN_HEADERS:
        assert reply.headers == IN_HEADERS[name]


@pytest.mark.parametrize("name", HANDSHAKES)
def test_one_providers_handshake_is_nothing_to_another(name: str) -> None:
    for other, (asked, *_) in GOOD.items():
        if other != name and not any({name, other} <= alike for alike in ALIKE):
            reply = shake(name, asked)
            assert (other, reply) == (other, None) or (name == "mailchimp" and asked.method == "GET")


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_handshake_is_answered_before_or_after_the_signature(name: str) -> None:
    """After it where the provider signs; else before the body is read."""
    handshake = Handshake(name, SECRETS.get(name, ""))
    moments: tuple[When, ...] = ("head", "body", "signed")
    answered = [when for when in moments if handshake.answer(GOOD[name][0], when)]
    assert answered == [HANDSHAKES[name].when]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("slack", post({"type": "event_callback", "challenge": "x"})),
        ("slack", post(["url_verification"])),
        ("slack", HandshakeRequest("POST", body=b"{")),
        ("graph", HandshakeRequest("POST", "validationtoken=a")),
        ("graph", HandshakeRequest("POST", "&".join(f"f{n}=1" for n in range(60)) + "&validationToken=a")),
        ("meta", get("hub.mode=unsubscribe&hub.verify_token=verify-me&hub.challenge=1")),
        ("meta", get("hub.verify_token=verify-me&hub.challenge=1")),
        ("dropbox", get("challenges=1")),
        ("zoom", post({"event": "meeting.started", "payload": {"plainToken": "x"}})),
        ("x-crc", get("crc=1")),
        ("discord", post({"type": 1, "event": {"type": "APPLICATION_AUTHORIZED"}})),
        ("discord", post({"type": True})),
        ("discord", post({"type": 2, "data": {}})),
        ("cloudevents", options(Origin="evil.example.net")),
        ("cloudevents", options()),
        ("strava", get("hub.challenge=1")),
        ("websub", get(WEBSUB.replace("subscribe", "unsubscribe", 1))),
        ("linkedin", get("challengecode=1")),
        ("ebay", get("challengeCode=1")),
        ("fitbit", get("code=1")),
        ("okta", get("x-okta-verification-challenge=1")),
        ("okta", post(None, X_Okta_Verification_Challenge="nonce-1")),
        ("smartsheet", post({"challenge": "dd07", "webhookId": 1})),
        ("adobe-sign", get()),
        ("ringcentral", post({"event": "x"})),
        ("google", post(None, X_Goog_Resource_State="exists")),
        ("trello", get()),
        ("trello", post({"action": {}})),
        ("monday", post({"challenge": "x", "event": {}})),
        ("monday", post(["challenge"])),
        ("lark", post({"challenge": "x", "token": "lark-token", "type": "event_callback"})),
        ("event-grid", event_grid(kind="SubscriptionDeletedEvent")),
        ("event-grid", event_grid(events=2)),
        ("event-grid", HandshakeRequest("POST", body=event_grid().body)),
        ("twitch", twitch("x", "notification")),
        ("twitch", twitch("x", "revocation")),
        ("xero", post({**ITR, "events": [{}]})),
        ("xero", post({"entropy": "x"})),
        ("asana", post({"events": []}, f"enrol={WORD}")),
        ("wrike", post([{"webhookId": "w"}])),
        ("wrike", get("x-hook-secret=a")),
        ("vk", post({"type": "message_new", "object": {}})),
        ("vk", post({"type": ["confirmation"]})),
        ("vk", post(["confirmation"])),
        ("vk", get("type=confirmation")),
        ("oura", get("verification_token=verify-me&challenge=1", "HEAD")),
        ("oura", get("verification_token=verify-me")),
        ("oura", post(None, "verification_token=verify-me&challenge=1")),
        ("notion", post({"type": "page.created", "verification_token": "secret_x"}, f"enrol={WORD}")),
    ],
)
def test_what_is_no_handshake_is_not_answered(name: str, asked: HandshakeRequest) -> None:
    assert shake(name, asked) is None


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        *(
            ("slack", post({"type": "url_verification", "challenge": challenge}))
            for challenge in (5, None, "", "<script>", "x" * 1025, "line\nbreak", "caf\u00e9")
        ),
        ("slack", post({"type": "url_verification"})),
        ("graph", HandshakeRequest("POST", "validationToken=%3Cb%3E")),
        ("graph", HandshakeRequest("POST", "validationToken=a&validationToken=b")),
        ("dropbox", get("challenge=")),
        ("meta", get("hub.mode=subscribe&hub.verify_token=verify-me&hub.challenge=%3Cb%3E")),
        ("zoom", post({"event": "endpoint.url_validation", "payload": []})),
        ("zoom", post({"event": "endpoint.url_validation", "payload": {"plainToken": "v0:1:{}"}})),
        ("zoom", post({"event": "endpoint.url_validation", "payload": {"plainToken": 1}})),
        ("x-crc", get("crc_token=%7B%7D")),
        ("x-crc", get("crc_token=status%3Ddone")),
        ("x-crc", get("crc_token=" + "a" * 257)),
        ("linkedin", get("challengeCode=%7B%7D")),
        ("linkedin", get("challengeCode=a&challengeCode=b")),
        ("ebay", get("challenge_code=")),
        ("ebay", get("challenge_code=a%3Ab")),
        ("strava", get("hub.mode=subscribe&hub.verify_token=verify-me")),
        ("okta", get(X_Okta_Verification_Challenge="<script>")),
        ("okta", get(X_Okta_Verification_Challenge="")),
        ("smartsheet", post(None, Smartsheet_Hook_Challenge="x" * 1025)),
        ("smartsheet", HandshakeRequest("POST", headers=(("Smartsheet-Hook-Challenge", "a"),) * 2)),
        ("ringcentral", post(None, Validation_Token="caf\u00e9")),
        ("wrike", post(None, X_Hook_Secret='{"a":1}')),
        ("wrike", post(None, X_Hook_Secret="")),
        ("wrike", post(None, X_Hook_Secret="a" * 257)),
        ("wrike", HandshakeRequest("POST", headers=(("X-Hook-Secret", "a"),) * 2)),
        ("oura", get("verification_token=verify-me&challenge=%3Cb%3E")),
        ("oura", get("verification_token=verify-me&challenge=a&challenge=b")),
        ("monday", post({"challenge": "<b>"})),
        ("monday", post({"challenge": {"a": 1}})),
        ("event-grid", event_grid(code=7)),
        ("event-grid", event_grid(code='"}')),
        ("twitch", twitch("a\nb")),
        ("twitch", twitch(None)),
        ("asana", enrolling("asana", "")),
        ("asana", enrolling("asana", "\x7f")),
        ("notion", enrolling("notion", "<b>")),
    ],
)
def test_a_handshake_that_asks_too_much_is_refused_at_once(name: str, asked: HandshakeRequest) -> None:
    """What is signed can be no request that the provider would sign: no brace, no colon, no `=` but at its end."""
    reply = shake(name, asked)
    assert reply is not None
    assert (reply.status, reply.media_type) == (422, "text/plain")


@pytest.mark.parametrize(
    ("name", "asked", "status"),
    [
        *(
            (name, get(f"hub.mode=subscribe&hub.verify_token={token}&hub.challenge=115820"), 403)
            for name in ("meta", "strava")
            for token in ("", "verify-m", "verify-me2", "caf%C3%A9", "verify-me&hub.verify_token=verify-me")
        ),
        ("websub", get(WEBSUB.replace("topic", "other", 1).replace("other=", "topic=x")), 404),
        ("fitbit", get("verify=another"), 404),
        *(
            ("oura", get(f"challenge=115820&verification_token={token}"), 403)
            for token in ("", "verify-m", "verify-me2", "verify-me&verification_token=verify-me")
        ),
        ("adobe-sign", get(X_AdobeSign_ClientId="another"), 403),
        ("lark", post({"challenge": "115820", "token": "another", "type": "url_verification"}), 403),
        *(
            (name, enrolling(name, "115820", word), 403)
            for name in ("asana", "notion")
            for word in ("", "x", WORD + "x")
        ),
        ("asana", post(None, X_Hook_Secret="115820"), 403),
        ("notion", post({"verification_token": "115820"}), 403),
    ],
)
def test_another_secret_gets_no_echo(name: str, asked: HandshakeRequest, status: int) -> None:
    """So a stranger can neither verify our URL for another webhook, nor have a key of its own taken."""
    reply = shake(name, asked)
    assert reply is not None
    assert (reply.status, reply.secret, reply.headers) == (status, "", {})
    assert "115820" not in reply.body


@pytest.mark.parametrize("name", ["asana", "keap", "rentman", "notion"])
def test_the_key_that_a_partner_chooses_is_for_the_operator(name: str) -> None:
    reply = shake(name, enrolling(name))
    assert reply is not None
    assert reply.secret == "b537207f20cbfa02"
    assert reply.secret not in repr(reply)


@pytest.mark.parametrize(
    "parts",
    [
        {"status": 302},
        {"status": 500},
        {"media_type": "text/html"},
        {"media_type": "image/svg+xml"},
        {"body": "x" * 4097},
        {"headers": {"Set-Cookie": "a=b"}},
        {"headers": {"location": "https://evil.example"}},
        {"headers": {"Content-Type": "text/html"}},
        {"headers": {"X-Echo": "a\r\nSet-Cookie: b=c"}},
        {"headers": {"X Echo": "a"}},
    ],
)
def test_a_reply_that_must_not_be_sent_is_not_made(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="reply to a handshake"):
        Reply(**parts)


def test_discords_webhook_events_ping_is_204() -> None:
    reply = shake("discord", post({"version": 1, "application_id": "1", "type": 0}))
    assert reply is not None
    assert (reply.status, reply.body) == (204, "")


@pytest.mark.parametrize(
    ("asked", "allowed"), [("120", "60"), ("10", "10"), ("*", "60"), ("0", "1"), ("x", "60"), ("", "60")]
)
def test_a_rate_that_is_asked_for_is_allowed_up_to_ours(asked: str, allowed: str) -> None:
    reply = shake("cloudevents", options(Origin="eventgrid.example.net", Rate=asked))
    assert reply is not None
    assert reply.headers == {
        "Allow": "POST",
        "WebHook-Allowed-Origin": "eventgrid.example.net",
        "WebHook-Allowed-Rate": allowed,
    }


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *(("slakc", ""), ("zoom", ""), ("zoom", " \u200b"), ("zoom", "\udcff"), ("slack", "unneeded")),
        *(("adobe-sign", "caf\u03a9"), ("adobe-sign", "a\r\nX-Evil: 1")),
    ],
)
def test_a_handshake_that_cannot_work_is_not_made(name: str, secret: str) -> None:
    with pytest.raises(ConfigError, match="handshake"):
        Handshake(name, secret)


def test_a_secret_is_not_shown_by_repr() -> None:
    assert "zoom-secret" not in repr(Handshake("zoom", "zoom-secret"))


FIELDS = ("validationToken", "validationtoken", "challenge", "hub.challenge", "crc_token", "challengeCode", "verify")
HEADERS = (
    *("X-Okta-Verification-Challenge", "Smartsheet-Hook-Challenge", "X-AdobeSign-ClientId", "Validation-Token"),
    *("X-Hook-Secret", "WebHook-Request-Origin"),
)


@given(asked=st.text(max_size=40) | st.text("<>\"'&\r\n{}=:", max_size=8) | st.sampled_from(["x" * 1025, "a" * 9000]))
@settings(max_examples=25, deadline=None)
def test_no_text_is_repeated_as_markup_or_as_headers(asked: str) -> None:
    """Whatever is asked for, of whichever provider: and what is signed is no request that it would sign."""
    quoted = quote(asked, errors="replace")
    query = f"enrol={WORD}&hub.mode=subscribe&hub.verify_token=verify-me&" + WEBSUB.split("&")[1]
    query += "".join(f"&{field}={quoted}" for field in FIELDS)
    headers = tuple((name, asked) for name in HEADERS)
    bodies = [
        {"challenge": asked},
        {"challenge": asked, "type": "url_verification", "token": "lark-token"},
        {"event": "endpoint.url_validation", "payload": {"plainToken": asked}},
        {"verification_token": asked},
    ]
    for name, form in HANDSHAKES.items():
        for method in form.methods:
            for body in bodies:
                reply = shake(name, HandshakeRequest(method, query, headers, json.dumps(body).encode(), 60, URL))
                if reply is not None:
                    assert not set(reply.body) & set("<>\r\n")
                    assert all(value.isascii() and value.isprintable() for value in reply.headers.values())
                    assert len(reply.body) <= 2100
                    assert not (form.proves and reply.is_consent and set(asked) & set("{}:<>&"))
