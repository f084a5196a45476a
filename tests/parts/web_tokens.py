"""Web tokens signed by a library and by hand, and schemes that verify them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from activities.signatures import SCHEMES, Scheme, SignatureError, SignedRequest, Verified
from activities.signatures.jose_tokens import encode_base64url
from tests.parts.rsa_keys import RSA
from tests.parts.setups import NOW, public_pem

HEADER = "Plaid-Verification"
BODY = b'{"webhook_type": "IDENTITY_VERIFICATION"}'
P256 = ec.derive_private_key(987654321, ec.SECP256R1())
P384 = ec.derive_private_key(987654321, ec.SECP384R1())
P521 = ec.derive_private_key(987654321, ec.SECP521R1())
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
SECRET = "a-shared-secret-of-32-characters"
PRIVATE: dict[str, Any] = {
    "ES256": P256,
    "ES384": P384,
    "ES512": P521,
    "RS256": RSA,
    "PS512": RSA,
    "EdDSA": ED25519,
}


def claims(**changes: Any) -> dict[str, Any]:
    made = {"iat": NOW, "request_body_sha256": hashlib.sha256(BODY).hexdigest(), **changes}
    return {name: value for name, value in made.items() if value is not None}


def encoded(value: Any) -> str:
    return encode_base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def by_hand(header: Any, payload: Any, sign: Callable[[bytes], bytes]) -> str:
    signed = f"{encoded(header)}.{encoded(payload)}"
    return f"{signed}.{encoded(sign(signed.encode()))}"


def signed_es256(header: Any, payload: Any) -> str:
    return by_hand(header, payload, lambda text: jwt.get_algorithm_by_name("ES256").sign(text, P256))


def made(secret: str, **options: Any) -> Scheme:
    return SCHEMES["jwt"]([secret], **options)


def plaid(key: str = public_pem(P256), **options: Any) -> Scheme:
    given = {"algorithm": "ES256", "header": HEADER, "body_hash": "request_body_sha256", **options}
    return made(key, **given)


def verify(token: str, scheme: Scheme | None = None, *, body: bytes = BODY, now: float = NOW) -> Verified:
    return (scheme or plaid()).verify(SignedRequest("POST", "https://x", [(HEADER, token)], body), now)


def refused(token: str, scheme: Scheme | None = None, *, body: bytes = BODY, now: float = NOW) -> str:
    with pytest.raises(SignatureError) as raised:
        verify(token, scheme, body=body, now=now)
    return raised.value.reason


def refused_body(token: str, scheme: Scheme) -> str:
    with pytest.raises(SignatureError) as raised:
        scheme.verify(SignedRequest("POST", "", [], token.encode()), NOW)
    return raised.value.reason


GOOD = {"alg": "ES256", "typ": "JWT"}
