"""Callback tokens in texts: what one looks like, and a text or an answer without them.

Whoever has a callback token can answer its stage. A partner may repeat its callback URL in a message, and what it says
is recorded in a history.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from activities.callback_urls import VERSION
from activities.spellings import REDACTED, Found, Look, readings, redact_bytes
from workflows.contract import Answer

TOKEN: Final = "a callback token"  # noqa: S105 - what is found, not one

CALLBACK_TOKEN: Final = re.compile(rb"/callbacks/(\.?[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{20,})", re.IGNORECASE)
"""A callback token behind our path. Whoever has one can answer its stage."""

SIGNED: Final = re.compile(rb"(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{16,}+)(?=(\.[A-Za-z0-9_-]{43,}+))")
"""Two texts in base64url, the second one of an HMAC-SHA256's length or longer: a callback token if the first one holds
claims. It begins where such a text does: from each of its characters anew, a long one would be read for minutes."""

BARE_TOKEN: Final = re.compile(rb"(?<![A-Za-z0-9_-])\.?[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
"""The same, whatever the first one holds."""

CLAIMS: Final = re.compile(
    rb'\[%d,"(?:[^"\\]|\\.)*+","(?:[^"\\]|\\.)*+",[0-9]+,[0-9]+,"(?:[^"\\]|\\.)*+",[0-9]+,[0-9]+\]' % VERSION
)
"""Claims as a token has them; see `activities.callback_urls`."""

BEGIN_OF_CLAIMS: Final = base64.b64encode(b'[%d,"' % VERSION)[:5]
"""How they begin in base64."""

LONGEST_CLAIMS: Final = 8192
"""Bytes. Temporal's ids have at most 1000 characters, of which JSON may make six each."""

LIKE_A_TOKEN: Final = re.compile(rb"\.[A-Za-z0-9_-]{20}")
"""The second half of every token. Few texts have anything like it, and only those are read character by character."""

REMOVED: Final = b"[removed]"


def scrubbed(answer: Answer) -> Answer:
    """Return the answer with `[removed]` for each callback token in its code, message and data, in keys as in values.

    The answer must have passed `activities.partners.answers.checked`.
    """
    return replace(
        answer,
        code=scrubbed_text(answer.code),
        message=scrubbed_text(answer.message),
        data=_scrubbed_value(answer.data),
    )


def scrubbed_text(text: str) -> str:
    """Return the text with `[removed]` for each callback token: plain, percent-encoded or with JSON's escapes."""
    encoded = text.encode("utf-8", "surrogatepass")
    clean = _without(encoded, _removed_tokens)
    return text if clean == encoded else clean.decode("utf-8", "surrogatepass")


def tokens(text: bytes) -> Iterator[Found]:
    """Find the callback tokens in a plain text: after our path all that have the form, elsewhere what holds claims."""
    for found in CALLBACK_TOKEN.finditer(text):
        yield Found(*found.span(1), TOKEN)
    for found in SIGNED.finditer(text):
        payload, start = found[1], found.start()
        if text[max(start - 1, 0) : start] == b"." and _holds_claims(payload, packed=True):
            yield Found(start - 1, found.end(2), TOKEN)
        elif (at := payload.find(BEGIN_OF_CLAIMS)) >= 0 and _holds_claims(payload[at:]):
            yield Found(start + at, found.end(2), TOKEN)


def may_hold_token(text: bytes) -> bool:
    """Whether the two functions below need to see the text: a cheap test, without resolving any escape.

    A token has a dot before its second half, `eyJhbGciOiJ.dBjftJeZ4CVP-mB92K2`; escapes may hide it: `%2E`, `\\u002e`.
    """
    return b"%" in text or b"\\" in text or LIKE_A_TOKEN.search(text) is not None


def without_tokens(text: bytes) -> bytes:
    """The text without the callback tokens in it, but for those in base64: it is asked of every header received."""
    return _without(text, tokens)


def redact_tokens(text: bytes) -> bytes:
    """The text without anything that is written as a callback token is, whatever it holds."""
    return BARE_TOKEN.sub(REDACTED, without_tokens(text))


def _without(text: bytes, look: Look) -> bytes:
    clean = redact_bytes(text, look, deep=0) if any(map(LIKE_A_TOKEN.search, readings(text))) else text
    return REDACTED if clean is None else clean


def _scrubbed_value(value: Any) -> Any:
    match value:
        case str():
            return scrubbed_text(value)
        case Mapping():
            return {scrubbed_text(key): _scrubbed_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_scrubbed_value(inner) for inner in value]
    return value


def _removed_tokens(text: bytes) -> Iterator[Found]:
    return (replace(found, new=REMOVED) for found in tokens(text))


def _holds_claims(payload: bytes, *, packed: bool = False) -> bool:
    """Whether the first part of a token is one. packed: by zlib."""
    try:
        plain = base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        if packed:
            plain = zlib.decompressobj().decompress(plain, LONGEST_CLAIMS)
    except (binascii.Error, zlib.error):
        return False
    return CLAIMS.fullmatch(plain) is not None
