"""JSON Web Tokens: what a provider's library makes is accepted, and what an attacker makes of it is refused."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import warnings
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from activities import strict_json
from activities.environment import Environment
from activities.partners.partner import signature
from activities.signatures import SCHEMES, ConfigError, Scheme, SignatureError, SignedRequest, Verified
from activities.signatures.diagnosis import diagnose
from activities.signatures.jose_tokens import encode_base64url, read_claims
from activities.signatures.web_token import LONGEST_WEB_TOKEN
from tests.parts.examples import examples
from tests.parts.setups import NOW, private_pem, public_pem

HEADER = "Plaid-Verification"
BODY = b'{"webhook_type": "IDENTITY_VERIFICATION"}'
P256 = ec.derive_private_key(987654321, ec.SECP256R1())
P384 = ec.derive_private_key(987654321, ec.SECP384R1())
P521 = ec.derive_private_key(987654321, ec.SECP521R1())
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
RSA = rsa.generate_private_key(65537, 2048)
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


# --- what an attacker sends

GOOD = {"alg": "ES256", "typ": "JWT"}


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS256", "ES384", "RS256", "es256", None, 5, ["ES256"]]
)
def test_a_token_does_not_choose_its_algorithm(algorithm: Any) -> None:
    assert refused(signed_es256({**GOOD, "alg": algorithm}, claims())) == "malformed-header"


@pytest.mark.parametrize("signature", ["", "AA", "A" * 86])
def test_an_unsigned_token_is_refused(signature: str) -> None:
    for header in (GOOD, {"alg": "none"}):
        assert refused(f"{encoded(header)}.{encoded(claims())}.{signature}") in {"mismatch", "malformed-header"}


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


SMALL_RSA = rsa.generate_private_key(65537, 1024)


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
