"""Signatures by a private key: every algorithm, and what must not pass for a signature."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from activities.signatures import SCHEMES, ConfigError, Scheme, SignatureError, SignedRequest
from activities.signatures.diagnosis import diagnose
from activities.signatures.pinned_keys import KEY_ALGORITHMS
from tests.parts.rsa_keys import RSA, SMALL_RSA
from tests.parts.setups import NOW, private_pem, public_pem

BODY = b'{"event": "transfers#state-change"}'
P256 = ec.derive_private_key(4242, ec.SECP256R1())
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))


def private_for(algorithm: str) -> Any:
    return RSA if algorithm.startswith("rsa") else P256 if algorithm.startswith("ecdsa") else ED25519


def made(algorithm: str = "rsa-sha256", **options: Any) -> Scheme:
    key = private_for(algorithm)
    given = {"algorithm": algorithm, "header": "X-Signature-SHA256", "private_key": private_pem(key), **options}
    return SCHEMES["public-key"]([given.pop("key", public_pem(key))], **given)


def request(signature: str, body: bytes = BODY, *headers: tuple[str, str]) -> SignedRequest:
    return SignedRequest("POST", "https://x", [("X-Signature-SHA256", signature), *headers], body)


def refused(scheme: Scheme, sent: SignedRequest, now: float = NOW) -> str:
    with pytest.raises(SignatureError) as raised:
        scheme.verify(sent, now)
    return raised.value.reason


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize("algorithm", KEY_ALGORITHMS)
def test_every_algorithm_verifies_what_it_signs(algorithm: str) -> None:
    scheme = made(algorithm)
    [(_, signature)] = scheme.sign(BODY, url="", now=NOW, delivery_id="")
    scheme.verify(request(signature), NOW)
    assert refused(scheme, request(signature, BODY + b" ")) == "mismatch"


def test_wise_signs_the_body_with_rsa() -> None:
    """docs.wise.com: X-Signature-SHA256, SHA256 with RSA, base64."""
    signature = RSA.sign(BODY, padding.PKCS1v15(), hashes.SHA256())
    made().verify(request(b64(signature)), NOW)


@pytest.mark.parametrize("salt", [0, 32, padding.PSS.MAX_LENGTH])
def test_a_pss_signature_may_have_any_salt(salt: int) -> None:
    signature = RSA.sign(BODY, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    made("rsa-pss-sha256").verify(request(b64(signature)), NOW)
    assert refused(made(), request(b64(signature))) == "mismatch", "of another padding"


def test_telnyx_signs_time_and_body_with_ed25519() -> None:
    """developers.telnyx.com: telnyx-signature-ed25519 over `timestamp|body`, the key as base64 of 32 bytes."""
    options: dict[str, Any] = {"header": "telnyx-signature-ed25519", "timestamp_header": "telnyx-timestamp"}
    raw = ED25519.public_key().public_bytes_raw()
    sent = SignedRequest(
        "POST",
        "",
        [("telnyx-timestamp", str(NOW)), ("telnyx-signature-ed25519", b64(ED25519.sign(f"{NOW}|".encode() + BODY)))],
        BODY,
    )
    for key in (b64(raw), raw.hex()):
        scheme = SCHEMES["public-key"]([key], **{"algorithm": "ed25519", "signed": "{timestamp}|{body}", **options})
        assert scheme.verify(sent, NOW).timestamp == NOW
        assert refused(scheme, sent, NOW + 301) == "stale"
        assert refused(scheme, replace(sent, headers=sent.headers[1:])) == "missing-header"


@pytest.mark.system
@pytest.mark.parametrize(
    "change",
    [
        lambda raw: b64(raw) + "=",
        lambda raw: b64(raw) + "\n",
        lambda raw: " " + b64(raw),
        lambda raw: b64(raw).rstrip("=") + "A==",
        lambda raw: raw.hex(),
        lambda raw: "",
        lambda raw: "\u212a",
        lambda raw: b64(raw[:-1]),
        lambda raw: b64(b"\0" + raw),
        lambda raw: b64(bytes(len(raw))),
        lambda raw: b64(b"\xff" * len(raw)),
    ],
)
@pytest.mark.parametrize("algorithm", ["rsa-sha256", "ecdsa-sha256", "ecdsa-raw-sha256", "ed25519"])
def test_a_misshapen_signature_is_refused(algorithm: str, change: Callable[[bytes], str]) -> None:
    scheme = made(algorithm)
    raw = base64.b64decode(scheme.sign(BODY, url="", now=NOW, delivery_id="")[0][1])
    assert refused(scheme, request(change(raw))) in {"mismatch", "malformed-header"}


def test_an_ecdsa_signature_has_one_form() -> None:
    der = P256.sign(BODY, ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert refused(made("ecdsa-raw-sha256"), request(b64(der))) == "mismatch"
    assert refused(made("ecdsa-sha256"), request(b64(raw))) == "mismatch"
    for pair in ((0, s), (r, 0), (0, 0)):
        assert refused(made("ecdsa-sha256"), request(b64(encode_dss_signature(*pair)))) == "mismatch"


def test_a_signature_of_another_digest_or_key_is_refused() -> None:
    scheme = made("rsa-sha256")
    other = RSA.sign(BODY, padding.PKCS1v15(), hashes.SHA512())
    assert refused(scheme, request(b64(other))) == "mismatch"
    theirs = ec.generate_private_key(ec.SECP256R1()).sign(BODY, ec.ECDSA(hashes.SHA256()))
    assert refused(made("ecdsa-sha256"), request(b64(theirs))) == "mismatch"


def test_a_timestamp_cannot_lend_its_digits_to_the_body() -> None:
    options = {"signed": "{body}{timestamp}", "timestamp_header": "X-Time"}
    scheme = made("ed25519", **options)
    [_, (_, signature)] = scheme.sign(b"amount=1000", url="", now=NOW, delivery_id="")
    scheme.verify(request(signature, b"amount=1000", ("X-Time", str(NOW))), NOW)
    moved = request(signature, b"amount=10", ("X-Time", f"00{NOW}"))
    assert refused(scheme, moved) == "malformed-timestamp"


def test_each_encoding_and_prefix_is_read_strictly() -> None:
    for encoding in ("base64", "base64url", "hex"):
        scheme = made("ed25519", encoding=encoding, prefix="sig=")
        [(_, signature)] = scheme.sign(BODY, url="", now=NOW, delivery_id="")
        scheme.verify(request(signature), NOW)
        assert refused(scheme, request(signature.removeprefix("sig="))) == "malformed-header"
        assert refused(scheme, request(signature.upper())) == "malformed-header"


def test_kick_signs_id_time_and_body() -> None:
    """docs.kick.com: `message-id.timestamp.body`, the time in ISO 8601, RSA with SHA-256 in base64."""
    scheme = made(
        header="Kick-Event-Signature",
        signed="{id}.{timestamp}.{body}",
        id_header="Kick-Event-Message-Id",
        timestamp_header="Kick-Event-Message-Timestamp",
        time_unit="iso",
    )
    text = b"01H-1.2027-01-15T08:00:00Z." + BODY
    signature = b64(RSA.sign(text, padding.PKCS1v15(), hashes.SHA256()))
    headers = [
        ("Kick-Event-Message-Id", "01H-1"),
        ("Kick-Event-Message-Timestamp", "2027-01-15T08:00:00Z"),
        ("Kick-Event-Signature", signature),
    ]
    sent = SignedRequest("POST", "", headers, BODY)
    verified = scheme.verify(sent, NOW)
    assert (verified.timestamp, verified.delivery_id) == (NOW, "01H-1")
    moved = [("Kick-Event-Message-Id", "01H-1.2027-01-15T08:00:00Z"), *headers[1:]]
    assert refused(scheme, replace(sent, headers=moved)) == "malformed-id"


NONCE = {
    "signed": "{timestamp}\n{header:X-Nonce}\n{body}\n",
    "timestamp_header": "X-Time",
    "time_unit": "ms",
}


def nonce_request(**changes: str) -> SignedRequest:
    """As WeChat Pay and Binance Pay sign: time, a nonce in a header, body, each with a line break."""
    text = f"{NOW}000\nn-1\n".encode() + BODY + b"\n"
    named = {
        "X-Time": f"{NOW}000",
        "X-Nonce": "n-1",
        **{name.replace("_", "-"): text for name, text in changes.items()},
    }
    return request(b64(RSA.sign(text, padding.PKCS1v15(), hashes.SHA256())), BODY, *named.items())


def test_a_nonce_in_a_header_is_signed_with_a_key() -> None:
    assert made(**NONCE).verify(nonce_request(), NOW).timestamp == NOW


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        (nonce_request(X_Nonce="n-2"), "mismatch"),
        (nonce_request(X_Nonce=""), "mismatch"),
        (nonce_request(X_Nonce="n-1\n{}"), "malformed-id"),
        (nonce_request(X_Nonce="\ud800"), "mismatch"),
        (nonce_request(x_nonce="n-1"), "repeated-header"),
        (nonce_request(X_Time=str(NOW)), "stale"),
        (nonce_request(X_Time=f"{NOW}001"), "mismatch"),
        (nonce_request(X_Time=f"{NOW}000\nn-1"), "malformed-timestamp"),
        (nonce_request(x_time=f"{NOW}000"), "repeated-header"),
        (replace(nonce_request(), headers=nonce_request().headers[:1]), "missing-header"),
        (replace(nonce_request(), headers=nonce_request().headers[:-1]), "missing-header"),
        (replace(nonce_request(), body=BODY + b"\n"), "mismatch"),
        (replace(nonce_request(), headers=[*nonce_request().headers, ("X-SIGNATURE-SHA256", "")]), "repeated-header"),
    ],
    ids=range(13),
)
def test_a_nonce_that_a_key_signed_is_read_strictly(changed: SignedRequest, wanted: str) -> None:
    assert refused(made(**NONCE), changed) == wanted


def test_a_key_signs_the_url_and_several_signatures() -> None:
    scheme = made("ed25519", form="t={timestamp},v1={signature}", signed="{method} {url} {timestamp} {body}")
    sent = scheme.sign_request(SignedRequest("POST", "https://x/y?a=1", [], BODY), now=NOW, delivery_id="")
    [(name, value)] = sent.headers
    both = replace(sent, headers=[(name, value.replace(",v1=", ",v1=AAAA,v1=junk!,v1="))])
    for good in (sent, both):
        assert scheme.verify(good, NOW).timestamp == NOW
    many = replace(sent, headers=[(name, value.replace(",v1=", f"{',v1=AAAA' * 9},v1="))])
    for bad in (
        many,
        replace(sent, url="https://x/y?a=2"),
        replace(sent, method="PUT"),
        replace(sent, url="https://x"),
    ):
        assert refused(scheme, bad) == "mismatch"
    assert refused(scheme, replace(sent, url="")) == "malformed-url"
    assert (scheme.covers_url, scheme.covers_body, scheme.covers_time) == (True, True, True)


def test_a_key_may_sign_a_sorted_form_with_its_signature() -> None:
    """As Alipay signs: `sign` is a field of the form, over all the other fields."""
    scheme = made(header="", signature="field:sign", signed="{form:=&}")
    form = SignedRequest("POST", "", [("Content-Type", "application/x-www-form-urlencoded")], b"b=2&a=1")
    sent = scheme.sign_request(form, now=NOW, delivery_id="")
    scheme.verify(sent, NOW)
    for body in (sent.body.replace(b"a=1", b"a=3"), sent.body + b"&c=1", sent.body + b"&sign=x", b"a=1&b=2"):
        assert refused(scheme, replace(sent, body=body)) in {"mismatch", "malformed-body"}


@pytest.mark.parametrize(
    "options",
    [
        {"algorithm": "rsa-md5"},
        {"algorithm": ""},
        {"algorithm": "ed25519"},
        {"encoding": ["base64"]},
        {"encoding": "base32"},
        {"header": ""},
        {"header": "X Sig"},
        {"signed": "{timestamp}{body}"},
        {"signed": "{body}{body}"},
        {"signed": "nothing"},
        {"signed": "{body"},
        {"signed": "{body}{secret}"},
        {"signed": "{id}{body}"},
        {"signed": "{body}{unknown}"},
        {"signature": "field:sign"},
        {"header": "", "signature": "field:sign"},
        {"time_unit": "us"},
        {"timestamp_header": "X-Time"},
        {"timestamp_header": "x-signature-sha256", "signed": "{timestamp}{body}"},
        {"prefix": "é"},
        {"key": public_pem(ec.derive_private_key(1, ec.SECP256R1()))},
        {"key": "bm90IGEga2V5"},
        {"key": private_pem(P256)},
        {"key": b64(bytes(32))},
        {"private_key": private_pem(P256)},
        {"private_key": "junk"},
    ],
)
def test_a_senseless_setup_is_an_error_at_construction(options: dict[str, Any]) -> None:
    given = {"key": public_pem(RSA), "private_key": private_pem(RSA), "algorithm": "rsa-sha256", **options}
    with pytest.raises(ConfigError):
        made(**given)


def test_a_weak_key_is_refused_with_the_bits_it_needs() -> None:
    weak = public_pem(SMALL_RSA)
    with pytest.raises(ConfigError, match="an RSA key has 2048 to"):
        made(key=weak)


@pytest.mark.parametrize(
    ("option", "right", "wrong"),
    [
        ("algorithm", "rsa-sha512", "rsa-sha256"),
        ("algorithm", "rsa-pss-sha256", "rsa-sha256"),
        ("algorithm", "ecdsa-raw-sha256", "ecdsa-sha256"),
        ("encoding", "hex", "base64"),
        ("signed", "{url}{body}", "body"),
    ],
)
def test_a_diagnosis_names_the_option_that_verifies(option: str, right: str, wrong: str) -> None:
    given = {"algorithm": "rsa-sha256", option: right}
    [(_, signature)] = made(**given).sign(BODY, url="https://x", now=NOW, delivery_id="")
    scheme = made(**{**given, option: wrong})
    found = diagnose(scheme, [""], request(signature), NOW)
    assert any(f'the request verifies with {option}="{right}"' in finding.says for finding in found.findings)
