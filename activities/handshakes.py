"""Handshakes: what providers ask of a webhook URL before they send to it, and again from time to time.

Each is a row of one table, by name; a partner's file says which one its partner performs. A handshake proves that
somebody answers at the URL, or that it knows a secret. It says nothing about any work, so it settles nothing.

What is repeated is short, printable and without markup. What is signed could be a request of the provider's own, where
it signs those with the same secret: so it may have no character that every such request has: `{` or `:` where that is
JSON, and `=` within where it is a form.
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
"""Printable ASCII without quotation marks and angle brackets."""

SIGNED: Final = re.compile(r"[A-Za-z0-9_+/.-]{1,254}={0,2}")
DNS_NAME: Final = re.compile(r"[A-Za-z0-9.-]{1,253}")
MOST_FIELDS: Final = 50


@dataclass(frozen=True)
class HandshakeRequest:
    """A request that may be a handshake.

    query: as it stands in the URL. body: b"" before it is read. rate: callbacks per minute that the URL may bring.
    """

    method: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    rate: int = 0

    def asks(self, name: str) -> bool:
        """Whether the query has the field, with whatever value."""
        return bool(self._values(name))

    def field(self, name: str) -> str:
        """The query's field, if it is there once; otherwise ""."""
        return _only(self._values(name))

    def _values(self, name: str) -> list[str]:
        try:
            fields = parse_qsl(self.query, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
        except ValueError:
            return []
        return [value for key, value in fields if key == name]

    def header(self, name: str) -> str:
        """The header, if it is there once; otherwise ""."""
        return _only([value for key, value in self.headers if key.lower() == name])

    def json(self) -> dict[str, Any]:
        """The body's JSON object; {} for any other body."""
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
class Row:
    """How one provider shakes hands.

    method: the request's. proven: the provider signs it like a callback, so it is answered only after that was checked.
    answer: the reply, REFUSED to one that asks too much; None for a request that is no such handshake. needs: what the
    secret is, or "" for none. signs: it is the one that signs callbacks too, whose variable may list several; any other
    may have a comma of its own. is_public: what it needs is known to everybody, and may be short.
    """

    method: str
    proven: bool
    answer: Callable[[HandshakeRequest, str], Reply | None]
    needs: str = ""
    signs: bool = False
    is_public: bool = False


@dataclass(frozen=True)
class Handshake:
    """The handshake that one partner performs. Raises `ConfigError`.

    name: one of `HANDSHAKES`. secret: what its row needs.
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
        """Whether the provider signs it like a callback."""
        return HANDSHAKES[self.name].proven

    def answer(self, asked: HandshakeRequest, *, proven: bool) -> Reply | None:
        """The reply, if this is the handshake; `proven` says whether body and body signature have been checked."""
        row = HANDSHAKES[self.name]
        if (asked.method, proven) != (row.method, row.proven):
            return None
        return row.answer(asked, self.secret)


REFUSED: Final = Reply(422, "what this handshake asks for is not repeated")
"""It is a handshake all the same: handed on as a callback, it could be read as one that settles a stage."""


def _only(values: list[str]) -> str:
    return values[0] if len(values) == 1 else ""


def _echo(text: object) -> Reply:
    return Reply(body=text) if isinstance(text, str) and ECHOED.fullmatch(text) else REFUSED


def _mac(secret: str, text: str) -> bytes:
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
    if not isinstance(token, str) or not SIGNED.fullmatch(token):
        return REFUSED
    return _json({"plainToken": token, "encryptedToken": _mac(secret, token).hex()})


def _x(asked: HandshakeRequest, secret: str) -> Reply | None:
    if not asked.asks("crc_token"):
        return None
    token = asked.field("crc_token")
    if not SIGNED.fullmatch(token):
        return REFUSED
    return _json({"response_token": "sha256=" + base64.b64encode(_mac(secret, token)).decode()})


def _discord(asked: HandshakeRequest, secret: str) -> Reply | None:
    """Interactions begin with a PING of type 1; webhook events with one of type 0, and there 1 is an event."""
    body = asked.json()
    kind = body.get("type")
    if type(kind) is not int or kind not in {0, 1} or "event" in body or "data" in body:
        return None
    return Reply(204) if kind == 0 else _json({"type": 1})


def _cloudevents(asked: HandshakeRequest, secret: str) -> Reply | None:
    """Consent is in the headers alone: without them the status proves nothing to the sender."""
    origin = asked.header("webhook-request-origin")
    if not DNS_NAME.fullmatch(origin) or origin.lower() != secret.lower():
        return None
    wanted = asked.header("webhook-request-rate")
    number = int(wanted) if re.fullmatch(r"[0-9]{1,9}", wanted) else asked.rate
    allowed = str(max(1, min(number, asked.rate)))
    return Reply(headers={"Allow": "POST", "WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": allowed})


HANDSHAKES: Final[Mapping[str, Row]] = {
    "slack": Row("POST", proven=True, answer=_slack),
    "graph": Row("POST", proven=False, answer=_graph),
    "meta": Row("GET", proven=False, answer=_meta, needs="the verify token that was entered in the dashboard"),
    "dropbox": Row("GET", proven=False, answer=_dropbox),
    "zoom": Row("POST", proven=True, answer=_zoom, needs="the webhook's secret token", signs=True),
    "x-crc": Row("GET", proven=False, answer=_x, needs="the consumer secret", signs=True),
    "discord": Row("POST", proven=True, answer=_discord),
    "cloudevents": Row(
        "OPTIONS", proven=False, answer=_cloudevents, needs="the sender's origin, a DNS name", is_public=True
    ),
}
"""Every handshake by its name. Sources: the providers' webhook documentation; CloudEvents' http-webhook.md, 4."""
