"""Public and private keys as text: PEM, a certificate, base64 of DER. Weak and broken keys are refused.

In an environment variable the lines of a PEM text may be joined by a backslash and an n, as platforms often require.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any, ClassVar, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from activities.signatures import ed25519
from activities.signatures.scheme import ConfigError, Scheme, decode_base64, decode_hex

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey

LEAST_RSA_BITS: Final = 2048
MOST_RSA_BITS: Final = 8192
"""A longer modulus only makes each verification slower."""

MOST_EXPONENT: Final = 2**32
CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

READING_FAILED: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What the library raises for a key or a certificate that it cannot read. `binascii.Error` is a ValueError."""


NO_PRIVATE_KEY: Final = "a public key cannot sign: give private_key"


class KeyPairScheme(Scheme):
    """A scheme that the provider signs with a private key. To sign as it does, the constructor takes `private_key`."""

    takes_private_key: ClassVar[bool] = True
    signing_advice: ClassVar[str] = "give --private-key-env VAR or --private-key-file FILE as well"
    sample_secret: ClassVar[str] = ""


def paired(private_key: Any, public_keys: Collection[object]) -> Any:
    """Return the private key if it belongs to one of the public keys; raises `ConfigError`."""
    if private_key.public_key() not in public_keys:
        raise ConfigError("private_key is the other half of none of the public keys")
    return private_key


def read_public_key(text: str) -> PublicKey:
    """Return the public key, or that of the certificate; raises `ConfigError`.

    A key of Ed25519 may be its 32 bytes, in base64 or lower-case hex.
    """
    raw = _bare_key(text)
    return ed25519.public_key(raw) if raw else read_marked_key(text)


def read_marked_key(text: str) -> PublicKey:
    """Return the public key of a text that can be nothing else: PEM, a certificate, base64 of DER.

    Raises `ConfigError`.
    """
    pem = _pem(text)
    try:
        if "BEGIN CERTIFICATE" in pem:
            return checked_key(x509.load_pem_x509_certificate(pem.encode()).public_key())
        return checked_key(load_pem_public_key(pem.encode()) if pem else load_der_public_key(decode_base64(text)))
    except ConfigError:
        raise
    except READING_FAILED as error:
        raise ConfigError("a key is not a public key in PEM, nor base64 of DER") from error


def load_private_key(text: str) -> PrivateKey:
    """Return the private key, which has no password; raises `ConfigError`."""
    pem = _pem(text)
    try:
        key = load_pem_private_key(pem.encode(), None) if pem else load_der_private_key(decode_base64(text), None)
    except READING_FAILED as error:
        raise ConfigError("private_key is not a private key without a password, in PEM or base64 of DER") from error
    if not isinstance(key, PrivateKey):
        raise ConfigError("private_key is not an RSA, EC or Ed25519 key")
    return key


def checked_key(key: object) -> PublicKey:
    """Return the key if it is of a known kind and not weak; raises `ConfigError`."""
    match key:
        case rsa.RSAPublicKey():
            exponent = key.public_numbers().e
            if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
                raise ConfigError(f"an RSA key has {LEAST_RSA_BITS} to {MOST_RSA_BITS} bits")
            if exponent % 2 == 0 or not 3 <= exponent < MOST_EXPONENT:
                raise ConfigError("an RSA key has an odd exponent from 3 on, of at most 32 bits")
            return key
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, CURVES):
            return key
        case Ed25519PublicKey():
            return ed25519.public_key(key.public_bytes_raw())
    raise ConfigError("a key is not an RSA key, nor on one of the curves P-256, P-384, P-521 and Ed25519")


def _bare_key(text: str) -> bytes:
    """Return the bytes if the text has as many as a key of Ed25519, else b""."""
    for decode in (decode_base64, decode_hex):
        with contextlib.suppress(ValueError):
            if len(raw := decode(text)) == ed25519.KEY_BYTES:
                return raw
    return b""


def _pem(text: str) -> str:
    """Return the PEM text with its line breaks, or "" if the text is not PEM."""
    return text.replace("\\n", "\n") if "-----BEGIN" in text else ""
