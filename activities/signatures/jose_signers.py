"""The keys of a scheme that signs with an algorithm of JSON Web Signatures: what verifies, and what signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from activities.signatures.asymmetric_keys import NO_PRIVATE_KEY, KeyPairScheme, load_private_key
from activities.signatures.jose_keys import JoseKey, algorithm_named, fitting, is_shared
from activities.signatures.key_sources import KeySource, Pinned, key_source
from activities.signatures.scheme import ConfigError, KeyUnavailable, SignatureError


class Keys:
    """The keys that a partner's secrets name, each for the one algorithm. Raises `ConfigError`.

    decode: makes the bytes of a shared secret; raises ValueError.
    """

    def __init__(self, secrets: Sequence[str], algorithm: str, decode: Callable[[str], bytes] = str.encode) -> None:
        self._name, self._algorithm = algorithm, algorithm_named(algorithm)
        self._sources: list[KeySource] = [key_source(secret, algorithm, decode) for secret in secrets]
        self._own: Any = decode(secrets[0]) if is_shared(algorithm) else None

    def prepare(self, *, wait: float) -> None:
        """Begin to fetch the key sets at URLs. wait: seconds to wait for each at most."""
        for source in self._sources:
            source.prepare(wait=wait)

    def verify(self, text: bytes, signature: bytes, kid: str | None) -> int:
        """Return the index of the secret whose key signed the text; raises `SignatureError`.

        kid: the key's id as the sender names it, or None.
        """
        unavailable: KeyUnavailable | None = None
        for index, source in enumerate(self._sources):
            try:
                keys = source.find(kid)
            except KeyUnavailable as error:
                unavailable = error
                continue
            if any(self._is_signed(text, signature, key) for key in keys):
                return index
        raise unavailable or SignatureError("mismatch", "it is signed by none of our keys")

    def sign(self, text: bytes) -> bytes:
        """Sign the text with the secret or the private key; raises `ConfigError` without one."""
        if self._own is None:
            raise ConfigError(NO_PRIVATE_KEY)
        return self._algorithm.sign(text, self._own)

    def use_private_key(self, text: str) -> None:
        """Sign with this private key; raises `ConfigError` if it belongs to none of the public keys that are held."""
        if is_shared(self._name):
            raise ConfigError(f"{self._name} signs with the secret: leave private_key out")
        key = load_private_key(text)
        fitting(key.public_key(), self._name)
        held = [source for source in self._sources if isinstance(source, Pinned)]
        if len(held) == len(self._sources) and all(source.kid_of(key.public_key()) is None for source in held):
            raise ConfigError("private_key is the other half of none of the public keys")
        self._own = key

    @property
    def own_kid(self) -> str:
        """The id that the set of our private key has for it, or ""."""
        if self._own is None or is_shared(self._name):
            return ""
        kids = (source.kid_of(self._own.public_key()) for source in self._sources)
        return next((kid for kid in kids if kid), "")

    def _is_signed(self, text: bytes, signature: bytes, key: JoseKey) -> bool:
        try:
            return self._algorithm.verify(text, key.key, signature)
        except ValueError:  # a signature of another length
            return False


class JoseScheme(KeyPairScheme):
    """A scheme with JOSE's keys and algorithms. A subclass sets `_name`, the algorithm, before the secrets are read."""

    _name: str

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = Keys(secrets, self._name)

    def prepare(self, *, wait: float = 0.0) -> None:
        """Begin to fetch the key sets at URLs."""
        self._keys.prepare(wait=wait)
