"""The table of the providers' handshakes.

Sources: the providers' webhook documentation; CloudEvents' http-webhook.md, section 4; W3C's WebSub, section 5.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from activities.handshakes.forms import (
    ENROLMENT_FIELD,
    SIGNABLE,
    Condition,
    HandshakeForm,
    Reads,
    Says,
    as_digest_header,
    as_header,
    as_json,
    as_key,
    as_secret,
    as_text,
    has_only,
    hash_with_url,
    header,
    hmac_base64,
    hmac_hex,
    item,
    member,
    nothing,
    query,
    says_at,
    with_digest,
)
from activities.handshakes.request import HandshakeRequest, Reply, When

DNS_NAME: Final = re.compile(r"[A-Za-z0-9.-]{1,253}")

POST: Final = ("POST",)
GET: Final = ("GET",)
VERIFY_TOKEN: Final = "the verify token that was entered in the dashboard"  # noqa: S105 - words, not a secret
ENROLMENT_WORD: Final = (
    f"the enrolment word: a random text that the webhook's URL ends with, as ?{ENROLMENT_FIELD}=WORD"
)
SUBSCRIBES: Final = says_at(query("hub.mode"), "subscribe")


def _discord(text: str, secret: str, asked: HandshakeRequest) -> Reply:
    """Answer a PING: type 1 for interactions, type 0 for webhook events."""
    return Reply(204) if asked.object()["type"] == 0 else Reply(body='{"type": 1}', media_type="application/json")


def _is_discord_ping(asked: HandshakeRequest) -> bool:
    """Whether it is a PING. In a webhook event, type 1 is an event."""
    body = asked.object()
    kind = body.get("type")
    return type(kind) is int and kind in {0, 1} and "event" not in body and "data" not in body


def _has_no_events(asked: HandshakeRequest) -> bool:
    return asked.object().get("events") == []


def _consent(text: str, secret: str, asked: HandshakeRequest) -> Reply:
    """Consent with headers: without these, the status alone proves nothing to the sender."""
    wanted = asked.header("webhook-request-rate")
    number = int(wanted) if re.fullmatch(r"[0-9]{1,9}", wanted) else asked.rate
    allowed = str(max(1, min(number, asked.rate)))
    return Reply(headers={"Allow": "POST", "WebHook-Allowed-Origin": text, "WebHook-Allowed-Rate": allowed})


class _CloudEvents(HandshakeForm):
    def answer(self, asked: HandshakeRequest, secret: str) -> Reply | None:
        """Return the reply, or None for another origin: a 4xx could be taken for a consent."""
        origin = asked.header("webhook-request-origin")
        if not DNS_NAME.fullmatch(origin) or origin.lower() != secret.lower():
            return None
        return super().answer(asked, secret)


def _proof(
    says: Says, reads: Reads, *, needs: str, signs: bool = False, methods: tuple[str, ...] = GET
) -> HandshakeForm:
    """A request whose reply proves the secret to anyone who asks."""
    return HandshakeForm(methods, "head", says, reads=reads, allowed=SIGNABLE, needs=needs, signs=signs, proves=True)


def _enrolment(when: When, says: Says, reads: Reads, *only_if: Condition) -> HandshakeForm:
    """A POST that brings the key of later signatures to a URL with the enrolment word."""
    return HandshakeForm(
        POST,
        when,
        says,
        only_if=only_if,
        reads=reads,
        secret_at=query(ENROLMENT_FIELD),
        needs=ENROLMENT_WORD,
        enrols=True,
    )


SLACK: Final = HandshakeForm(
    POST, "signed", as_text, only_if=(says_at(member("type"), "url_verification"),), reads=member("challenge")
)
QUERY_CHALLENGE: Final = HandshakeForm(GET, "head", as_text, reads=query("challenge"))
META: Final = HandshakeForm(
    GET,
    "head",
    as_text,
    only_if=(SUBSCRIBES,),
    reads=query("hub.challenge"),
    secret_at=query("hub.verify_token"),
    needs=VERIFY_TOKEN,
)
ONLY_CHALLENGE: Final = HandshakeForm(
    POST, "body", as_json("challenge"), only_if=(has_only("challenge"),), reads=member("challenge")
)
HOOK_SECRET: Final = _enrolment("head", as_key("X-Hook-Secret"), header("x-hook-secret"))
HEAD: Final = HandshakeForm(("HEAD",), "head", nothing())

HANDSHAKES: Final[Mapping[str, HandshakeForm]] = {
    "slack": SLACK,
    "graph": HandshakeForm(POST, "head", as_text, reads=query("validationToken")),
    "sharepoint": HandshakeForm(POST, "head", as_text, reads=query("validationtoken")),
    "dropbox": QUERY_CHALLENGE,
    "nylas": QUERY_CHALLENGE,
    "meta": META,
    "strava": replace(META, says=as_json("hub.challenge")),
    "websub": replace(
        META,
        secret_at=query("hub.topic"),
        unknown=Reply(404, "unknown topic"),
        needs="the topic's URL, as it was asked for",
        is_public=True,
    ),
    "zoom": HandshakeForm(
        POST,
        "signed",
        with_digest("encryptedToken", hmac_hex, text_at="plainToken"),
        only_if=(says_at(member("event"), "endpoint.url_validation"),),
        reads=member("payload", "plainToken"),
        allowed=SIGNABLE,
        needs="the webhook's secret token",
        signs=True,
    ),
    "x-crc": _proof(
        with_digest("response_token", hmac_base64), query("crc_token"), needs="the consumer secret", signs=True
    ),
    "linkedin": _proof(
        with_digest("challengeResponse", hmac_hex, text_at="challengeCode"),
        query("challengeCode"),
        needs="the client secret",
        signs=True,
    ),
    "ebay": _proof(
        with_digest("challengeResponse", hash_with_url),
        query("challenge_code"),
        needs="the verification token that was entered in the dashboard",
    ),
    "wrike": _proof(
        as_digest_header("X-Hook-Secret", hmac_hex),
        header("x-hook-secret"),
        needs="the secret that the webhook was made with",
        signs=True,
        methods=POST,
    ),
    "vk": HandshakeForm(
        POST,
        "body",
        as_secret,
        only_if=(says_at(member("type"), "confirmation"),),
        needs="the confirmation string from the settings of the group",
        is_public=True,
        proves=True,
        answers={"accepted": (200, "ok")},
    ),
    "oura": HandshakeForm(
        GET,
        "head",
        as_json("challenge"),
        reads=query("challenge"),
        secret_at=query("verification_token"),
        needs="the verification token that the subscription was made with",
    ),
    "fitbit": HandshakeForm(
        GET,
        "head",
        nothing(204),
        only_if=(lambda asked: asked.asks("verify"),),
        secret_at=query("verify"),
        unknown=Reply(404, "wrong verification code"),
        needs="the verification code from the dashboard",
    ),
    "okta": HandshakeForm(GET, "head", as_json("verification"), reads=header("x-okta-verification-challenge")),
    "smartsheet": HandshakeForm(
        POST,
        "head",
        as_json("smartsheetHookResponse", in_header="Smartsheet-Hook-Response"),
        reads=header("smartsheet-hook-challenge"),
    ),
    "adobe-sign": HandshakeForm(
        GET,
        "head",
        as_json("xAdobeSignClientId", in_header="X-AdobeSign-ClientId"),
        reads=header("x-adobesign-clientid"),
        secret_at=header("x-adobesign-clientid"),
        needs="the client id of the application at Adobe Sign",
        is_public=True,
        repeats="X-AdobeSign-ClientId",
    ),
    "ringcentral": HandshakeForm(POST, "head", as_header("Validation-Token"), reads=header("validation-token")),
    "google": HandshakeForm(POST, "head", nothing(), only_if=(says_at(header("x-goog-resource-state"), "sync"),)),
    "trello": HEAD,
    "mandrill": HEAD,
    "mailchimp": HandshakeForm(("GET", "HEAD"), "head", nothing()),
    "monday": ONLY_CHALLENGE,
    "miro": ONLY_CHALLENGE,
    "lark": HandshakeForm(
        POST,
        "body",
        as_json("challenge"),
        only_if=(says_at(member("type"), "url_verification"),),
        reads=member("challenge"),
        secret_at=member("token"),
        needs="the verification token from the dashboard",
    ),
    "event-grid": HandshakeForm(
        POST,
        "body",
        as_json("validationResponse"),
        only_if=(
            says_at(header("aeg-event-type"), "SubscriptionValidation"),
            says_at(item("eventType"), "Microsoft.EventGrid.SubscriptionValidationEvent"),
        ),
        reads=item("data", "validationCode"),
    ),
    "twitch": HandshakeForm(
        POST,
        "signed",
        as_text,
        only_if=(says_at(header("twitch-eventsub-message-type"), "webhook_callback_verification"),),
        reads=member("challenge"),
    ),
    "discord": HandshakeForm(POST, "signed", _discord, only_if=(_is_discord_ping,)),
    "xero": HandshakeForm(
        POST,
        "signed",
        nothing(),
        only_if=(_has_no_events,),
        answers={"accepted": (200, ""), "unproven": (401, "")},
    ),
    "line": HandshakeForm(POST, "signed", nothing(), only_if=(_has_no_events,), answers={"accepted": (200, "")}),
    "asana": HOOK_SECRET,
    "keap": HOOK_SECRET,
    "rentman": HOOK_SECRET,
    "x-hook-secret": HandshakeForm(
        POST, "head", as_header("X-Hook-Secret"), reads=header("x-hook-secret"), sets_unused_key=True
    ),
    "notion": _enrolment("body", as_key(), member("verification_token"), has_only("verification_token")),
    "cloudevents": _CloudEvents(
        ("OPTIONS",),
        "head",
        _consent,
        reads=header("webhook-request-origin"),
        allowed=DNS_NAME,
        needs="the sender's origin, a DNS name",
        is_public=True,
    ),
}
"""All handshakes by name."""
