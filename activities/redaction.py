"""Finds callback tokens in text, and removes them from texts and answers.

Anyone with a callback token can answer its stage. A partner may repeat its callback URL in a message, and a history
records the message.
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

TOKEN: Final = "a callback token"  # noqa: S105 - a name, not a token

CALLBACK_TOKEN: Final = re.compile(rb"/callbacks/(\.?[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{20,})", re.IGNORECASE)
"""Matches a callback token after the path of callback URLs."""

SIGNED: Final = re.compile(rb"(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{16,}+)(?=(\.[A-Za-z0-9_-]{43,}+))")
"""Matches two base64url texts joined by a dot, `PAYLOAD.SIGNATURE`. The second is at least as long as an HMAC-SHA256.
This is a callback token if the first text holds claims. A match starts only where a base64url text starts: if every
character could start a match, a long text would take minutes."""

BARE_TOKEN: Final = re.compile(rb"(?<![A-Za-z0-9_-])\.?[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
"""Matches text in the form of a token, whatever its first part holds."""

CLAIMS: Final = re.compile(
    rb'\[%d,"(?:[^"\\]|\\.)*+","(?:[^"\\]|\\.)*+",[0-9]+,[0-9]+,"(?:[^"\\]|\\.)*+",[0-9]+,[0-9]+\]' % VERSION
)
"""Matches the claims in a token; see `activities.callback_urls`."""

BEGIN_OF_CLAIMS: Final = base64.b64encode(b'[%d,"' % VERSION)[:5]
"""The beginning of claims in base64."""

LONGEST_CLAIMS: Final = 8192
"""Maximum bytes of claims. Temporal's ids have at most 1000 characters, and JSON may write each as six."""

LIKE_A_TOKEN: Final = re.compile(rb"\.[A-Za-z0-9_-]{20}")
"""Matches the second half of every token. Few texts have such a part; only these are scanned in full."""

REMOVED: Final = b"[removed]"


def scrubbed(answer: Answer) -> Answer:
    """Replace each callback token in an answer's code, message and data (keys and values) by `[removed]`.

    The answer must have passed `activities.partners.answers.checked`.
    """
    return replace(
        answer,
        code=scrubbed_text(answer.code),
        message=scrubbed_text(answer.message),
        data=_scrubbed_value(answer.data),
    )


def scrubbed_text(text: str) -> str:
    """Replace each callback token in a text by `[removed]`: plain, percent-encoded or with JSON escapes.

    Example: `https://hooks.example.com/callbacks/TOKEN` becomes `https://hooks.example.com/callbacks/[removed]`.
    """
    encoded = text.encode("utf-8", "surrogatepass")
    clean = _without(encoded, _removed_tokens)
    return text if clean == encoded else clean.decode("utf-8", "surrogatepass")


def tokens(text: bytes) -> Iterator[Found]:
    """Find the callback tokens in a plain text.

    After the path of callback URLs, any text in the form of a token counts. Elsewhere, it must also hold claims.
    """
    for found in CALLBACK_TOKEN.finditer(text):
        yield Found(*found.span(1), TOKEN)
    for found in SIGNED.finditer(text):
        payload, start = found[1], found.start()
        if text[max(start - 1, 0) : start] == b"." and _holds_claims(payload, packed=True):
            yield Found(start - 1, found.end(2), TOKEN)
        elif (at := payload.find(BEGIN_OF_CLAIMS)) >= 0 and _holds_claims(payload[at:]):
            yield Found(start + at, found.end(2), TOKEN)


def may_hold_token(text: bytes) -> bool:
    """Whether the text needs `without_tokens` or `redact_tokens`: a cheap test that resolves no escapes.

    A token has a dot before its second half, `eyJhbGciOiJ.dBjftJeZ4CVP-mB92K2`; escapes may hide it: `%2E`, `\\u002e`.
    """
    return b"%" in text or b"\\" in text or LIKE_A_TOKEN.search(text) is not None


def without_tokens(text: bytes) -> bytes:
    """Redact the callback tokens in a text. Does not look into base64, because it runs on every received header."""
    return _without(text, tokens)


def redact_tokens(text: bytes) -> bytes:
    """Redact everything in the form of a callback token, whether or not it holds claims."""
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
    """Whether the first part of a token holds claims.

    packed: the part is compressed with zlib.
    """
    try:
        plain = base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        if packed:
            plain = zlib.decompressobj().decompress(plain, LONGEST_CLAIMS)
    except (binascii.Error, zlib.error):
        return False
    return CLAIMS.fullmatch(plain) is not None
