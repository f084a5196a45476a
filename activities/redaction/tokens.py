"""Finds callback tokens in text, and removes them.

Anyone with a callback token can answer its stage. A partner may repeat its callback URL in a message, and a history
records the message.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Final

from activities.callback_urls import SHORT_PREFIX, VERSION, begins_with_claims
from activities.redaction.text import REDACTED, Found, redact_bytes

TOKEN: Final = "a callback token"  # noqa: S105 - a name, not a token
REMOVED: Final = b"[removed]"

LIKE_A_TOKEN: Final = re.compile(r"\.[A-Za-z0-9_-]{20}")
LIKE_A_SHORT_TOKEN: Final = re.compile(rf"{SHORT_PREFIX}[A-Za-z0-9_-]{{58}}")
"""The second half of every token of version one, and the beginning of every token of version two. A text without either
holds a token only if it has `%` or `\\`: `%2E`. There are two patterns because Python finds a fixed beginning fast: one
pattern for both takes thirty times as long, and the headers of every callback are searched."""

CALLBACK_TOKEN: Final = re.compile(
    rb"/callbacks/(\.?[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{20,}|%b[A-Za-z0-9_-]{58,})" % SHORT_PREFIX.encode(),
    re.IGNORECASE,
)
"""Matches a callback token after the path of callback URLs."""

TWO_PARTS: Final = re.compile(rb"(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{16,}+)(?=(\.[A-Za-z0-9_-]{43,}+))")
"""Matches two base64url texts joined by a dot, `PAYLOAD.SIGNATURE`. The second is at least as long as an HMAC-SHA256.
This is a callback token if the first text holds claims. A match starts only where a base64url text starts: if every
character could start a match, a long text would take minutes."""

SHORT_TOKENS: Final = re.compile(rb"%b[A-Za-z0-9_-]{58,}+" % SHORT_PREFIX.encode())
"""Matches the rest of a word in which tokens of version two may begin."""

LETTERS_PER_SEARCH: Final = 64
"""In a word, one beginning is looked at for so many characters, and one more. The text is untrusted: of `sh2sh2sh2...`
every third character could begin a token."""

BARE_TOKEN: Final = re.compile(
    rb"(?<![A-Za-z0-9_-])(?:\.?[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])|%b[A-Za-z0-9_-]{58,})"
    % SHORT_PREFIX.encode()
)
"""Matches text in the form of a token, whatever its first part holds."""

CLAIMS: Final = re.compile(
    rb'\[%d,"(?:[^"\\]|\\.)*+","(?:[^"\\]|\\.)*+",[0-9]+,[0-9]+,"(?:[^"\\]|\\.)*+",[0-9]+,[0-9]+\]' % VERSION
)
"""Matches the claims in a token; see `activities.callback_urls`."""

BEGIN_OF_CLAIMS: Final = base64.b64encode(b'[%d,"' % VERSION)[:5]

LONGEST_HEAD: Final = 379
"""Maximum characters of what shows that a token is of version two: all that is before the workflow id."""

LONGEST_CLAIMS: Final = 8192
"""Maximum bytes of claims. Temporal's ids have at most 1000 characters, and JSON may write each as six."""


def tokens(text: bytes, new: bytes = REDACTED) -> Iterator[Found]:
    """Find the callback tokens in a plain text. new: their replacement.

    After the path of callback URLs, any text in the form of a token counts. Elsewhere, it must also hold claims.
    """
    for found in CALLBACK_TOKEN.finditer(text):
        yield Found(*found.span(1), TOKEN, new)
    for found in TWO_PARTS.finditer(text):
        payload, start = found[1], found.start()
        if text[max(start - 1, 0) : start] == b"." and _holds_claims(payload, packed=True):
            yield Found(start - 1, found.end(2), TOKEN, new)
        elif (at := payload.find(BEGIN_OF_CLAIMS)) >= 0 and _holds_claims(payload[at:]):
            yield Found(start + at, found.end(2), TOKEN, new)
    yield from _short_tokens(text, new)


def scrubbed_text(text: str) -> str:
    """Replace each callback token in a text, plain or escaped: `/callbacks/TOKEN` becomes `/callbacks/[removed]`."""
    if "%" in text or "\\" in text or LIKE_A_TOKEN.search(text) or LIKE_A_SHORT_TOKEN.search(text):
        return without_tokens(text.encode("utf-8", "surrogatepass"), REMOVED).decode("utf-8", "surrogatepass")
    return text


def without_tokens(text: bytes, new: bytes = REDACTED) -> bytes:
    """Replace the callback tokens in a text. Does not look into base64, because it runs on received headers."""
    clean = redact_bytes(text, partial(tokens, new=new), deep=0)
    return new if clean is None else clean


def redact_tokens(text: bytes) -> bytes:
    """Redact everything in the form of a callback token, whether or not it holds claims."""
    return BARE_TOKEN.sub(REDACTED, without_tokens(text))


def _short_tokens(text: bytes, new: bytes) -> Iterator[Found]:
    """Find tokens of version two. Only redeeming tells where one ends, so it is found up to the end of the word.

    Example: of `id-sh2AgFr...-retry`, all from `sh2` on is found.
    """
    for found in SHORT_TOKENS.finditer(text):
        word, start = found[0], found.start()
        if (at := _beginning(word)) is not None:
            yield Found(start + at, found.end(), TOKEN, new)


def _beginning(word: bytes) -> int | None:
    """Where a token of version two begins in a word, or None. A word with too many beginnings counts as one."""
    at, prefix = 0, SHORT_PREFIX.encode()
    for _ in range(1 + len(word) // LETTERS_PER_SEARCH):
        if begins_with_claims(word[at : at + LONGEST_HEAD]):
            return at
        if (at := word.find(prefix, at + 1)) < 0:
            return None
    return at


def _holds_claims(payload: bytes, *, packed: bool = False) -> bool:
    """Whether the first part of a token holds claims. packed: the part is compressed with zlib."""
    try:
        plain = base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        if packed:
            plain = zlib.decompressobj().decompress(plain, LONGEST_CLAIMS)
    except (binascii.Error, zlib.error):
        return False
    return CLAIMS.fullmatch(plain) is not None
