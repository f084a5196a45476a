"""Keys for JSON Web Signatures: the algorithms, a JSON Web Key (RFC 7517), a key set, a secret.

A key is read for a single algorithm. So a token cannot choose how its signature is verified, and a public key never
becomes the secret of an HMAC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt
from jwt.algorithms import Algorithm

from activities import strict_json
from activities.signatures.asymmetric_keys import (
    READING_FAILED,
    PublicKey,
    checked_key,
    read_marked_key,
    read_public_key,
)
from activities.signatures.scheme import ConfigError, hmac_key

LIBRARY_NAMES: Final = {
    **{f"{kind}{bits}": f"{kind}{bits}" for kind in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)},
    "EdDSA": "EdDSA",
    "Ed25519": "EdDSA",
}
"""The algorithms (RFC 7518, 8037 and 9864), each with the name by which the library knows it."""

MOST_KEYS: Final = 100
"""Maximum keys of a key set. Providers have about five."""

LONGEST_MEMBER: Final = 2000
"""Maximum characters of a number in a JSON Web Key; 8192 bits have 1366."""


@dataclass(frozen=True)
class JoseKey:
    """A key to verify with. kid: its id in its set, or "" for a key without one."""

    key: PublicKey | bytes
    kid: str = ""


@dataclass(frozen=True)
class KeySet:
    """The keys of a source that fit the algorithm."""

    keys: Sequence[JoseKey]

    def find(self, kid: str | None) -> list[JoseKey]:
        """Return the keys for a token that names this key id. kid: None if the token names none."""
        if kid is None:
            return list(self.keys) if len(self.keys) == 1 else []
        return [key for key in self.keys if key.kid in ("", kid)]

    def kid_of(self, key: PublicKey) -> str | None:
        """Return the id that the key has in the set, or None if it is not there."""
        return next((one.kid for one in self.keys if one.key == key), None)


def algorithm_named(name: str) -> Algorithm:
    """Return the library's algorithm; raises `ConfigError`."""
    if not isinstance(name, str) or name not in LIBRARY_NAMES:
        raise ConfigError(f"unknown algorithm: use one of {', '.join(LIBRARY_NAMES)}")
    return jwt.get_algorithm_by_name(LIBRARY_NAMES[name])


def is_shared(algorithm: str) -> bool:
    """Whether both sides have the same secret."""
    return algorithm.startswith("HS")


def read_secret(secret: str, algorithm: str, decode: Callable[[str], bytes] = str.encode) -> KeySet:
    """Return the key of an HMAC. Raises `ConfigError` for a public key, which would let anyone sign.

    decode: makes the bytes of the secret; raises ValueError.
    """
    try:
        algorithm_named(algorithm).prepare_key(secret)
    except jwt.PyJWTError as error:
        raise ConfigError(f"a secret for {algorithm} is a public key, which anyone may know") from error
    if _is_public(secret):
        raise ConfigError(f"a secret for {algorithm} is a public key or a URL, which anyone may know")
    try:
        return KeySet([JoseKey(hmac_key(decode(secret)))])
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError("a secret is not encoded as the option key says") from error


def read_pinned(text: str, algorithm: str) -> KeySet:
    """Return the keys of a text: a public key (see `read_public_key`), a JSON Web Key, or a key set.

    Raises `ConfigError`.
    """
    if not text.startswith("{"):
        return KeySet([JoseKey(fitting(read_public_key(text), algorithm))])
    try:
        value = strict_json.loads(text.encode())
    except strict_json.NotStrictJSON as error:
        raise ConfigError("a key is not a JSON Web Key") from error
    return _set_of(value, algorithm) if "keys" in value else KeySet([read_jwk(value, algorithm)])


def read_key_set(body: bytes, algorithm: str) -> KeySet:
    """Return the usable keys of a key set (RFC 7517, 5), which may hold others; raises `ConfigError` without any."""
    try:
        return _set_of(strict_json.loads(body), algorithm)
    except strict_json.NotStrictJSON as error:
        raise ConfigError(f"the key set is not readable: {error}") from error


def read_jwk(jwk: Any, algorithm: str) -> JoseKey:
    """Return the public key of a JSON Web Key; raises `ConfigError`."""
    if not isinstance(jwk, dict) or not _suits(jwk, algorithm):
        raise ConfigError(f"a key is not a public JSON Web Key for {algorithm}")
    kid = jwk.get("kid", "")
    members = [jwk.get(name, "") for name in ("n", "e", "x", "y")]
    if not all(isinstance(member, str) and len(member) <= LONGEST_MEMBER for member in [kid, *members]):
        raise ConfigError("a JSON Web Key has a member that is not a text, or too long")
    try:
        return JoseKey(fitting(checked_key(algorithm_named(algorithm).from_jwk(jwk)), algorithm), kid)
    except (jwt.PyJWTError, KeyError, AttributeError, *READING_FAILED) as error:
        raise ConfigError(f"a key is not a public JSON Web Key for {algorithm}") from error


def fitting(key: PublicKey, algorithm: str) -> PublicKey:
    """Return the key if the algorithm verifies with keys of its kind; raises `ConfigError`."""
    try:
        prepared: PublicKey = algorithm_named(algorithm).prepare_key(key)
    except (jwt.PyJWTError, *READING_FAILED) as error:
        raise ConfigError(f"a key is not one for {algorithm}") from error
    return prepared


def _set_of(value: Any, algorithm: str) -> KeySet:
    keys = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise ConfigError(f"the key set is not a list of at most {MOST_KEYS} keys")
    usable = []
    for jwk in keys:
        try:
            usable.append(read_jwk(jwk, algorithm))
        except ConfigError:
            continue  # a set may hold keys for other purposes
    if not usable:
        raise ConfigError(f"the key set has no key for {algorithm}")
    return KeySet(usable)


def _suits(jwk: dict[str, Any], algorithm: str) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("alg", algorithm) == algorithm
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and "d" not in jwk  # a private key that was published
    )


def _is_public(secret: str) -> bool:
    if secret.lower().startswith(("https://", "http://")):
        return True
    try:
        # Every second secret of 32 random bytes is a point of Ed25519 too.
        read_marked_key(secret)
    except ConfigError:
        return False
    return True
