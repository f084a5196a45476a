"""Seals: encrypts a secret that a partner has chosen for us, so that the log can hold it.

The receiver has no place to keep such a secret, and may run in several processes. So it logs the secret sealed with
CALLBACK_KEYS, and an operator who has these opens it with `stagehook partner unseal`. That gives nothing away: with
CALLBACK_KEYS every callback token can be made.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

PURPOSE: Final = b"stagehook.sealed-secret.v1"


class NotSealed(Exception):
    """A text that was not sealed with one of the keys."""


class Seals:
    """Seals with the first key; opens with all of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)

    def seal(self, secret: str) -> str:
        """Return the secret encrypted, in letters, digits, - and _."""
        return self._fernet().encrypt(secret.encode()).decode().rstrip("=")

    def open(self, sealed: str) -> str:
        """Return the secret; raises `NotSealed`."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().decrypt(sealed + "=" * (-len(sealed) % 4)).decode()
        except (InvalidToken, ValueError, UnicodeError) as error:
            raise NotSealed("this text was not sealed with one of CALLBACK_KEYS") from error

    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet  # takes 40 ms, and few receivers need it

        return MultiFernet([Fernet(_derived(key)) for key in self._keys])


def _derived(key: str) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(key.encode(), PURPOSE, hashlib.sha256))
