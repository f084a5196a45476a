"""HandshakeForm: a handshake as data: which request it is, what it asks for, and how that is said.

Two kinds of text go back to the provider:

- A repeated text is short, printable and without markup.
- A signed text must not be a request that the provider itself would sign with the same secret. So it may not have the
  characters that each such request has: `{` and `:` of JSON, and `=` within a form. For example, `{"event":"paid"}` and
  `status=paid` are refused; `qgg8vlvZRS6UYooatFL8Aw` is signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from activities.handshakes.request import HandshakeRequest, Reply, When

REPEATABLE: Final = re.compile(r"[ !#-;=?-~]{1,1024}")
"""Matches printable ASCII without quotation marks and angle brackets."""

SIGNABLE: Final = re.compile(r"[A-Za-z0-9_+/.-]{1,254}={0,2}")

UNSAFE_TEXT: Final = Reply(422, "the text that this handshake asks for is missing or unsafe")
"""Reply to a handshake that asks for an unsafe text. If it were treated as a callback, it could settle a stage."""

NOT_KNOWN: Final = Reply(403, "the secret of this handshake is wrong")

ENROLMENT_FIELD: Final = "enrol"
"""The field of the query that holds the enrolment word."""

Condition = Callable[[HandshakeRequest], bool]
Reads = Callable[[HandshakeRequest], str | None]
"""Reads a text from the request. Returns None if it is missing, and "" if it is repeated or of another type."""

Says = Callable[[str, str, HandshakeRequest], Reply]
"""Makes the reply from the text that the handshake asks for, the secret and the request."""


# --- what a request is and has


def query(name: str) -> Reads:
    """Read a field of the query."""
    return lambda asked: asked.field(name) if asked.asks(name) else None


def header(name: str) -> Reads:
    """Read a header."""
    return lambda asked: asked.header(name.lower()) if asked.has_header(name.lower()) else None


def member(*path: str) -> Reads:
    """Read a text in the body's JSON object."""
    return lambda asked: _text_in(asked.object(), path)


def item(*path: str) -> Reads:
    """Read a text in the only object of the body's JSON array."""

    def read(asked: HandshakeRequest) -> str | None:
        match asked.json():
            case [dict() as only]:
                return _text_in(only, path)
        return None

    return read


def says_at(reads: Reads, *texts: str) -> Condition:
    """Whether the text is one of these."""
    return lambda asked: reads(asked) in texts


def has_only(*names: str) -> Condition:
    """Whether the body is a JSON object with exactly these members."""
    return lambda asked: set(asked.object()) == set(names)


def _text_in(value: Any, path: tuple[str, ...]) -> str | None:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value if isinstance(value, str) else ""


# --- what is replied


def nothing(status: int = 200) -> Says:
    """An empty body."""
    return lambda text, secret, asked: Reply(status)


def as_text(text: str, secret: str, asked: HandshakeRequest) -> Reply:
    """The text as it is."""
    return Reply(body=text)


def as_json(name: str, *, in_header: str = "") -> Says:
    """The text in a JSON object, and in a header too."""
    return lambda text, secret, asked: _json({name: text}, {in_header: text} if in_header else {})


def as_header(name: str) -> Says:
    """The text in a header."""
    return lambda text, secret, asked: Reply(headers={name: text})


def as_secret(text: str, secret: str, asked: HandshakeRequest) -> Reply:
    """The secret as it is, for a provider that wants to read it at the URL."""
    return Reply(body=secret)


def as_digest_header(name: str, digest: Callable[[str, str, HandshakeRequest], str]) -> Says:
    """A digest that proves the secret, in a header."""
    return lambda text, secret, asked: Reply(headers={name: digest(text, secret, asked)})


def as_key(name: str = "") -> Says:
    """The text in a header, if it has a name; it is a secret that the partner has chosen."""
    return lambda text, secret, asked: Reply(headers={name: text} if name else {}, secret=text)


def with_digest(name: str, digest: Callable[[str, str, HandshakeRequest], str], *, text_at: str = "") -> Says:
    """A digest that proves the secret, in a JSON object with the text."""

    def say(text: str, secret: str, asked: HandshakeRequest) -> Reply:
        return _json({**({text_at: text} if text_at else {}), name: digest(text, secret, asked)})

    return say


def hmac_hex(text: str, secret: str, asked: HandshakeRequest) -> str:
    """The HMAC-SHA256 of the text in hexadecimal digits."""
    return _hmac(text, secret).hex()


def hmac_base64(text: str, secret: str, asked: HandshakeRequest) -> str:
    """The HMAC-SHA256 of the text in base64, after `sha256=`."""
    return "sha256=" + base64.b64encode(_hmac(text, secret)).decode()


def hash_with_url(text: str, secret: str, asked: HandshakeRequest) -> str:
    """The SHA-256 of the text, the secret and the URL, in hexadecimal digits."""
    return hashlib.sha256((text + secret + asked.url).encode()).hexdigest()


def _hmac(text: str, secret: str) -> bytes:
    return hmac.digest(secret.encode(), text.encode(), "sha256")


def _json(value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(body=json.dumps(value), media_type="application/json", headers=headers or {})


# --- the whole


@dataclass(frozen=True)
class HandshakeForm:
    """A provider's handshake.

    methods: the HTTP methods of the request.
    when: when it is answered.
    says: makes the reply.
    only_if: what must hold; otherwise the request is not this handshake.
    reads: what it asks for; None for a handshake that wants a 2xx and no text.
    allowed: the texts that are repeated or signed; `UNSAFE_TEXT` is the reply to any other.
    secret_at: where the request must hold the secret; `unknown` is the reply to any other.
    needs: what the secret is, or "" if there is no secret.
    signs: the secret also signs callbacks, so its variable may list several secrets, separated by commas. Any other
        secret may contain a comma.
    is_public: the secret is public knowledge, and may be short.
    enrols: the handshake brings the key of later signatures. Its secret is the enrolment word, which is set only while
        a webhook is made.
    proves: the reply proves the secret to anyone who asks.
    sets_unused_key: the handshake brings a key that the partner's file must not use.
    answers: status and body for callbacks of this provider, by the case of `Partner.answers`.
    repeats: a header that every accepted callback is answered with; its value is the secret.
    """

    methods: tuple[str, ...]
    when: When
    says: Says
    only_if: tuple[Condition, ...] = ()
    reads: Reads | None = None
    allowed: re.Pattern[str] = REPEATABLE
    secret_at: Reads | None = None
    unknown: Reply = NOT_KNOWN
    needs: str = ""
    signs: bool = False
    is_public: bool = False
    enrols: bool = False
    proves: bool = False
    sets_unused_key: bool = False
    answers: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    repeats: str = ""

    def answer(self, asked: HandshakeRequest, secret: str) -> Reply | None:
        """Return the reply, or None if the request is not this handshake."""
        if asked.method not in self.methods or not all(holds(asked) for holds in self.only_if):
            return None
        text = self.reads(asked) if self.reads else ""
        if text is None and not self.only_if:
            return None
        if self.secret_at and not hmac.compare_digest((self.secret_at(asked) or "").encode(), secret.encode()):
            return self.unknown
        if self.reads and not self.allowed.fullmatch(text or ""):
            return UNSAFE_TEXT
        return self.says(text or "", secret, asked)

    @property
    def takes_any_get(self) -> bool:
        """Whether each GET is this handshake."""
        return "GET" in self.methods and not self.only_if and self.reads is None and self.secret_at is None
