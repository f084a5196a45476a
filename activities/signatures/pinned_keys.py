"""Signatures by a private key of the provider's, checked with the public key that it shows: RSA, ECDSA and Ed25519.

What is signed is the body, or a template of timestamp and body. The secrets are public keys: PEM, a certificate,
or base64 of DER. To sign, as the sandbox and a webhook replay do, also give the private key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from activities.signatures.asymmetric_keys import (
    NO_PRIVATE_KEY,
    KeyPairScheme,
    load_private_key,
    paired,
    read_public_key,
)
from activities.signatures.jose_tokens import decode_base64url, encode_base64url
from activities.signatures.places import HEADER_NAME
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    SignatureError,
    SignedRequest,
    Verified,
    check_choice,
    decode_base64,
    decode_hex,
    lower,
)

PLACE: Final = re.compile(r"\{([^{}]*)\}")

SIGNATURE_ENCODINGS: Final[Mapping[str, tuple[Callable[[str], bytes], Callable[[bytes], str]]]] = {
    "base64": (decode_base64, lambda raw: base64.b64encode(raw).decode()),
    "base64url": (decode_base64url, encode_base64url),
    "hex": (decode_hex, bytes.hex),
}
"""How a signature is written: what decodes and what encodes it."""


@dataclass(frozen=True)
class Algorithm:
    """How a signature is made and checked. kind: the class of the public keys.

    check: takes key, signature and text; raises `InvalidSignature` or ValueError. make: takes private key and text.
    """

    kind: type[Any]
    check: Callable[[Any, bytes, bytes], None]
    make: Callable[[Any, bytes], bytes]

    def matches(self, key: Any, signature: bytes, text: bytes) -> bool:
        """Whether the signature of the text is by the private half of the key."""
        try:
            self.check(key, signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


def _rsa(digest: hashes.HashAlgorithm) -> Algorithm:
    pad = padding.PKCS1v15()
    return Algorithm(
        rsa.RSAPublicKey,
        lambda key, signature, text: key.verify(signature, text, pad, digest),
        lambda key, text: key.sign(text, pad, digest),
    )


def _rsa_pss(digest: hashes.HashAlgorithm) -> Algorithm:
    mask = padding.MGF1(digest)
    any_salt, own_salt = padding.PSS(mask, padding.PSS.AUTO), padding.PSS(mask, digest.digest_size)
    return Algorithm(
        rsa.RSAPublicKey,
        lambda key, signature, text: key.verify(signature, text, any_salt, digest),
        lambda key, text: key.sign(text, own_salt, digest),
    )


def _ecdsa(digest: hashes.HashAlgorithm) -> Algorithm:
    return Algorithm(
        ec.EllipticCurvePublicKey,
        lambda key, signature, text: key.verify(signature, text, ec.ECDSA(digest)),
        lambda key, text: key.sign(text, ec.ECDSA(digest)),
    )


def _ecdsa_raw(digest: hashes.HashAlgorithm) -> Algorithm:
    return Algorithm(
        ec.EllipticCurvePublicKey,
        lambda key, signature, text: key.verify(_to_der(signature, key.key_size), text, ec.ECDSA(digest)),
        lambda key, text: _to_raw(key.sign(text, ec.ECDSA(digest)), key.key_size),
    )


KEY_ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    f"{name}-sha{digest.digest_size * 8}": made(digest)
    for name, made in {"rsa": _rsa, "rsa-pss": _rsa_pss, "ecdsa": _ecdsa, "ecdsa-raw": _ecdsa_raw}.items()
    for digest in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
} | {
    "ed25519": Algorithm(
        Ed25519PublicKey,
        lambda key, signature, text: key.verify(signature, text),
        lambda key, text: bytes(key.sign(text)),
    )
}
"""The algorithms. An `ecdsa` signature is DER; an `ecdsa-raw` one is its two numbers, one after the other."""


class PinnedKey(KeyPairScheme):
    """A signature that a pinned public key verifies: Wise, Starling, Telnyx, Circle and others.

    algorithm: one of `KEY_ALGORITHMS`, such as rsa-sha256. header: the header that holds the signature. prefix: what
    precedes it. encoding: base64, base64url (without padding) or hex. signed: `body`, or a template of `{timestamp}`
    and `{body}`. timestamp_header: the header of the timestamp, in unix seconds. private_key: only for signing; it must
    belong to one of the public keys. Never deduplicate by an ECDSA signature: its reader can write another valid one.
    """

    name = "public-key"
    fixed_length = False
    options: ClassVar[tuple[str, ...]] = ("algorithm", "header", "prefix", "encoding", "signed", "timestamp_header")

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        algorithm: str = "",
        header: str = "",
        prefix: str = "",
        encoding: str = "base64",
        signed: str = "body",
        timestamp_header: str = "",
        private_key: str = "",
        tolerance: int = DEFAULT_TOLERANCE,
    ) -> None:
        check_choice("algorithm", algorithm, KEY_ALGORITHMS)
        check_choice("encoding", encoding, SIGNATURE_ENCODINGS)
        self._algorithm = KEY_ALGORITHMS[algorithm]
        self.header, self._prefix = header, _checked_text("prefix", prefix)
        self._timestamp_header = timestamp_header
        self._decode, self._encode = SIGNATURE_ENCODINGS[encoding]
        self._template = PLACE.split(_checked_text("signed", "{body}" if signed == "body" else signed))
        self._check_names()
        self.covers_time = bool(timestamp_header)
        super().__init__(secrets, tolerance=tolerance)
        self._private = paired(load_private_key(private_key), self._keys) if private_key else None

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the signature against every key."""
        value = request.one(self.header)
        if not value.startswith(self._prefix):
            raise SignatureError("malformed-header", f"it does not begin with `{self._prefix}`")
        try:
            signature = self._decode(value[len(self._prefix) :])
        except ValueError as error:
            raise SignatureError("malformed-header", str(error)) from error
        timestamp, moment = "", None
        if self._timestamp_header:
            timestamp = request.one(self._timestamp_header)
            moment = self._in_time(timestamp, now)
            # `10` and `01` beside a body that may begin or end with a digit would be signed alike.
            if timestamp.startswith("0"):
                raise SignatureError("malformed-timestamp", "it begins with 0")
        text = self._signed(timestamp, request.body)
        for index, key in enumerate(self._keys):
            if self._algorithm.matches(key, signature, text):
                return Verified(index, moment)
        raise SignatureError("mismatch", "the signature is by none of our keys")

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the headers; raises `ConfigError` without a private key."""
        if self._private is None:
            raise ConfigError(NO_PRIVATE_KEY)
        timestamp = str(int(now))
        signature = self._algorithm.make(self._private, self._signed(timestamp, body))
        headers = [(self.header, self._prefix + self._encode(signature))]
        return [(self._timestamp_header, timestamp), *headers] if self._timestamp_header else headers

    def _check_names(self) -> None:
        places = self._template[1::2]
        if sorted(places) != (["body", "timestamp"] if self._timestamp_header else ["body"]):
            raise ConfigError("signed has {body} once, and {timestamp} once if there is a timestamp_header")
        if any("{" in text or "}" in text for text in self._template[::2]):
            raise ConfigError("signed has a brace without its other half")
        names = [self.header, *([self._timestamp_header] if self._timestamp_header else [])]
        if not all(isinstance(name, str) and HEADER_NAME.fullmatch(name) for name in names):
            raise ConfigError("header is missing or invalid: name the header that holds the signature")
        if len(set(map(lower, names))) < len(names):
            raise ConfigError("timestamp_header is another header than the signature's")

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = [read_public_key(secret) for secret in secrets]
        if not all(isinstance(key, self._algorithm.kind) for key in self._keys):
            raise ConfigError("a key is not one for the algorithm")

    def _signed(self, timestamp: str, body: bytes) -> bytes:
        values = {"timestamp": timestamp.encode(), "body": body}
        parts = (values[part] if place % 2 else part.encode() for place, part in enumerate(self._template))
        return b"".join(parts)


def _to_der(signature: bytes, bits: int) -> bytes:
    size = (bits + 7) // 8
    if len(signature) != 2 * size:
        raise ValueError("not two numbers of the curve's size")
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))


def _to_raw(signature: bytes, bits: int) -> bytes:
    return b"".join(number.to_bytes((bits + 7) // 8, "big") for number in decode_dss_signature(signature))


def _checked_text(name: str, text: str) -> str:
    if not isinstance(text, str) or re.fullmatch(r"[\x20-\x7e\n]*", text) is None:
        raise ConfigError(f"{name} has printable ASCII characters")
    return text
