"""Handshakes: requests by which providers verify a webhook URL before they send to it, and again from time to time.

Each handshake is a row of the table `HANDSHAKES`; a partner's file names the handshake that its partner performs. A
handshake proves that the URL is served, or that its owner knows a secret. It says nothing about work, so it settles
nothing.

Two kinds of text go back to the provider:

- A repeated text is short, printable and without markup.
- A signed text must not be a request that the provider itself would sign with the same secret. So it may not have the
  characters that each such request has: `{` and `:` of JSON, and `=` within a form. For example, `{"event":"paid"}` and
  `status=paid` are refused; `qgg8vlvZRS6UYooatFL8Aw` is signed.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from activities import strict_json
from activities.environment import is_text
from activities.signatures import ConfigError
from activities.signatures.scheme import is_blank

ECHOED: Final = re.compile(r"[ !#-;=?-~]{1,1024}")
"""Matches printable ASCII without quotation marks and angle brackets."""

SIGNABLE: Final = re.compile(r"[A-Za-z0-9_+/.-]{1,254}={0,2}")
DNS_NAME: Final = re.compile(r"[A-Za-z0-9.-]{1,253}")
MOST_QUERY_FIELDS: Final = 50


@dataclass(frozen=True)
class HandshakeRequest:
    """A request that may be a handshake.

    query: the undecoded query of the URL.
    body: b"" until the body is read.
    rate: the number of callbacks per minute that the URL accepts.
    """

    method: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    rate: int = 0

    def asks(self, name: str) -> bool:
        """Return whether the query has the field, with any value."""
        return bool(self._values(name))

    def field(self, name: str) -> str:
        """Return the query's field if it occurs exactly once, else ""."""
        return _only(self._values(name))

    def _values(self, name: str) -> list[str]:
        try:
            fields = parse_qsl(self.query, keep_blank_values=True, max_num_fields=MOST_QUERY_FIELDS, errors="strict")
        except ValueError:
            return []
        return [value for key, value in fields if key == name]

    def header(self, name: str) -> str:
        """Return the header if it occurs exactly once, else ""."""
        return _only([value for key, value in self.headers if key.lower() == name])

    def json(self) -> dict[str, Any]:
        """Return the body's JSON object; {} for any other body."""
        try:
            value = strict_json.loads(self.body)
        except strict_json.NotStrictJSON:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Reply:
    """The answer to a handshake."""

    status: int = 200
    body: str = ""
    media_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ProviderHandshake:
    """A provider's handshake.

    method: the HTTP method of the request.
    proven: the provider signs the handshake like a callback; it is answered only after the body signature is verified.
    answer: returns the reply, `UNSAFE_TEXT` if the handshake asks for such a text, or None if it is not this handshake.
    needs: what the secret is, or "" if there is no secret.
    signs: the secret also signs callbacks, so its variable may list several secrets, separated by commas. Any other
        secret may contain a comma.
    is_public: the secret is public knowledge, and may be short.
    """

    method: str
    proven: bool
    answer: Callable[[HandshakeRequest, str], Reply | None]
    needs: str = ""
    signs: bool = False
    is_public: bool = False


@dataclass(frozen=True)
class Handshake:
    """The handshake that a partner performs. Raises `ConfigError`.

    name: a key of `HANDSHAKES`.
    secret: the secret described by the row's `needs`.
    """

    name: str
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.name not in HANDSHAKES:
            raise ConfigError(f"unknown handshake {self.name}: use one of {', '.join(HANDSHAKES)}")
        if bool(HANDSHAKES[self.name].needs) == is_blank(self.secret) or not is_text(self.secret):
            raise ConfigError(f"handshake {self.name} needs {HANDSHAKES[self.name].needs or 'no secret'}")

    @property
    def proven(self) -> bool:
        """Whether the provider signs the handshake like a callback."""
        return HANDSHAKES[self.name].proven

    def answer(self, asked: HandshakeRequest, *, proven: bool) -> Reply | None:
        """Return the reply, or None if this is not the handshake.

        proven: the body and the body signature have been verified.
        """
        row = HANDSHAKES[self.name]
        if (asked.method, proven) != (row.method, row.proven):
            return None
        return row.answer(asked, self.secret)


UNSAFE_TEXT: Final = Reply(422, "what this handshake asks for is not repeated")
"""Reply to a handshake that asks for an unsafe text. If it were treated as a callback, it could settle a stage."""


def _only(values: list[str]) -> str:
    return values[0] if len(values) == 1 else ""


def _echo(text: object) -> Reply:
    return Reply(body=text) if isinstance(text, str) and ECHOED.fullmatch(text) else UNSAFE_TEXT


def _hmac_sha256(secret: str, text: str) -> bytes:
    return hmac.digest(secret.encode(), text.encode(), "sha256")


def _json(value: Mapping[str, Any]) -> Reply:
    return Reply(body=json.dumps(value), media_type="application/json")


def _slack(asked: HandshakeRequest, secret: str) -> Reply | None:
    body = asked.json()
    return _echo(body.get("challenge")) if body.get("type") == "url_verification" else None


def _graph(asked: HandshakeRequest, secret: str) -> Reply | None:
    return _echo(asked.field("validationToken")) if asked.asks("validationToken") else None


def _meta(asked: HandshakeRequest, secret: str) -> Reply | None:
    if asked.field("hub.mode") != "subscribe":
        return None
    given = asked.field("hub.verify_token").encode()
    if not hmac.compare_digest(given, secret.encode()):
        return Reply(403, "the verify token is another one")
    return _echo(asked.field("hub.challenge"))


def _dropbox(asked: HandshakeRequest, secret: str) -> Reply | None:
    return _echo(asked.field("challenge")) if asked.asks("challenge") else None


def _zoom(asked: HandshakeRequest, secret: str) -> Reply | None:
    body = asked.json()
    if body.get("event") != "endpoint.url_validation":
        return None
    payload = body.get("payload")
    token = payload.get("plainToken") if isinstance(payload, dict) else None
    if not isinstance(token, str) or not SIGNABLE.fullmatch(token):
        return UNSAFE_TEXT
    return _json({"plainToken": token, "encryptedToken": _hmac_sha256(secret, token).hex()})


def _x(asked: HandshakeRequest, secret: str) -> Reply | None:
    if not asked.asks("crc_token"):
        return None
    token = asked.field("crc_token")
    if not SIGNABLE.fullmatch(token):
        return UNSAFE_TEXT
    return _json({"response_token": "sha256=" + base64.b64encode(_hmac_sha256(secret, token)).decode()})


def _discord(asked: HandshakeRequest, secret: str) -> Reply | None:
    """Answer a PING: type 1 for interactions, type 0 for webhook events. In a webhook event, type 1 is an event."""
    body = asked.json()
    kind = body.get("type")
    if type(kind) is not int or kind not in {0, 1} or "event" in body or "data" in body:
        return None
    return Reply(204) if kind == 0 else _json({"type": 1})


def _cloudevents(asked: HandshakeRequest, secret: str) -> Reply | None:
    """Consent with headers: without these, the status alone proves nothing to the sender."""
    origin = asked.header("webhook-request-origin")
    if not DNS_NAME.fullmatch(origin) or origin.lower() != secret.lower():
        return None
    wanted = asked.header("webhook-request-rate")
    number = int(wanted) if re.fullmatch(r"[0-9]{1,9}", wanted) else asked.rate
    allowed = str(max(1, min(number, asked.rate)))
    return Reply(headers={"Allow": "POST", "WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": allowed})


HANDSHAKES: Final[Mapping[str, ProviderHandshake]] = {
    "slack": ProviderHandshake("POST", proven=True, answer=_slack),
    "graph": ProviderHandshake("POST", proven=False, answer=_graph),
    "meta": ProviderHandshake(
        "GET", proven=False, answer=_meta, needs="the verify token that was entered in the dashboard"
    ),
    "dropbox": ProviderHandshake("GET", proven=False, answer=_dropbox),
    "zoom": ProviderHandshake("POST", proven=True, answer=_zoom, needs="the webhook's secret token", signs=True),
    "x-crc": ProviderHandshake("GET", proven=False, answer=_x, needs="the consumer secret", signs=True),
    "discord": ProviderHandshake("POST", proven=True, answer=_discord),
    "cloudevents": ProviderHandshake(
        "OPTIONS", proven=False, answer=_cloudevents, needs="the sender's origin, a DNS name", is_public=True
    ),
}
"""All handshakes by name. Sources: the providers' webhook documentation; CloudEvents' http-webhook.md, section 4."""
