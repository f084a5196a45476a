"""Encodings: how an HMAC is written as text, and how a provider shows the key of an HMAC."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from activities.signatures.scheme import PREFIXES, ConfigError, decode_base64, hmac_key

ENCODINGS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "hex": lambda raw: raw.hex(),
    "hex-upper": lambda raw: raw.hex().upper(),
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "base64-of-hex": lambda raw: base64.b64encode(raw.hex().encode()).decode(),
    "base64url": lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
    "base64-unpadded": lambda raw: base64.b64encode(raw).decode().rstrip("="),
    "base64url-padded": lambda raw: base64.urlsafe_b64encode(raw).decode(),
}
"""How the bytes of a signature or a digest are written. Each encoding has one spelling of the same bytes.

A diagnosis tries them in this order: without padding, base64url is the more common one, and often both fit.
"""

SHORTEST_KEY: Final = 8
"""Bytes of a key that comes in an encoding."""

ALGORITHMS: Final = ("sha1", "sha256", "sha384", "sha512")


def _from_base64url(text: str) -> bytes:
    """Decode base64url, padded or not; raises ValueError."""
    bare = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    if "+" in text or "/" in text:
        raise ValueError("not base64url")
    return decode_base64(bare + "=" * (-len(bare) % 4))


def _from_hex(text: str) -> bytes:
    if not text.isascii() or not text.isalnum():  # `fromhex` skips blanks
        raise ValueError("not hexadecimal")
    return bytes.fromhex(text)


KEYS: Final[Mapping[str, Callable[[str], bytes]]] = {
    "text": lambda secret: plain(secret),
    "base64": decode_base64,
    "base64url": _from_base64url,
    "hex": _from_hex,
    "sha1": lambda secret: hashlib.sha1(plain(secret)).digest(),  # noqa: S324 - what Braintree does
    "sha256": lambda secret: hashlib.sha256(plain(secret)).digest(),
}
"""How the key of an HMAC comes from the secret: the secret's text, what it encodes, or the digest of its text."""


def read_key(secret: str, kind: str) -> bytes:
    """Return the key of the secret, without a prefix such as `whsec_` if it is encoded; raises `ConfigError`."""
    encoded, is_encoded = secret, kind in {"base64", "base64url", "hex"}
    if is_encoded:
        encoded = next((secret.removeprefix(prefix) for prefix in PREFIXES if secret.startswith(prefix)), secret)
    try:
        key = KEYS[kind](encoded)
    except ValueError as error:
        raise ConfigError(f"a secret is not {kind}: copy it unchanged, or set key to what it is") from error
    if is_encoded and len(key) < SHORTEST_KEY:
        raise ConfigError(f"a secret holds fewer than {SHORTEST_KEY} bytes")
    return hmac_key(key)


def plain(text: str) -> bytes:
    """Encode as UTF-8. A lone surrogate has no encoding, but `verify` must raise nothing but `SignatureError`."""
    return text.encode("utf-8", "surrogatepass")
