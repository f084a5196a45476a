"""Secrets in captures: what is known to be one, where it hides, and an export without it."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Final
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from activities.signatures.scheme import PREFIXES
from receiver.deliveries.delivery import Delivery, NotADelivery, digest, read_line

SECRET_VARIABLE: Final = re.compile(r"(?:KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL)S?(?:_|$)")
"""Names of environment variables whose values are secrets, ours, Temporal's and the partners'."""

SHORTEST: Final = 8
"""Characters; a shorter text is found everywhere."""

CALLBACK_TOKEN: Final = re.compile(
    rb"(?:/|\\/|%2f)callbacks(?:/|\\/|%2f)(\.?[A-Za-z0-9_-]{16,}(?:\.|%2e)[A-Za-z0-9_-]{20,})", re.IGNORECASE
)
"""A callback token behind our path, however its slashes are written. Whoever has one can answer its stage."""

BARE_TOKEN: Final = re.compile(rb"(?<![A-Za-z0-9_-])\.?[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
"""Two texts in base64url, the second one of an HMAC-SHA256's length: a callback token, or something like it. It begins
where such a text does: from each of its characters anew, a long one would be read for minutes."""

REDACTED: Final = b"[redacted]"

ADDRESSES: Final = {
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "fly-client-ip",
    "x-client-ip",
}
"""Headers in which routers write who has called."""


def known_secrets(variables: Mapping[str, str]) -> dict[str, str]:
    """The secrets that the environment holds, by a name that may be shown: `ACME_SECRET`, `CALLBACK_KEYS 2`."""
    found: dict[str, str] = {}
    for name, value in variables.items():
        if SECRET_VARIABLE.search(name):
            parts = [part.strip() for part in value.split(",")]
            found |= {name if len(parts) == 1 else f"{name} {place}": part for place, part in enumerate(parts, 1)}
    with contextlib.suppress(ValueError):  # no URL, no password
        written = urlsplit(variables.get("DATABASE_URL", "")).password or ""
        found["DATABASE_URL's password"] = unquote(written)
        if "%" in written:
            found["DATABASE_URL's password as the URL has it"] = written
    for name, value in list(found.items()):
        for prefix in filter(value.startswith, PREFIXES):
            found[f"{name} without its prefix"] = value.removeprefix(prefix)
    return {name: value for name, value in found.items() if len(value) >= SHORTEST}


def find(line: bytes, secrets: Mapping[str, str]) -> Iterator[str]:
    """What a line of an export holds that it must not: names of secrets, `a callback token`.

    It looks for them plain, percent-encoded and in base64, in the line and in the body that the line has in base64.
    """
    places = [line]
    with contextlib.suppress(NotADelivery):  # then it is a text like any other
        places.append(read_line(line).body or b"")
    haystack = b"\n".join(text for place in places for text in (place, unquote_to_bytes(place)))
    for name, secret in secrets.items():
        if any(form in haystack for form in _forms(secret.encode())):
            yield name
    if CALLBACK_TOKEN.search(haystack):
        yield "a callback token"


def redact(delivery: Delivery, secrets: Mapping[str, str]) -> Delivery:
    """The delivery without known secrets, callback tokens, and the addresses it came from.

    The rest of the body stays, for it is what is replayed: it may hold a customer's data.
    """
    headers = tuple(
        (name, _blot(value.encode(), secrets).decode())
        for name, value in delivery.headers
        if name.lower() not in ADDRESSES
    )
    target = _blot(delivery.target.encode(), secrets).decode()
    clean = replace(delivery, client="", headers=headers, target=target)
    if clean.body is None or (body := _blot(clean.body, secrets)) == clean.body:
        return clean
    return replace(clean, body=body, body_size=len(body), body_digest=digest(body))


def _blot(text: bytes, secrets: Mapping[str, str]) -> bytes:
    for secret in secrets.values():
        text = _percent_encoded(secret.encode()).sub(REDACTED, text)
        for form in _forms(secret.encode()):
            text = text.replace(form, REDACTED)
    return without_tokens(text)


def without_tokens(text: bytes) -> bytes:
    """The text without the callback tokens in it."""
    return CALLBACK_TOKEN.sub(lambda found: found[0].replace(found[1], REDACTED), text)


def blot_tokens(text: bytes) -> bytes:
    """The text without anything that is written as a callback token is, wherever it stands."""
    return BARE_TOKEN.sub(REDACTED, without_tokens(text))


@cache
def _percent_encoded(secret: bytes) -> re.Pattern[bytes]:
    """The secret, whichever of its bytes are percent-encoded."""
    return re.compile(b"".join(b"(?:%s|%%(?i:%02x))" % (re.escape(bytes([byte])), byte) for byte in secret))


def _forms(secret: bytes) -> Iterator[bytes]:
    """The secret as it is, and as it looks inside base64 at each of the three places of a group."""
    yield secret
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).rstrip(b"=")
        # The first and last characters may also depend on the bytes beside it.
        certain = encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(secret)) % 3 else 0)]
        yield certain
        yield certain.translate(bytes.maketrans(b"+/", b"-_"))
