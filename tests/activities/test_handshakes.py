"""Handshakes: each provider's own form, and nothing but it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote

import pytest

from activities.handshakes import HANDSHAKES, Handshake, HandshakeRequest, Reply
from activities.signatures import ConfigError

SECRETS = {
    "meta": "verify-me",
    "zoom": "zoom-secret",
    "x-crc": "consumer-secret",
    "cloudevents": "eventgrid.example.net",
}
GRAPH_TOKEN = "Validation: Testing client application reachability for subscription Request-Id: 522a8e7e"


def shake(name: str, asked: HandshakeRequest) -> Reply | None:
    return Handshake(name, SECRETS.get(name, "")).answer(asked, proven=HANDSHAKES[name].proven)


def post(value: Any) -> HandshakeRequest:
    return HandshakeRequest("POST", body=json.dumps(value).encode())


def get(query: str) -> HandshakeRequest:
    return HandshakeRequest("GET", query)


def options(rate: int = 60, **headers: str) -> HandshakeRequest:
    given = tuple((f"WebHook-Request-{name}".replace("_", "-"), value) for name, value in headers.items())
    return HandshakeRequest("OPTIONS", headers=given, rate=rate)


def mac(secret: str, text: str) -> bytes:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()


X_TOKEN = base64.b64encode(mac("consumer-secret", "abc=")).decode()
META = "hub.mode=subscribe&hub.verify_token=verify-me&hub.challenge=115820"
GOOD: dict[str, tuple[HandshakeRequest, int, str, str]] = {
    "slack": (post({"type": "url_verification", "token": "t", "challenge": "3eZbrw1a"}), 200, "text/plain", "3eZbrw1a"),
    "graph": (HandshakeRequest("POST", f"validationToken={quote(GRAPH_TOKEN)}"), 200, "text/plain", GRAPH_TOKEN),
    "meta": (get(META), 200, "text/plain", "115820"),
    "dropbox": (get("challenge=abc123"), 200, "text/plain", "abc123"),
    "zoom": (
        post({"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}),
        200,
        "application/json",
        json.dumps(
            {
                "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
                "encryptedToken": mac("zoom-secret", "qgg8vlvZRS6UYooatFL8Aw").hex(),
            }
        ),
    ),
    "x-crc": (get("crc_token=abc%3D"), 200, "application/json", json.dumps({"response_token": f"sha256={X_TOKEN}"})),
    "discord": (post({"type": 1, "id": "1", "application_id": "2"}), 200, "application/json", '{"type": 1}'),
    "cloudevents": (options(Origin="eventgrid.example.net"), 200, "text/plain", ""),
}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_handshake_is_answered_in_its_providers_form(name: str) -> None:
    asked, status, media_type, body = GOOD[name]
    reply = shake(name, asked)
    assert reply is not None
    assert (reply.status, reply.media_type, reply.body) == (status, media_type, body)


@pytest.mark.parametrize("name", HANDSHAKES)
def test_one_providers_handshake_is_nothing_to_another(name: str) -> None:
    for other, (asked, *_) in GOOD.items():
        if other != name:
            assert shake(name, asked) is None


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_handshake_is_answered_before_or_after_the_signature(name: str) -> None:
    """After it where the provider signs; else before the body is read."""
    handshake = Handshake(name, SECRETS.get(name, ""))
    assert handshake.answer(GOOD[name][0], proven=not handshake.proven) is None


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
    ],
)
def test_a_handshake_that_asks_too_much_is_refused_at_once(name: str, asked: HandshakeRequest) -> None:
    """What is signed can be no request that the provider would sign: no brace, no colon, no `=` but at its end."""
    reply = shake(name, asked)
    assert reply is not None
    assert (reply.status, reply.media_type) == (422, "text/plain")


@pytest.mark.parametrize("token", ["", "verify-m", "verify-me2", "caf%C3%A9"])
def test_another_verify_token_is_403_and_gets_no_echo(token: str) -> None:
    reply = shake("meta", get(f"hub.mode=subscribe&hub.verify_token={token}&hub.challenge=115820"))
    assert reply is not None
    assert reply.status == 403
    assert "115820" not in reply.body


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
    ("name", "secret"), [("slakc", ""), ("zoom", ""), ("zoom", " \u200b"), ("zoom", "\udcff"), ("slack", "unneeded")]
)
def test_a_handshake_that_cannot_work_is_not_made(name: str, secret: str) -> None:
    with pytest.raises(ConfigError, match="handshake"):
        Handshake(name, secret)


def test_a_secret_is_not_shown_by_repr() -> None:
    assert "zoom-secret" not in repr(Handshake("zoom", "zoom-secret"))
