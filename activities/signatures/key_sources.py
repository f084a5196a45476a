"""Where the keys of a scheme come from: pinned in the partner's file or settings, or a key set at a URL."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from activities.signatures.asymmetric_keys import PublicKey
from activities.signatures.fetched import FETCH_PAUSE, Fetched
from activities.signatures.jose_keys import JoseKey, KeySet, is_shared, read_key_set, read_pinned, read_secret
from activities.signatures.scheme import KeyUnavailable

MOST_UNKNOWN_IDS: Final = 100
"""Unknown key ids that are remembered."""


class KeySource(Protocol):
    """Keys to verify with."""

    def find(self, kid: str | None) -> list[JoseKey]:
        """Return the keys for a token that names this key id, or none; raises `KeyUnavailable`."""
        ...

    def kid_of(self, key: PublicKey) -> str | None:
        """Return the id that the key has here, or None if it is not here."""
        ...

    def prepare(self, *, wait: float) -> None:
        """Begin to fetch the keys, and wait for at most `wait` seconds."""
        ...


def key_source(secret: str, algorithm: str, decode: Callable[[str], bytes] = str.encode) -> KeySource:
    """Return the source that a secret of the partner names; raises `ConfigError`.

    decode: makes the bytes of a shared secret; raises ValueError.
    """
    if is_shared(algorithm):
        return Pinned(read_secret(secret, algorithm, decode))
    if secret.startswith(("https:", "http:")):
        return PublishedKeys(secret, algorithm)
    return Pinned(read_pinned(secret, algorithm))


class Pinned:
    """Keys that do not change while the process runs."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def find(self, kid: str | None) -> list[JoseKey]:
        """Return the keys for a token that names this key id."""
        return self._keys.find(kid)

    def kid_of(self, key: PublicKey) -> str | None:
        """Return the id that the key has here, or None if it is not here."""
        return self._keys.kid_of(key)

    def prepare(self, *, wait: float) -> None:
        """Do nothing: the keys are here."""


class PublishedKeys:
    """The key set (JWKS) that a provider publishes at a URL. Raises `ConfigError`.

    A token whose key id is unknown makes the set be fetched again, at most once a minute: the provider may have a new
    key. Only a set that was fetched after the token had come shows that the key id is wrong.
    """

    def __init__(self, url: str, algorithm: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fetched = Fetched(url, lambda body: read_key_set(body, algorithm), clock)
        self._unknown: dict[str, float] = {}

    def find(self, kid: str | None) -> list[JoseKey]:
        """Return the keys for a token that names this key id; raises `KeyUnavailable` if they may still come."""
        copy = self._fetched.get()
        if copy is None:
            raise KeyUnavailable("the partner's key set has not been fetched yet")
        if (found := copy.document.find(kid)) or kid is None:
            return found
        now = self._clock()
        # Both in this order: the key id must be remembered whatever the age of the set.
        if copy.began < self._first_seen(kid, now) or now - copy.began >= FETCH_PAUSE:
            self._fetched.ask()
            raise KeyUnavailable("the partner's key set is fetched again, for a key that it did not have")
        return []

    def kid_of(self, key: PublicKey) -> str | None:
        """Return the id that the key has in the set, or None if it is not there yet."""
        copy = self._fetched.get()
        return None if copy is None else copy.document.kid_of(key)

    def prepare(self, *, wait: float) -> None:
        """Begin to fetch the set, and wait for at most `wait` seconds."""
        self._fetched.get()
        self._fetched.wait(wait)

    def _first_seen(self, kid: str, now: float) -> float:
        if kid not in self._unknown and len(self._unknown) >= MOST_UNKNOWN_IDS:
            self._unknown.clear()
        return self._unknown.setdefault(kid, now)
