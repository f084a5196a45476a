"""Basic and bearer credentials: a sender that knows them can send any body, because no part of the request is signed.

Better than nothing for a provider that signs nothing, but only over TLS. The callback token still proves which stage a
callback is for.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from activities.signatures.scheme import ConfigError, Scheme, SignatureError, SignedRequest, Verified, first_match

AUTHORIZATION = "Authorization"


class Credentials(Scheme):
    """A fixed Authorization header."""

    covers_body = False
    header = AUTHORIZATION

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._values = [self._value(secret) for secret in secrets]

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Compare the header with the value that each secret gives."""
        index = first_match(self._values, [request.one(AUTHORIZATION)])
        if index is None:
            raise SignatureError("mismatch", "unknown credentials")
        return Verified(index)

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the header that the first secret gives."""
        return [(AUTHORIZATION, self._values[0])]

    def _value(self, secret: str) -> str:
        raise NotImplementedError


class Basic(Credentials):
    """HTTP Basic (RFC 7617). A secret is `user:password`. Neither body nor time is covered."""

    name = "basic"
    sample_secret = "test:not-a-secret"  # noqa: S105

    @staticmethod
    def hidden_part(secret: str) -> str:
        """Return the password; the user's name is not secret."""
        return secret.rpartition(":")[2]

    def _value(self, secret: str) -> str:
        user, colon, password = secret.partition(":")
        if not user or not colon or not password:
            raise ConfigError("a secret is user:password")
        return "Basic " + base64.b64encode(secret.encode()).decode()


class Bearer(Credentials):
    """A bearer token (RFC 6750). A secret is the token. Neither body nor time is covered."""

    name = "bearer"

    def _value(self, secret: str) -> str:
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise ConfigError("a token has printable ASCII characters without blanks")
        return "Bearer " + secret
