"""Detached JSON Web Signatures: the body is the payload, the file chooses the algorithm, and nothing else counts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from activities.signatures import SCHEMES, ConfigError, KeyUnavailable, Scheme, SignatureError, SignedRequest
from activities.signatures.detached import LONGEST_DETACHED
from tests.parts.key_servers import key_server
from tests.parts.rsa_keys import RSA
from tests.parts.setups import EC, NOW, SETUPS, private_pem, public_pem

SETUP = SETUPS["detached-jws"]
BODY = SETUP.body
PUBLISHED_RS512 = {"algorithm": "RS512", "header": "X-Jws"}


def encoded(raw: bytes | dict[str, Any]) -> str:
    given = json.dumps(raw).encode() if isinstance(raw, dict) else raw
    return base64.urlsafe_b64encode(given).rstrip(b"=").decode()


def by_the_library(body: bytes = BODY, key: Any = EC, algorithm: str = "ES256", **headers: Any) -> str:
    """PyJWT's signature of the body, made detached."""
    raw = headers.get("b64") is False
    options = {"is_payload_detached": True} if raw else {}
    made = jwt.PyJWS().encode(body, key, algorithm, headers=headers or None, **options)  # type: ignore[arg-type]
    begin, _, signature = made.split(".")
    return f"{begin}..{signature}"


def request(value: str, body: bytes = BODY) -> SignedRequest:
    return SignedRequest("POST", "", [("X-Jws", value)], body)


def refused(value: str, scheme: Scheme | None = None, body: bytes = BODY) -> str:
    with pytest.raises(SignatureError) as raised:
        (scheme or SETUP.scheme()).verify(request(value, body), NOW)
    return raised.value.reason


@pytest.mark.parametrize("body", [BODY, b"", b"\xff\0", b"a.b.c"])
@pytest.mark.parametrize("headers", [{}, {"b64": False}, {"typ": "JOSE", "kid": "any"}])
def test_a_body_that_a_library_signed_verifies(body: bytes, headers: dict[str, Any]) -> None:
    value = by_the_library(body, **headers)
    assert SETUP.scheme().verify(request(value, body), NOW).key_index == 0
    assert refused(value, body=body + b" ") == "mismatch"


def test_a_library_verifies_what_we_sign() -> None:
    [(_, value)] = SETUP.scheme().sign(BODY, url="", now=NOW, delivery_id="")
    begin, _, signature = value.split(".")
    whole = f"{begin}.{encoded(BODY)}.{signature}"
    assert jwt.PyJWS().decode(whole, EC.public_key(), algorithms=["ES256"]) == BODY


GOOD = by_the_library()
BEGIN, _, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "malformed-header"),
        (SIGNATURE, "malformed-header"),
        (f"{BEGIN}.{SIGNATURE}", "malformed-header"),
        (f"{BEGIN}.{encoded(BODY)}.{SIGNATURE}", "malformed-header"),
        (f"{BEGIN}..{SIGNATURE}.", "malformed-header"),
        (f"{BEGIN}..", "mismatch"),
        (f"..{SIGNATURE}", "malformed-header"),
        (f"{BEGIN}..{SIGNATURE}=", "malformed-header"),
        (f" {GOOD}", "malformed-header"),
        (f"{BEGIN}..{SIGNATURE[:-2]}", "mismatch"),
        (f"{encoded({'alg': 'none'})}..", "malformed-header"),
        (f"{encoded({'alg': 'HS256'})}..{SIGNATURE}", "malformed-header"),
        (f"{encoded({'alg': 'es256'})}..{SIGNATURE}", "malformed-header"),
        (f"{encoded({})}..{SIGNATURE}", "malformed-header"),
        (f"{encoded(b'[]')}..{SIGNATURE}", "malformed-header"),
        (f"{encoded(b'{{')}..{SIGNATURE}", "malformed-header"),
        (f"{encoded({'alg': 'ES256', 'kid': 5})}..{SIGNATURE}", "malformed-header"),
        (f"{encoded({'alg': 'ES256', 'b64': False})}..{SIGNATURE}", "malformed-header"),
        (f"{encoded({'alg': 'ES256', 'b64': 'false', 'crit': ['b64']})}..{SIGNATURE}", "mismatch"),
        (f"{encoded({'alg': 'ES256', 'crit': ['b64']})}..{SIGNATURE}", "mismatch"),
        (f"{encoded({'alg': 'ES256', 'b64': False, 'crit': ['b64', 'exp']})}..{SIGNATURE}", "malformed-header"),
        (f"{encoded({'alg': 'ES256', 'b64': False, 'crit': 'b64'})}..{SIGNATURE}", "malformed-header"),
        (f"{encoded({'alg': 'ES256', 'b64': False, 'crit': ['b64', 'b64']})}..{SIGNATURE}", "malformed-header"),
        (f"{encoded({'alg': 'ES256', 'crit': []})}..{SIGNATURE}", "malformed-header"),
        (by_the_library(key=ec.generate_private_key(ec.SECP256R1())), "mismatch"),
        (by_the_library(BODY + b"x"), "mismatch"),
        (by_the_library(encoded(BODY).encode()), "mismatch"),
        (GOOD + "A" * LONGEST_DETACHED, "malformed-header"),
    ],
    ids=range(28),
)
def test_a_detached_signature_is_read_strictly(value: str, reason: str) -> None:
    assert refused(value) == reason


def test_the_form_of_the_payload_is_not_interchangeable() -> None:
    """What was signed as it is does not pass for what was signed in base64url, and the reverse."""
    raw = by_the_library(encoded(BODY).encode(), b64=False)
    assert refused(raw) == "mismatch"
    assert refused(by_the_library(b64=False), body=encoded(BODY).encode()) == "mismatch"


def test_a_key_that_the_signature_brings_is_ignored() -> None:
    theirs = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.get_algorithm_by_name("ES256").to_jwk(theirs.public_key(), as_dict=True)
    assert refused(by_the_library(key=theirs, jwk=jwk, jku="https://evil.example/jwks")) == "mismatch"


@pytest.mark.parametrize("change", [lambda text: text.upper(), lambda text: f"{text}, {text}"])
def test_one_signature_in_its_own_spelling(change: Callable[[str], str]) -> None:
    assert refused(change(GOOD)) in {"malformed-header", "mismatch"}
    twice = replace(request(GOOD), headers=[("X-Jws", GOOD), ("x-jws", GOOD)])
    with pytest.raises(SignatureError, match="repeated-header"):
        SETUP.scheme().verify(twice, NOW)


def test_a_key_set_at_a_url_verifies_it() -> None:
    jwk = jwt.get_algorithm_by_name("RS512").to_jwk(RSA.public_key(), as_dict=True)
    with key_server() as server:
        server.documents["/jwks"] = json.dumps({"keys": [{**jwk, "kid": "k"}]}).encode()
        scheme = SCHEMES["detached-jws"](secrets=[f"{server.url}/jwks"], **PUBLISHED_RS512)  # type: ignore[arg-type]
        good = request(by_the_library(key=RSA, algorithm="RS512", kid="k"))
        with pytest.raises(KeyUnavailable):
            scheme.verify(good, NOW)
        scheme.prepare(wait=30)
        assert scheme.verify(good, NOW).key_index == 0
        with pytest.raises(KeyUnavailable):
            scheme.verify(request(by_the_library(key=RSA, algorithm="RS512", kid="other")), NOW)
        scheme.prepare(wait=30)


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "none"},
        {"algorithm": ""},
        {"algorithm": 5},
        {"header": ""},
        {"header": "X Y"},
        {"prefix": 5},
        {"secrets": [public_pem(RSA)]},
        {"private_key": private_pem(RSA)},
    ],
)
def test_a_senseless_detached_scheme_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SETUP.scheme(**changes)


def test_no_time_is_proven() -> None:
    assert (SETUP.scheme().covers_body, SETUP.scheme().covers_time) == (True, False)
    with pytest.raises(ConfigError, match="private_key"):
        SETUP.scheme(private_key="").sign(BODY, url="", now=NOW, delivery_id="")
