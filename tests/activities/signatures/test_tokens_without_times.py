"""Tokens that carry no time: the body is proven as ever, and times that a token does have still count."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import jwt
import pytest

from activities.signatures import SCHEMES, Scheme, SignatureError, SignedRequest
from tests.parts.rsa_keys import RSA
from tests.parts.setups import NOW, public_pem

BODY = b'{"event": {"type": "user.create"}}'
HASH = base64.b64encode(hashlib.sha256(BODY).digest()).decode()


def fusion_auth(**changes: Any) -> Scheme:
    """Its documentation: X-FusionAuth-Signature-JWT, whose only claim is request_body_sha256 in base64."""
    options = {
        "algorithm": "RS256",
        "header": "X-FusionAuth-Signature-JWT",
        "body_hash": "request_body_sha256",
        "encoding": "base64",
        "fresh_by": "none",
    }
    return SCHEMES["jwt"](secrets=[public_pem(RSA)], **{**options, **changes})


def request(claims: dict[str, Any], body: bytes = BODY, key: Any = RSA, algorithm: str = "RS256") -> SignedRequest:
    token = jwt.encode(claims, key, algorithm)
    return SignedRequest("POST", "", [("X-FusionAuth-Signature-JWT", token)], body)


def reason(sent: SignedRequest, scheme: Scheme | None = None) -> str:
    with pytest.raises(SignatureError) as raised:
        (scheme or fusion_auth()).verify(sent, NOW)
    return raised.value.reason


def test_a_token_without_times_proves_its_body() -> None:
    scheme = fusion_auth()
    assert scheme.verify(request({"request_body_sha256": HASH}), NOW).timestamp is None
    assert (scheme.covers_body, scheme.covers_time) == (True, False)


@pytest.mark.parametrize("fresh_by", ["iat", "exp"])
def test_only_the_option_lets_a_token_lack_its_time(fresh_by: str) -> None:
    assert reason(request({"request_body_sha256": HASH}), fusion_auth(fresh_by=fresh_by)) == "malformed-timestamp"


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        (request({"request_body_sha256": HASH}, BODY + b" "), "body-mismatch"),
        (request({}), "body-mismatch"),
        (request({"request_body_sha256": hashlib.sha256(BODY).hexdigest()}), "body-mismatch"),
        (request({"request_body_sha256": HASH.rstrip("=")}), "body-mismatch"),
        (request({"request_body_sha256": [HASH]}), "body-mismatch"),
        (request({"request_body_sha256": HASH, "exp": NOW - 301}), "stale"),
        (request({"request_body_sha256": HASH, "nbf": NOW + 301}), "stale"),
        (request({"request_body_sha256": HASH, "iat": NOW + 301}), "stale"),
        (request({"request_body_sha256": HASH, "exp": "never"}), "malformed-timestamp"),
        (request({"request_body_sha256": HASH, "aud": "others"}), "wrong-claim"),
        (
            request({"request_body_sha256": HASH}, key="k" * 32, algorithm="HS256"),
            "malformed-header",
        ),
        (request({"request_body_sha256": HASH}, key="", algorithm="none"), "malformed-header"),
    ],
    ids=range(12),
)
def test_a_token_without_times_is_read_strictly(sent: SignedRequest, wanted: str) -> None:
    assert reason(sent) == wanted
