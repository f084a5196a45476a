"""JSON web tokens as an attacker would send them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from activities.signatures import SignatureError
from activities.signatures.web_token import LONGEST_WEB_TOKEN
from tests.parts.examples import examples
from tests.parts.setups import NOW
from tests.parts.web_tokens import BODY, GOOD, P256, by_hand, claims, encoded, plaid, refused, signed_es256, verify


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS256", "ES384", "RS256", "es256", None, 5, ["ES256"]]
)
def test_a_token_does_not_choose_its_algorithm(algorithm: Any) -> None:
    assert refused(signed_es256({**GOOD, "alg": algorithm}, claims())) == "malformed-header"


@pytest.mark.parametrize("signature", ["", "AA", "A" * 86])
def test_an_unsigned_token_is_refused(signature: str) -> None:
    for header in (GOOD, {"alg": "none"}):
        assert refused(f"{encoded(header)}.{encoded(claims())}.{signature}") in {"mismatch", "malformed-header"}


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"b64": False, "crit": ["b64"]},
        {"kid": 5},
        {"kid": "k" * 257},
        {"kid": ["a"]},
    ],
)
def test_an_unknown_extension_or_a_wrong_kid_is_refused(extra: dict[str, Any]) -> None:
    assert refused(signed_es256({**GOOD, **extra}, claims())) == "malformed-header"


def test_a_key_that_the_token_brings_along_is_ignored() -> None:
    theirs = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.get_algorithm_by_name("ES256").to_jwk(theirs.public_key(), as_dict=True)
    where = {"jwk": jwk, "jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/", "x5c": ["AA"]}
    sign = jwt.get_algorithm_by_name("ES256").sign
    forged = by_hand({**GOOD, **where}, claims(), lambda text: sign(text, theirs))
    assert refused(forged) == "mismatch"
    verify(signed_es256({**GOOD, **where}, claims()))


@pytest.mark.parametrize(
    "change",
    [
        {"iat": NOW - 301},
        {"iat": NOW + 301},
        {"exp": NOW - 301},
        {"nbf": NOW + 301},
        {"iat": None},
        {"iat": str(NOW)},
        {"iat": True},
        {"iat": -1},
        {"iat": 10**13},
        {"iat": [NOW]},
        {"exp": "never"},
        {"nbf": {}},
        {"nbf": True},
    ],
)
def test_a_stale_or_odd_time_is_refused(change: dict[str, Any]) -> None:
    assert refused(signed_es256(GOOD, claims(**change))) in {"stale", "malformed-timestamp"}


def test_a_token_from_the_future_is_refused_also_by_its_expiry() -> None:
    scheme = plaid(fresh_by="exp")
    verify(signed_es256(GOOD, claims(iat=NOW + 300, exp=NOW + 600)), scheme)
    assert refused(signed_es256(GOOD, claims(iat=NOW + 301, exp=NOW + 600)), scheme) == "stale"


def test_a_token_in_a_header_is_short() -> None:
    assert refused(signed_es256(GOOD, claims(data="x" * LONGEST_WEB_TOKEN))) == "malformed-header"


def test_times_may_have_fractions_as_the_standard_says() -> None:
    assert verify(signed_es256(GOOD, claims(iat=NOW + 0.5, exp=NOW + 60.25))).timestamp == NOW


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"aud": "them"}, {"audience": "us"}),
        ({"aud": ["them", 5, None]}, {"audience": "us"}),
        ({}, {"audience": "us"}),
        ({"aud": {"us": 1}}, {"audience": "us"}),
        ({"aud": "us"}, {}),
        ({"iss": "evil"}, {"issuer": "them"}),
        ({"iss": ["them"]}, {"issuer": "them"}),
        ({}, {"issuer": "them"}),
        ({"email_verified": False}, {"claims": "email_verified=true"}),
        ({"email": None}, {"claims": "email=a@b, sub=1"}),
    ],
)
def test_a_wrong_audience_issuer_or_claim_is_refused(change: dict[str, Any], options: dict[str, Any]) -> None:
    assert refused(signed_es256(GOOD, claims(**change)), plaid(**options)) == "wrong-claim"


def test_an_audience_may_be_one_of_several() -> None:
    verify(signed_es256(GOOD, claims(aud=["them", "us"])), plaid(audience="us"))


@pytest.mark.parametrize("change", [{"request_body_sha256": None}, {"request_body_sha256": 5}])
def test_a_token_without_its_body_hash_is_refused(change: dict[str, Any]) -> None:
    assert refused(signed_es256(GOOD, claims(**change))) == "body-mismatch"


def test_a_body_hash_has_one_spelling() -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    for spelling in (digest.upper(), f" {digest}", f"{digest}\n", digest[:-1], base64.b64encode(BODY).decode()):
        assert refused(signed_es256(GOOD, claims(request_body_sha256=spelling))) == "body-mismatch"


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "=",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token + ".",
        lambda token: token + ".AA",
        lambda token: token.replace(".", "..", 1),
        lambda token: token.rpartition(".")[0],
        lambda token: token.replace(".", "+.", 1),
        lambda token: "\u212a" + token,
        lambda token: "x" * 20_000,
        lambda token: "",
        lambda token: ".".join([encoded(b"[" * 5000), *token.split(".")[1:]]),
        lambda token: ".".join([encoded(b'{"alg":"ES256","alg":"none"}'), *token.split(".")[1:]]),
        lambda token: ".".join([encoded(b"[]"), *token.split(".")[1:]]),
        lambda token: ".".join([encoded(b"\xff"), *token.split(".")[1:]]),
    ],
)
def test_a_misshapen_token_is_refused(change: Callable[[str], str]) -> None:
    assert refused(change(signed_es256(GOOD, claims()))) == "malformed-header"


@pytest.mark.parametrize("payload", [b"[]", b'"text"', b"{", b'{"iat": NaN}', b'{"iat":1,"iat":1800000000}', b"\xff"])
def test_a_payload_is_one_strict_json_object(payload: bytes) -> None:
    assert refused(signed_es256(GOOD, payload)) == "malformed-header"


def test_a_signature_has_one_spelling() -> None:
    """The last character of 64 bytes in base64url carries four bits that no byte has."""
    token = signed_es256(GOOD, claims())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(token[-1]) ^ 1]
    assert refused(token[:-1] + other) == "malformed-header"


def test_a_signature_in_der_is_refused() -> None:
    token = by_hand(GOOD, claims(), lambda text: P256.sign(text, ec.ECDSA(SHA256())))
    assert refused(token) == "mismatch"


@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "typ", "b64", "jku"]),
        st.sampled_from(["ES256", "none", "", None, 5, [], {}]),
    ),
    payload=st.dictionaries(
        st.sampled_from(["iat", "exp", "nbf", "aud", "iss", "request_body_sha256"]),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    ),
)
@examples(60)
def test_any_signed_content_is_refused_as_such_or_verifies(header: dict[str, Any], payload: dict[str, Any]) -> None:
    with contextlib.suppress(SignatureError):
        verify(signed_es256({**GOOD, **header}, {**claims(), **payload}))
