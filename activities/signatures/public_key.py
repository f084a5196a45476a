"""Schemes in which the provider holds a private key: SendGrid (ECDSA P-256) and Discord (Ed25519).

Both sign the timestamp followed by the body. The secrets are public keys. To sign, as the sandbox and a webhook replay
do, also give the private key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from activities.signatures.asymmetric_keys import NO_PRIVATE_KEY, KeyPairScheme, paired
from activities.signatures.ed25519 import public_key
from activities.signatures.pinned_keys import KEY_ALGORITHMS, SIGNATURE_ENCODINGS
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    SignatureError,
    SignedRequest,
    Verified,
    decode_base64,
    decode_hex,
)


class PublicKeyScheme(KeyPairScheme):
    """A signature over timestamp and body.

    private_key: only for signing, in the encoding of the public keys; it must belong to one of them.

    algorithm, encoding: of the signature, as `PinnedKey` has them. read_public, read_private: read a key as the
    provider shows it; raise `ConfigError`.
    """

    covers_time = True
    timestamp_header = ""
    algorithm: ClassVar[str] = ""
    encoding: ClassVar[str] = ""
    read_public: ClassVar[Callable[[str], Any]]
    read_private: ClassVar[Callable[[str], Any]]

    def __init__(self, secrets: Sequence[str], *, private_key: str = "", tolerance: int = DEFAULT_TOLERANCE) -> None:
        self._algorithm = KEY_ALGORITHMS[self.algorithm]
        self._decode, self._encode = SIGNATURE_ENCODINGS[self.encoding]
        super().__init__(secrets, tolerance=tolerance)
        self._private = paired(type(self).read_private(private_key), self._keys) if private_key else None

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = [type(self).read_public(secret) for secret in secrets]

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the signature against every key."""
        try:
            signature = self._decode(request.one(self.header))
        except ValueError as error:
            raise SignatureError("malformed-header", str(error)) from error
        timestamp = request.one(self.timestamp_header)
        moment = self._in_time(timestamp, now)
        for index, key in enumerate(self._keys):
            if self._algorithm.matches(key, signature, timestamp.encode() + request.body):
                return Verified(index, moment)
        raise SignatureError("mismatch", "the signature is by none of our keys")

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return both headers; raises `ConfigError` without a private key."""
        if self._private is None:
            raise ConfigError(NO_PRIVATE_KEY)
        timestamp = str(int(now))
        signature = self._algorithm.make(self._private, timestamp.encode() + body)
        return [(self.timestamp_header, timestamp), (self.header, self._encode(signature))]


def _read_ed25519(secret: str) -> Ed25519PublicKey:
    try:
        raw = decode_hex(secret)
    except ValueError as error:
        raise ConfigError("a key is not 32 bytes in lower-case hex") from error
    return public_key(raw)


def _read_private_ed25519(text: str) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(decode_hex(text))
    except ValueError as error:
        raise ConfigError("private_key is not 32 bytes in lower-case hex") from error


def _read_p256(secret: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(decode_base64(secret))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError("a key is not base64 of a DER public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("a key is not on the curve P-256")
    return key


def _read_private_p256(text: str) -> Any:
    try:
        return load_der_private_key(decode_base64(text), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError("private_key is not base64 of DER") from error


class SendGrid(PublicKeyScheme):
    """SendGrid's signed event webhook: ECDSA over P-256 with SHA-256, DER in base64; keys are base64 of DER.

    A reader of a valid signature (r, s) can write (r, n - s), which is also valid: never deduplicate by its text.
    """

    name = "sendgrid"
    fixed_length = False
    header = "X-Twilio-Email-Event-Webhook-Signature"
    timestamp_header = "X-Twilio-Email-Event-Webhook-Timestamp"
    algorithm = "ecdsa-sha256"
    encoding = "base64"
    read_public = _read_p256
    read_private = _read_private_p256


class Discord(PublicKeyScheme):
    """Discord: Ed25519 in lower-case hex; keys are 32 bytes in hex."""

    name = "discord"
    header = "X-Signature-Ed25519"
    timestamp_header = "X-Signature-Timestamp"
    algorithm = "ed25519"
    encoding = "hex"
    read_public = _read_ed25519
    read_private = _read_private_ed25519
