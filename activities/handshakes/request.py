"""The request of a handshake, and the reply to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

from activities import strict_json
from activities.environment import is_text

When = Literal["head", "body", "signed"]
"""When a handshake is answered: "head", before the body is read; "body", after that, but before the signature is
verified; "signed", after the body signature was verified."""

MAX_UNPROVEN_BODY_BYTES: Final = 8 * 1024
"""A larger body is not looked at for a handshake before its signature is verified."""

MOST_QUERY_FIELDS: Final = 50
MAX_REPLY_CHARACTERS: Final = 4096
MEDIA_TYPES: Final = ("text/plain", "application/json", "application/x-www-form-urlencoded")
"""Media types of replies. A browser renders none of them as a page."""

REPLY_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,100}")
REPLY_HEADER_VALUE: Final = re.compile(r"[ -~]{0,1024}")
OURS: Final = frozenset(
    {
        *("cache-control", "connection", "content-encoding", "content-length", "content-type", "keep-alive"),
        *("location", "refresh", "set-cookie", "transfer-encoding", "x-content-type-options"),
    }
)
"""Headers that a reply cannot set: the receiver sets them, or they would steer a browser or a proxy."""


@dataclass(frozen=True)
class HandshakeRequest:
    """A request that may be a handshake.

    query: the undecoded query of the URL.
    body: b"" until the body is read.
    rate: the number of callbacks per minute that the URL accepts.
    url: the URL that the partner was given, without a query.
    """

    method: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    rate: int = 0
    url: str = ""

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

    def has_header(self, name: str) -> bool:
        """Return whether the request has the header, with any value. name: in lower case."""
        return any(key.lower() == name for key, _ in self.headers)

    def header(self, name: str) -> str:
        """Return the header if it occurs exactly once, else "". name: in lower case."""
        return _only([value for key, value in self.headers if key.lower() == name])

    def json(self) -> Any:
        """Return the body's JSON value; None for any other body."""
        try:
            return strict_json.loads(self.body)
        except strict_json.NotStrictJSON:
            return None

    def object(self) -> dict[str, Any]:
        """Return the body's JSON object; {} for any other body."""
        value = self.json()
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Reply:
    """The answer to a handshake. Raises ValueError for a reply that must not be sent.

    status: 200 to 204, or 400 to 499. body: at most 4096 characters; "" with 204. media_type: one of `MEDIA_TYPES`.
    headers: besides those that the receiver sets.
    secret: a secret that the partner has chosen for us, or "". It is sealed and logged for the operator.
    """

    status: int = 200
    body: str = ""
    media_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not (200 <= self.status <= 204 or 400 <= self.status <= 499):
            raise ValueError(f"the reply to a handshake has the status {self.status}: use 200 to 204, or 400 to 499")
        if self.media_type not in MEDIA_TYPES:
            raise ValueError(f"the reply to a handshake has another media type: use {' or '.join(MEDIA_TYPES)}")
        if len(self.body) > MAX_REPLY_CHARACTERS:
            raise ValueError(f"the reply to a handshake has more than {MAX_REPLY_CHARACTERS} characters")
        if self.status == 204 and self.body:
            raise ValueError("the reply to a handshake has the status 204 and a body: use 200, or leave the body out")
        if not is_text(self.body) or not is_text(self.secret):
            raise ValueError("the reply to a handshake has a lone surrogate, which UTF-8 cannot encode")
        for name, value in self.headers.items():
            if not REPLY_HEADER.fullmatch(name) or not REPLY_HEADER_VALUE.fullmatch(value) or name.lower() in OURS:
                raise ValueError("the reply to a handshake has a header that it cannot set")

    @property
    def is_consent(self) -> bool:
        """Whether it is a 2xx."""
        return self.status < 300


def _only(values: list[str]) -> str:
    return values[0] if len(values) == 1 else ""
