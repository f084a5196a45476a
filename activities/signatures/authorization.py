"""Fixed credentials: a sender that knows them can send any body, because no part of the request is signed.

Better than nothing for a provider that signs nothing, but only over TLS. The callback token still proves which stage a
callback is for.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import ClassVar, Final

from activities.signatures.places import HEADER_NAME
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    Scheme,
    SignatureError,
    SignedRequest,
    Verified,
    first_match,
    lower,
)

AUTHORIZATION: Final = "Authorization"
PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")


class Credentials(Scheme):
    """A fixed header.

    kind: the word before the credentials, which may be written in any case (RFC 9110, 11.1); "" if there is none.
    """

    covers_body = False
    header = AUTHORIZATION
    header_is_secret = True
    kind: ClassVar[str] = ""

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._values = [self._value(secret) for secret in secrets]

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Compare the header with the value that each secret gives."""
        index = first_match(self._values, [self._in_our_case(request.one(self.header))])
        if index is None:
            raise SignatureError("mismatch", "unknown credentials")
        return Verified(index)

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the header that the first secret gives."""
        return [(self.header, self._values[0])]

    def _in_our_case(self, value: str) -> str:
        kind, blank, credentials = value.partition(" ")
        is_ours = bool(self.kind and blank) and lower(kind) == self.kind.lower()
        return f"{self.kind} {credentials}" if is_ours else value

    def _value(self, secret: str) -> str:
        raise NotImplementedError


class Basic(Credentials):
    """HTTP Basic (RFC 7617). A secret is `user:password`. Neither body nor time is covered."""

    name = "basic"
    kind = "Basic"
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
    kind = "Bearer"

    def _value(self, secret: str) -> str:
        return f"Bearer {_checked(secret)}"


class HeaderSecret(Credentials):
    """The secret itself in a header of any name, such as GitLab's X-Gitlab-Token. Neither body nor time is covered.

    header: the header's name. prefix: the text before the secret.
    """

    name = "header-secret"
    options = ("header", "prefix")
    header = ""
    sample_secret = ""

    def __init__(
        self, secrets: Sequence[str], *, header: str = "", prefix: str = "", tolerance: int = DEFAULT_TOLERANCE
    ) -> None:
        if not isinstance(header, str) or not HEADER_NAME.fullmatch(header):
            raise ConfigError("header is missing or invalid: name the header that holds the secret")
        if not isinstance(prefix, str) or not PRINTABLE.fullmatch(prefix):
            raise ConfigError("invalid prefix: use printable ASCII characters")
        self.header, self._prefix = header, prefix
        super().__init__(secrets, tolerance=tolerance)

    def _value(self, secret: str) -> str:
        return self._prefix + _checked(secret)


def _checked(secret: str) -> str:
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ConfigError("invalid token: use printable ASCII characters without blanks")
    return secret
