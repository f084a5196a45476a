"""Schemes in which the provider holds a private key: SendGrid (ECDSA P-256) and Discord (Ed25519).

Both sign the timestamp followed by the body. The secrets are public keys. To sign, as the sandbox and a webhook replay
do, also give the private key.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from activities.signatures.ed25519 import public_key
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    Scheme,
    SignatureError,
    SignedRequest,
    Verified,
    decode_base64,
    decode_hex,
)

OTHER_HALF: Final = "is the other half of none of the public keys"

Sign = Callable[[bytes], bytes]


class PublicKeyScheme(Scheme):
    """A signature over timestamp and body.

    private_key: only for signing, in the encoding of the public keys; it must belong to one of them.
    """

    covers_time = True
    takes_private_key = True
    signing_advice = "give --private-key-env VAR or --private-key-file FILE as well"
    sample_secret = ""
    timestamp_header = ""

    def __init__(self, secrets: Sequence[str], *, private_key: str = "", tolerance: int = DEFAULT_TOLERANCE) -> None:
        super().__init__(secrets, tolerance=tolerance)
        self._sign = self._read_private(private_key) if private_key else None

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the signature against every key."""
        signature = self._decode(request.one(self.header))
        timestamp = request.one(self.timestamp_header)
        moment = self._in_time(timestamp, now)
        for index in range(self._count):
            if self._matches(index, signature, timestamp.encode() + request.body):
                return Verified(index, moment)
        raise SignatureError("mismatch", "the signature is by none of our keys")

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return both headers; raises `ConfigError` without a private key."""
        if self._sign is None:
            raise ConfigError("a public key cannot sign: give private_key")
        timestamp = str(int(now))
        signature = self._sign(timestamp.encode() + body)
        return [(self.timestamp_header, timestamp), (self.header, self._encode(signature))]

    _count = 0

    def _read_private(self, text: str) -> Sign:
        raise NotImplementedError

    def _decode(self, text: str) -> bytes:
        raise NotImplementedError

    def _matches(self, index: int, signature: bytes, signed: bytes) -> bool:
        raise NotImplementedError

    def _encode(self, signature: bytes) -> str:
        raise NotImplementedError


class SendGrid(PublicKeyScheme):
    """SendGrid's signed event webhook: ECDSA over P-256 with SHA-256, DER in base64; keys are base64 of DER.

    A reader of a valid signature (r, s) can write (r, n - s), which is also valid: never deduplicate by its text.
    """

    name = "sendgrid"
    fixed_length = False
    header = "X-Twilio-Email-Event-Webhook-Signature"
    timestamp_header = "X-Twilio-Email-Event-Webhook-Timestamp"

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = [_read_p256(secret) for secret in secrets]
        self._count = len(self._keys)

    def _decode(self, text: str) -> bytes:
        try:
            return decode_base64(text)
        except ValueError as error:
            raise SignatureError("malformed-header", str(error)) from error

    def _matches(self, index: int, signature: bytes, signed: bytes) -> bool:
        try:
            self._keys[index].verify(signature, signed, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    def _encode(self, signature: bytes) -> str:
        return base64.b64encode(signature).decode()

    def _read_private(self, text: str) -> Sign:
        try:
            key = load_der_private_key(decode_base64(text), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError("private_key is not base64 of DER") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() not in self._keys:
            raise ConfigError(f"private_key {OTHER_HALF}")
        return lambda signed: key.sign(signed, ec.ECDSA(SHA256()))


class Discord(PublicKeyScheme):
    """Discord: Ed25519 in lower-case hex; keys are 32 bytes in hex."""

    name = "discord"
    header = "X-Signature-Ed25519"
    timestamp_header = "X-Signature-Timestamp"

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = [_read_ed25519(secret) for secret in secrets]
        self._count = len(self._keys)

    def _decode(self, text: str) -> bytes:
        try:
            return decode_hex(text)
        except ValueError as error:
            raise SignatureError("malformed-header", str(error)) from error

    def _matches(self, index: int, signature: bytes, signed: bytes) -> bool:
        try:
            self._keys[index].verify(signature, signed)
        except InvalidSignature:
            return False
        return True

    def _encode(self, signature: bytes) -> str:
        return signature.hex()

    def _read_private(self, text: str) -> Sign:
        try:
            key = Ed25519PrivateKey.from_private_bytes(decode_hex(text))
        except ValueError as error:
            raise ConfigError("private_key is not 32 bytes in lower-case hex") from error
        if key.public_key() not in self._keys:
            raise ConfigError(f"private_key {OTHER_HALF}")
        return key.sign


def _read_ed25519(secret: str) -> Ed25519PublicKey:
    try:
        raw = decode_hex(secret)
    except ValueError as error:
        raise ConfigError("a key is not 32 bytes in lower-case hex") from error
    return public_key(raw)


def _read_p256(secret: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(decode_base64(secret))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError("a key is not base64 of a DER public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("a key is not on the curve P-256")
    return key
