"""Keys, secrets and options of the scheme for JSON web tokens, and its diagnosis."""

from __future__ import annotations

import base64
import hmac
import json
import warnings
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from activities.signatures import ConfigError, SignatureError, SignedRequest
from activities.signatures.diagnosis import diagnose
from activities.signatures.jose_tokens import encode_base64url
from tests.parts.rsa_keys import RSA, SMALL_RSA
from tests.parts.setups import NOW, private_pem, public_pem
from tests.parts.web_tokens import BODY, ED25519, P256, P384, by_hand, claims, plaid, refused, signed_es256, verify


@pytest.mark.parametrize("key", [public_pem(RSA), public_pem(RSA) + "\n", public_pem(P256)])
def test_a_public_key_is_not_a_secret_for_hmac(key: str) -> None:
    """Key confusion: the public key, which everybody has, taken for the secret of an HMAC."""
    forged = by_hand({"alg": "HS256"}, claims(), lambda text: hmac.digest(key.encode(), text, "sha256"))
    assert refused(forged, plaid(public_pem(RSA), algorithm="RS256")) == "malformed-header"
    jwk = json.dumps(jwt.get_algorithm_by_name("ES256").to_jwk(P256.public_key(), as_dict=True))
    der = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (key.strip(), jwk, base64.b64encode(der).decode(), "https://x.example/jwks.json"):
        with pytest.raises(ConfigError):
            plaid(secret, algorithm="HS256")


def test_a_shared_secret_may_look_like_a_bare_key() -> None:
    """32 random bytes are a public key of Ed25519 as often as not."""
    raw = ED25519.public_key().public_bytes_raw()
    for secret in (raw.hex(), base64.b64encode(raw).decode()):
        verify(jwt.encode(claims(), secret, algorithm="HS256"), plaid(secret, algorithm="HS256"))


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", public_pem(P384)),
        ("ES256", public_pem(RSA)),
        ("RS256", public_pem(P256)),
        ("EdDSA", public_pem(P256)),
        ("RS256", public_pem(SMALL_RSA)),
        ("EdDSA", public_pem(Ed448PrivateKey.generate())),
        ("ES256", private_pem(P256)),
        ("ES256", "{}"),
        ("ES256", "{"),
        ("ES256", '{"keys": []}'),
        ("ES256", '{"kty": "oct", "k": "AAAA"}'),
        ("ES256", '{"kty": "EC", "crv": "P-256", "x": "AA", "y": 5}'),
        ("EdDSA", json.dumps({"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(bytes(32))})),
        ("none", public_pem(P256)),
        ("", public_pem(P256)),
        ("ES256", "ftp://x.example/jwks.json"),
        ("ES256", "http://x.example/jwks.json"),
        ("ES256", "https://user@x.example/jwks.json"),
        ("ES256", "https:///jwks.json"),
        ("ES256", "https://x.example/jwks.json#a"),
        ("ES256", "https://x.example/é"),
        ("ES256", "https://x.example/a b"),
        ("ES256", "https://x.example\\@y.example/"),
        ("HS256", "\0" * 32),
    ],
)
def test_an_unfit_or_weak_key_is_an_error_at_construction(algorithm: str, key: str) -> None:
    with pytest.raises(ConfigError):
        plaid(key, algorithm=algorithm)


@pytest.mark.parametrize(
    "options",
    [
        {"fresh_by": "jti"},
        {"encoding": "hexa"},
        {"claims": "no-equals"},
        {"claims": "iss=x"},
        {"header": "a b"},
        {"algorithm": 5},
        {"private_key": private_pem(P384)},
        {"private_key": private_pem(ec.generate_private_key(ec.SECP256R1()))},
        {"private_key": "junk"},
    ],
)
def test_a_senseless_option_is_an_error_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        plaid(**options)


def test_a_private_json_web_key_is_not_pinned() -> None:
    with pytest.raises(ConfigError):
        plaid(json.dumps(jwt.get_algorithm_by_name("ES256").to_jwk(P256, as_dict=True)))


def test_a_short_secret_costs_no_warning_per_token() -> None:
    scheme = plaid("only-12-char", algorithm="HS256")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verify(scheme.sign(BODY, url="", now=NOW, delivery_id="d")[0][1], scheme)


def test_a_diagnosis_names_the_digests_encoding() -> None:
    [(_, token)] = plaid(encoding="base64", private_key=private_pem(P256)).sign(BODY, url="", now=NOW, delivery_id="")
    request = SignedRequest("POST", "", [("Plaid-Verification", token)], BODY)
    found = diagnose(plaid(), [""], request, NOW)
    assert [one.says for one in found.findings if one.state == "wrong"] == [
        'the request verifies with encoding="base64"'
    ]


def test_a_known_algorithm_that_is_not_ours_is_named() -> None:
    for named, says in (("RS256", "is RS256, not ES256"), ("none", "is not ES256"), ("<b>", "is not ES256")):
        with pytest.raises(SignatureError, match=says):
            verify(signed_es256({"alg": named}, claims()), plaid())
