"""Secrets and callback tokens in captured requests, and how they are looked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from activities.callback_urls import CallbackURLs, Claims
from activities.redaction.secrets import look_for
from activities.redaction.text import search
from receiver.deliveries import export
from receiver.deliveries.delivery import Delivery, digest
from tests.parts.deliveries import delivery
from tests.support import KEY

SECRET = "s3cr3t/with+odd=chars?"
SECRETS = {"ACME_SECRET": SECRET}
URLS = CallbackURLs("https://hooks.example.com", [KEY])
URL = URLS.issue(Claims("run", "chain", 1, 1, "bank", 1, 2))
PACKED = URLS.issue(Claims("run" * 20, "chain", 1, 1, "bank", 1, 2)).rpartition("/")[2]
TOKEN = URL.rpartition("/")[2]
SHORT_URL = URLS.issue(Claims("run", "01a20379-1751-78ce-ac76-c1d64654450f", 1, 1, "bank", 1, 2), 2)
SHORT = SHORT_URL.rpartition("/")[2]
JWT = ".".join(
    base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b'{"alg": "HS256"}', b'{"sub": "ada"}', b"s" * 32)
)


def find(text: bytes, secrets: Mapping[str, str]) -> list[str]:
    """The names of what a text must not hold."""
    return list(dict.fromkeys(found.name for found in search(text, look_for(secrets))))


def redact(one: Delivery, secrets: Mapping[str, str]) -> Delivery:
    return export.redact(one, look_for(secrets))


def line(body: bytes, **changes: Any) -> bytes:
    one = delivery(body=body, body_size=len(body), body_digest=digest(body), **changes)
    return json.dumps(one.as_json()).encode()


HIDDEN = {
    "plain": SECRET.encode(),
    "percent-encoded": quote(SECRET, safe="").encode(),
    "every character percent-encoded": "".join(f"%{byte:02x}" for byte in SECRET.encode()).encode(),
    "base64": base64.b64encode(SECRET.encode()),
    "base64 behind one byte": base64.b64encode(b"x" + SECRET.encode() + b"yz"),
    "base64 behind two bytes": base64.b64encode(b"xy" + SECRET.encode() + b"z"),
    "base64 for URLs": base64.urlsafe_b64encode(b"??>" + SECRET.encode()),
    "base64 in base64": base64.b64encode(b"x" + base64.b64encode(b"yz" + SECRET.encode())),
    "base64 of it percent-encoded": base64.b64encode(quote(SECRET, safe="").encode()),
    "JSON's escapes": SECRET.replace("/", "\\/").replace("+", "\\u002b").encode(),
    "percent-encoded twice": quote(quote(SECRET, safe=""), safe="").encode(),
    "base64 with its slashes escaped": base64.b64encode(b"???" + SECRET.encode()).replace(b"/", b"\\/"),
}
