"""Handshakes as providers send them, and what they await."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote

from activities.handshakes import HANDSHAKES, Handshake, HandshakeRequest, Reply

WORD = "an-enrolment-word"
SECRETS = {
    "meta": "verify-me",
    "strava": "verify-me",
    "websub": "https://feeds.example/topic",
    "zoom": "zoom-secret",
    "x-crc": "consumer-secret",
    "linkedin": "client-secret",
    "ebay": "verification-token",
    "fitbit": "a-code",
    "wrike": "hook-secret",
    "vk": "3f8e7a1b",
    "oura": "verify-me",
    "adobe-sign": "CBJCHBCAABAAo-client",
    "lark": "lark-token",
    "cloudevents": "eventgrid.example.net",
    **dict.fromkeys(("asana", "keap", "rentman", "notion"), WORD),
}
URL = "https://hooks.example/partners/ebay"
GRAPH_TOKEN = "Validation: Testing client application reachability for subscription Request-Id: 522a8e7e"


def shake(name: str, asked: HandshakeRequest) -> Reply | None:
    return Handshake(name, SECRETS.get(name, "")).answer(asked, HANDSHAKES[name].when)


def post(value: Any = None, query: str = "", **headers: str) -> HandshakeRequest:
    body = b"" if value is None else json.dumps(value).encode()
    return HandshakeRequest("POST", query, _headers(headers), body)


def get(query: str = "", method: str = "GET", **headers: str) -> HandshakeRequest:
    return HandshakeRequest(method, query, _headers(headers), url=URL)


def _headers(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in headers.items())


def options(rate: int = 60, **headers: str) -> HandshakeRequest:
    given = tuple((f"WebHook-Request-{name}".replace("_", "-"), value) for name, value in headers.items())
    return HandshakeRequest("OPTIONS", headers=given, rate=rate)


def mac(secret: str, text: str) -> bytes:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()


def event_grid(code: Any = "512d38b6", kind: str = "SubscriptionValidationEvent", events: int = 1) -> HandshakeRequest:
    event = {"eventType": f"Microsoft.EventGrid.{kind}", "data": {"validationCode": code}}
    return post([event] * events, aeg_event_type="SubscriptionValidation")


def twitch(challenge: Any, kind: str = "webhook_callback_verification") -> HandshakeRequest:
    return post({"challenge": challenge, "subscription": {}}, Twitch_Eventsub_Message_Type=kind)


def enrolling(name: str, value: str = "b537207f20cbfa02", word: str = WORD) -> HandshakeRequest:
    if name == "notion":
        return post({"verification_token": value}, f"enrol={word}")
    return post(None, f"enrol={word}", X_Hook_Secret=value)


X_TOKEN = base64.b64encode(mac("consumer-secret", "abc=")).decode()
META = "hub.mode=subscribe&hub.verify_token=verify-me&hub.challenge=115820"
WEBSUB = (
    f"hub.mode=subscribe&hub.topic={quote('https://feeds.example/topic', safe='')}&hub.challenge=c1&hub.lease_seconds=9"
)
EBAY = hashlib.sha256(f"a8628072verification-token{URL}".encode()).hexdigest()
LINKEDIN = {"challengeCode": "890e4665-4dfe", "challengeResponse": mac("client-secret", "890e4665-4dfe").hex()}
ZOOM = {
    "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
    "encryptedToken": mac("zoom-secret", "qgg8vlvZRS6UYooatFL8Aw").hex(),
}
ITR = {"events": [], "lastEventSequence": 0, "firstEventSequence": 0, "entropy": "S0m3r4Nd0mt3xt"}
TEXT, JSON = "text/plain", "application/json"
GOOD: dict[str, tuple[HandshakeRequest, int, str, Any]] = {
    "slack": (post({"type": "url_verification", "token": "t", "challenge": "3eZbrw1a"}), 200, TEXT, "3eZbrw1a"),
    "graph": (post(None, f"validationToken={quote(GRAPH_TOKEN)}"), 200, TEXT, GRAPH_TOKEN),
    "sharepoint": (post(None, "validationtoken=0a7f"), 200, TEXT, "0a7f"),
    "meta": (get(META), 200, TEXT, "115820"),
    "strava": (get(META), 200, JSON, {"hub.challenge": "115820"}),
    "websub": (get(WEBSUB), 200, TEXT, "c1"),
    "dropbox": (get("challenge=abc123"), 200, TEXT, "abc123"),
    "nylas": (get("challenge=abc123"), 200, TEXT, "abc123"),
    "zoom": (
        post({"event": "endpoint.url_validation", "payload": {"plainToken": ZOOM["plainToken"]}}),
        200,
        JSON,
        ZOOM,
    ),
    "x-crc": (get("crc_token=abc%3D"), 200, JSON, {"response_token": f"sha256={X_TOKEN}"}),
    "linkedin": (get("challengeCode=890e4665-4dfe&applicationId=1"), 200, JSON, LINKEDIN),
    "ebay": (get("challenge_code=a8628072"), 200, JSON, {"challengeResponse": EBAY}),
    "fitbit": (get("verify=a-code"), 204, TEXT, ""),
    "wrike": (post({"requestType": "WebHook secret verification"}, X_Hook_Secret="b537207f"), 200, TEXT, ""),
    "vk": (post({"type": "confirmation", "group_id": 1}), 200, TEXT, "3f8e7a1b"),
    "oura": (get("verification_token=verify-me&challenge=abc123"), 200, JSON, {"challenge": "abc123"}),
    "okta": (get(X_Okta_Verification_Challenge="nonce-1"), 200, JSON, {"verification": "nonce-1"}),
    "smartsheet": (
        post({"challenge": "dd07", "webhookId": 1}, Smartsheet_Hook_Challenge="dd07"),
        200,
        JSON,
        {"smartsheetHookResponse": "dd07"},
    ),
    "adobe-sign": (
        get(X_AdobeSign_ClientId="CBJCHBCAABAAo-client"),
        200,
        JSON,
        {"xAdobeSignClientId": "CBJCHBCAABAAo-client"},
    ),
    "ringcentral": (post(None, Validation_Token="0a7f"), 200, TEXT, ""),
    "google": (post(None, X_Goog_Resource_State="sync", X_Goog_Channel_ID="c"), 200, TEXT, ""),
    "trello": (get(method="HEAD"), 200, TEXT, ""),
    "mandrill": (get(method="HEAD"), 200, TEXT, ""),
    "mailchimp": (get(), 200, TEXT, ""),
    "monday": (post({"challenge": "3eZbrw1a"}), 200, JSON, {"challenge": "3eZbrw1a"}),
    "miro": (post({"challenge": "3eZbrw1a"}), 200, JSON, {"challenge": "3eZbrw1a"}),
    "lark": (
        post({"challenge": "ajls", "token": "lark-token", "type": "url_verification"}),
        200,
        JSON,
        {"challenge": "ajls"},
    ),
    "event-grid": (event_grid(), 200, JSON, {"validationResponse": "512d38b6"}),
    "twitch": (twitch("pogchamp-kappa-360noscope"), 200, TEXT, "pogchamp-kappa-360noscope"),
    "discord": (post({"type": 1, "id": "1", "application_id": "2"}), 200, JSON, {"type": 1}),
    "xero": (post(ITR), 200, TEXT, ""),
    "line": (post({"destination": "U1", "events": []}), 200, TEXT, ""),
    "asana": (enrolling("asana"), 200, TEXT, ""),
    "keap": (enrolling("keap"), 200, TEXT, ""),
    "rentman": (enrolling("rentman"), 200, TEXT, ""),
    "x-hook-secret": (post(None, X_Hook_Secret="b537"), 200, TEXT, ""),
    "notion": (enrolling("notion"), 200, TEXT, ""),
    "cloudevents": (options(Origin="eventgrid.example.net"), 200, TEXT, ""),
}
IN_HEADERS = {
    "smartsheet": {"Smartsheet-Hook-Response": "dd07"},
    "adobe-sign": {"X-AdobeSign-ClientId": "CBJCHBCAABAAo-client"},
    "ringcentral": {"Validation-Token": "0a7f"},
    "x-hook-secret": {"X-Hook-Secret": "b537"},
    "wrike": {"X-Hook-Secret": mac("hook-secret", "b537207f").hex()},
    **{name: {"X-Hook-Secret": "b537207f20cbfa02"} for name in ("asana", "keap", "rentman")},
}
ALIKE = [
    {"dropbox", "nylas"},
    {"meta", "strava"},
    {"meta", "websub"},
    {"strava", "websub"},
    {"monday", "miro"},
    {"trello", "mandrill", "mailchimp"},
    {"asana", "keap", "rentman", "x-hook-secret"},
    *({"wrike", other} for other in ("asana", "keap", "rentman", "x-hook-secret")),
    {"dropbox", "oura"},
    {"nylas", "oura"},
    {"xero", "line"},
    {"slack", "lark"},
]
"""Handshakes with the same request: the partner's file says which it is."""
