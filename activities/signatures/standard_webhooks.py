"""Standard Webhooks (standardwebhooks.com, specification v1), and Svix, the same scheme with other header names.

The signed text is `id.timestamp.body`. The signature header is a list of `version,signature`, separated by spaces. A
`whsec_` secret is the base64 of 24 to 64 bytes for HMAC-SHA256 (`v1`). A `whpk_` secret is an Ed25519 public key, and
`whsk_` the private key (`v1a`). A key verifies signatures of its own version only.
"""

from __future__ import annotations

import base64
import copy
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from activities.signatures.ed25519 import KEY_BYTES, public_key
from activities.signatures.scheme import (
    MOST_SIGNATURES,
    ConfigError,
    Scheme,
    SignatureError,
    SignedRequest,
    Verified,
    check_id,
    decode_base64,
    first_match,
    hmac_key,
)

SHORTEST_WHSEC_BYTES: Final = 24
LONGEST_WHSEC_BYTES: Final = 64
LONGEST_LIST: Final = 16 * 1024
SIGNATURE_BYTES: Final = 64
MOST_TRIED: Final = 8
"""`v1a` signatures that are checked per key: each check reads the whole body. Partners send two while rotating keys."""


@dataclass(frozen=True)
class Key:
    """A secret: its version, how to check signatures with it, and how to make a signature, if it can sign."""

    version: str
    matches: Callable[[bytes, Sequence[str]], bool]
    sign: Callable[[bytes], str] | None


class StandardWebhooks(Scheme):
    """Standard Webhooks v1 and v1a. The signature covers id, timestamp and body."""

    name = "standard-webhooks"
    prefix: ClassVar[str] = "webhook-"
    covers_time = True
    header = "webhook-signature"
    signing_advice = "change --id, or give the whsk_ secret in place of a whpk_ one"
    sample_secret = "whsec_bm90LWEtc2VjcmV0LW5vdC1hLXNlY3JldC1u"  # noqa: S105

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = [_read_key(secret) for secret in secrets]

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check every listed signature of a known version against every key of that version."""
        delivery_id = check_id(request.one(f"{self.prefix}id"))
        timestamp = request.one(f"{self.prefix}timestamp")
        listed = request.one(self.header)
        moment = self._in_time(timestamp, now)
        signed = _signed(delivery_id, timestamp, request.body)
        entries = [entry.partition(",") for entry in listed[:LONGEST_LIST].split(" ")[:MOST_SIGNATURES]]
        for index, key in enumerate(self._keys):
            signatures = [signature for version, _, signature in entries if version == key.version]
            if signatures and key.matches(signed, signatures):
                return Verified(index, moment, delivery_id)
        raise SignatureError("mismatch", "no listed signature is by one of our keys")

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the three headers, signed with the first secret.

        Raises `ConfigError` for a `whpk_` key, which cannot sign, and for an id that `verify` would reject.
        """
        key, timestamp = self._keys[0], str(int(now))
        if key.sign is None:
            raise ConfigError("a public key cannot sign: give the whsk_ secret")
        try:
            signature = key.sign(_signed(check_id(delivery_id), timestamp, body))
        except SignatureError as error:
            raise ConfigError(str(error)) from error
        return [
            (f"{self.prefix}id", delivery_id),
            (f"{self.prefix}timestamp", timestamp),
            (self.header, f"{key.version},{signature}"),
        ]

    def with_key(self, key: bytes) -> Self:
        """Return the same scheme with `key` as its only key: an HMAC key of any length."""
        other = copy.copy(self)
        other._keys = [_hmac(key)]
        return other


class Svix(StandardWebhooks):
    """Svix: Standard Webhooks under `svix-` headers."""

    name = "svix"
    prefix = "svix-"
    header = "svix-signature"


def _signed(delivery_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{delivery_id}.{timestamp}.".encode() + body


def _read_key(secret: str) -> Key:
    kind, underscore, encoded = secret.partition("_")
    if not underscore or kind not in {"whsec", "whpk", "whsk"}:
        kind, encoded = "whsec", secret
    try:
        key = decode_base64(encoded)
    except ValueError as error:
        raise ConfigError(f"a secret is {error}") from error
    if kind == "whsec":
        return _hmac_key(key)
    if kind == "whpk":
        return Key("v1a", _ed25519_matches(public_key(key)), None)
    return _private_key(key)


def _hmac_key(key: bytes) -> Key:
    if not SHORTEST_WHSEC_BYTES <= len(key) <= LONGEST_WHSEC_BYTES:
        raise ConfigError(f"a whsec_ secret has {SHORTEST_WHSEC_BYTES} to {LONGEST_WHSEC_BYTES} bytes")
    return _hmac(hmac_key(key))


def _hmac(key: bytes) -> Key:
    def sign(signed: bytes) -> str:
        return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()

    return Key("v1", lambda signed, signatures: first_match([sign(signed)], signatures) is not None, sign)


def _private_key(key: bytes) -> Key:
    """Read a seed, or a seed followed by its public key; raises `ConfigError` if the two do not belong together."""
    if len(key) not in {KEY_BYTES, 2 * KEY_BYTES}:
        raise ConfigError("a whsk_ secret has 32 or 64 bytes")
    private = Ed25519PrivateKey.from_private_bytes(key[:KEY_BYTES])
    public = private.public_key()
    if key[KEY_BYTES:] not in {b"", public.public_bytes_raw()}:
        raise ConfigError("the two halves of a whsk_ secret do not belong together")

    def sign(signed: bytes) -> str:
        return base64.b64encode(private.sign(signed)).decode()

    return Key("v1a", _ed25519_matches(public), sign)


def _ed25519_matches(key: Ed25519PublicKey) -> Callable[[bytes, Sequence[str]], bool]:
    def matches(signed: bytes, signatures: Sequence[str]) -> bool:
        decoded = [raw for raw in map(_decoded, signatures) if len(raw) == SIGNATURE_BYTES]
        return any(_is_by(key, raw, signed) for raw in decoded[:MOST_TRIED])

    return matches


def _decoded(signature: str) -> bytes:
    try:
        return decode_base64(signature)
    except ValueError:
        return b""


def _is_by(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True
