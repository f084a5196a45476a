"""JSON web tokens that providers send and that we sign."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from unittest.mock import Mock

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from activities import strict_json
from activities.environment import Environment
from activities.partners.partner import signature
from activities.signatures import ConfigError, SignatureError, SignedRequest, Verified
from activities.signatures.jose_tokens import read_claims
from tests.parts.rsa_keys import RSA
from tests.parts.setups import NOW, private_pem, public_pem
from tests.parts.web_tokens import (
    BODY,
    GOOD,
    HEADER,
    P256,
    PRIVATE,
    SECRET,
    by_hand,
    claims,
    made,
    plaid,
    refused,
    refused_body,
    signed_es256,
    verify,
)

# --- what providers send


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_librarys_token_verifies_by_a_pinned_key(algorithm: str) -> None:
    token = jwt.encode(claims(), PRIVATE[algorithm], algorithm=algorithm, headers={"kid": "any"})
    assert verify(token, plaid(public_pem(PRIVATE[algorithm]), algorithm=algorithm)) == Verified(0, NOW)


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_pinned_key_may_be_a_json_web_key(algorithm: str) -> None:
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(PRIVATE[algorithm].public_key(), as_dict=True)
    scheme = plaid(json.dumps({**jwk, "kid": "a"}), algorithm=algorithm)
    verify(jwt.encode(claims(), PRIVATE[algorithm], algorithm=algorithm, headers={"kid": "a"}), scheme)
    other = jwt.encode(claims(), PRIVATE[algorithm], algorithm=algorithm, headers={"kid": "b"})
    assert refused(other, scheme) == "mismatch"


def test_a_json_web_key_may_be_in_a_variable() -> None:
    jwk = jwt.get_algorithm_by_name("ES256").to_jwk(P256.public_key())
    variables = Environment({"PLAID_SECRET": jwk})
    scheme = signature("jwt", variables, "PLAID_SECRET", fix="", algorithm="ES256", header=HEADER, body_hash="")
    verify(jwt.encode(claims(), P256, algorithm="ES256"), scheme)


def test_a_pem_key_of_one_line_or_der_is_taken() -> None:
    token = jwt.encode(claims(), P256, algorithm="ES256")
    der = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for key in (public_pem(P256).replace("\n", "\\n"), base64.b64encode(der).decode()):
        verify(token, plaid(key))


def test_vonage_signs_with_a_shared_secret() -> None:
    """Its documentation: HS256, Authorization: Bearer, payload_hash as hex of SHA-256."""
    scheme = made(SECRET, algorithm="HS256", issuer="Vonage", claims="api_key=ab12", body_hash="payload_hash")
    payload = {"iat": NOW, "jti": "c5ba8f24", "iss": "Vonage", "api_key": "ab12"}
    token = jwt.encode({**payload, "payload_hash": hashlib.sha256(BODY).hexdigest()}, SECRET, algorithm="HS256")
    for begin in ("Bearer ", "bearer "):
        scheme.verify(SignedRequest("POST", "", [("authorization", begin + token)], BODY), NOW)
    with pytest.raises(SignatureError, match="malformed-header"):
        scheme.verify(SignedRequest("POST", "", [("authorization", "Basic " + token)], BODY), NOW)
    with pytest.raises(SignatureError, match="body-mismatch"):
        scheme.verify(SignedRequest("POST", "", [("authorization", "Bearer " + token)], BODY + b" "), NOW)


def test_a_whole_body_may_be_the_token() -> None:
    scheme = made(public_pem(RSA), algorithm="RS256", header="")
    body = jwt.encode({"iat": NOW, "data": "{}"}, RSA, algorithm="RS256").encode()
    assert scheme.covers_body
    scheme.verify(SignedRequest("POST", "", [], body), NOW)
    assert read_claims(body) == {"iat": NOW, "data": "{}"}
    with pytest.raises(SignatureError):
        scheme.verify(SignedRequest("POST", "", [], b"\xff" + body), NOW)
    with pytest.raises(ValueError, match="base64url"):
        read_claims("a.!!.b")


def test_an_unproven_token_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body may have a MiB of claims."""
    decoded = Mock(wraps=strict_json.loads)
    monkeypatch.setattr(strict_json, "loads", decoded)
    scheme = plaid(header="", body_hash="")
    large = {"iat": NOW, "data": "x" * 100_000}
    forged = by_hand(GOOD, large, lambda text: bytes(64))
    assert refused_body(forged, scheme) == "mismatch"
    assert refused_body(signed_es256({**GOOD, "x": "x" * 100_000}, large), scheme) == "malformed-header"
    assert [call.args for call in decoded.call_args_list] == [(json.dumps(GOOD).encode(),)]
    scheme.verify(SignedRequest("POST", "", [], signed_es256(GOOD, large).encode()), NOW)


def test_a_body_that_is_a_token_is_signed_again() -> None:
    scheme = made(public_pem(P256), algorithm="ES256", header="", private_key=private_pem(P256))
    request = SignedRequest("POST", "", [], b'{"data": 1}')
    for _ in range(2):
        request = scheme.sign_request(request, now=NOW, delivery_id="d")
        scheme.verify(request, NOW)
        assert read_claims(request.body)["data"] == 1
    for body in (b"", b"text", b"{"):
        with pytest.raises(ConfigError):
            scheme.sign_request(SignedRequest("POST", "", [], body), now=NOW, delivery_id="d")
    with pytest.raises(ConfigError):
        scheme.sign(b"{}", url="", now=NOW, delivery_id="d")


def test_the_example_of_rfc_7515_verifies() -> None:
    """Appendix A.3."""
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }
    token = (
        "eyJhbGciOiJFUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )
    expected = {"issuer": "joe", "claims": "http://example.com/is_root=true", "fresh_by": "exp", "body_hash": ""}
    scheme = plaid(json.dumps(jwk), **expected)
    assert verify(token, scheme, now=1300819300) == Verified(0, None)
    assert refused(token, scheme, now=1300819380 + 301) == "stale"


def test_without_a_body_hash_the_body_is_not_covered() -> None:
    assert plaid().covers_body
    assert not plaid(body_hash="").covers_body


@pytest.mark.parametrize(("encoding", "form"), [("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)])
def test_a_body_hash_has_the_named_encoding(encoding: str, form: Callable[[bytes], bytes]) -> None:
    digest = form(hashlib.sha256(BODY).digest()).decode()
    digest = digest.rstrip("=") if encoding == "base64url" else digest
    token = jwt.encode(claims(request_body_sha256=digest), P256, algorithm="ES256")
    verify(token, plaid(encoding=encoding))
    assert refused(token) == "body-mismatch"


# --- signing


@pytest.mark.parametrize("algorithm", [*PRIVATE, "HS512"])
def test_what_we_sign_the_library_verifies(algorithm: str) -> None:
    key = PRIVATE.get(algorithm)
    private = {"private_key": private_pem(key)} if key else {}
    shared = SECRET * 2
    scheme = plaid(public_pem(key) if key else shared, algorithm=algorithm, audience="us", issuer="them", **private)
    [(_, token)] = scheme.sign(BODY, url="", now=NOW, delivery_id="d-1")
    got = jwt.decode(
        token,
        key.public_key() if key else shared,
        algorithms=[algorithm],
        audience="us",
        issuer="them",
        options={"verify_iat": False},
    )
    assert got["request_body_sha256"] == hashlib.sha256(BODY).hexdigest()
    verify(token, scheme)


def test_a_signed_token_names_the_key_of_its_set() -> None:
    jwk = jwt.get_algorithm_by_name("ES256").to_jwk(P256.public_key(), as_dict=True)
    scheme = plaid(json.dumps({"keys": [{**jwk, "kid": "k-7"}]}), private_key=private_pem(P256))
    [(_, token)] = scheme.sign(BODY, url="", now=NOW, delivery_id="d-1")
    assert jwt.get_unverified_header(token)["kid"] == "k-7"


def test_a_public_key_signs_no_token() -> None:
    with pytest.raises(ConfigError, match="private_key"):
        plaid().sign(BODY, url="", now=NOW, delivery_id="d-1")
