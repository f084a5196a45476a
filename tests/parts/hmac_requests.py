"""Schemes with options of `hmac`, and requests that are signed by hand."""

from __future__ import annotations

import hmac
from typing import Any

import pytest

from activities.signatures import SCHEMES, Scheme, SignatureError, SignedRequest
from tests.parts.setups import NOW, URL

SECRET = "a-secret-of-thirty-two-characters"
BODY = b'{"a": 1}'
ISO = "2027-01-15T08:00:00Z"


def scheme(name: str = "hmac", secrets: tuple[str, ...] = (SECRET,), **options: Any) -> Scheme:
    return SCHEMES[name](
        secrets=list(secrets), **({"header": "X-Sig"} if not options.get("signature") else {}) | options
    )


def mac(signed: str | bytes, algorithm: str = "sha256", key: str = SECRET) -> str:
    return hmac.digest(key.encode(), signed.encode() if isinstance(signed, str) else signed, algorithm).hex()


def request(*headers: tuple[str, str], body: bytes = BODY, url: str = URL) -> SignedRequest:
    return SignedRequest("POST", url, list(headers), body)


def reason(made: Scheme, one: SignedRequest, now: float = NOW) -> str:
    with pytest.raises(SignatureError) as raised:
        made.verify(one, now)
    return raised.value.reason
