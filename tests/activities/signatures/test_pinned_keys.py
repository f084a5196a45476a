"""Signatures by a private key: every algorithm, and what must not pass for a signature."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from activities.signatures import SCHEMES, ConfigError, Scheme, SignatureError, SignedRequest
from activities.signatures.pinned_keys import KEY_ALGORITHMS
from tests.parts.setups import NOW, private_pem, public_pem

BODY = b'{"event": "transfers#state-change"}'
P256 = ec.derive_private_key(4242, ec.SECP256R1())
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def private_for(algorithm: str) -> Any:
    return rsa_key() if algorithm.startswith("rsa") else P256 if algorithm.startswith("ecdsa") else ED25519


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
    signature = rsa_key().sign(BODY, padding.PKCS1v15(), hashes.SHA256())
    made().verify(request(b64(signature)), NOW)


@pytest.mark.parametrize("salt", [0, 32, padding.PSS.MAX_LENGTH])
def test_a_pss_signature_may_have_any_salt(salt: int) -> None:
    signature = rsa_key().sign(BODY, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
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
    other = rsa_key().sign(BODY, padding.PKCS1v15(), hashes.SHA512())
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
        {"signed": "{body}{url}"},
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
    given = {"key": public_pem(rsa_key()), "private_key": private_pem(rsa_key()), "algorithm": "rsa-sha256", **options}
    with pytest.raises(ConfigError):
        made(**given)
