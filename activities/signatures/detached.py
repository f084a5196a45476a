"""Detached JSON Web Signatures: a signature of the body in a header, as `header..signature` (RFC 7515, appendix F)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar, Final

from activities.signatures.jose_signers import JoseScheme
from activities.signatures.jose_tokens import Token, encode_base64url, key_id_of
from activities.signatures.places import HEADER_NAME
from activities.signatures.scheme import DEFAULT_TOLERANCE, ConfigError, SignatureError, SignedRequest, Verified

LONGEST_DETACHED: Final = 16 * 1024
"""Maximum characters of the signature's header."""

RAW: Final = ("b64",)
"""The only extension that is understood: the body is signed as it is, not in base64url (RFC 7797)."""


class DetachedJws(JoseScheme):
    """A detached JSON Web Signature of the body. A secret is a key as `jwt` takes it, or the https URL of a key set.

    algorithm: the only one that is accepted, such as RS512. header: the header that holds the signature. prefix: what
    precedes it. private_key: only for signing. No time is covered: a captured request stays valid, so only what it does
    may not be done twice.
    """

    name = "detached-jws"
    fixed_length = False
    options: ClassVar[tuple[str, ...]] = ("algorithm", "header", "prefix")

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        algorithm: str = "",
        header: str = "",
        prefix: str = "",
        private_key: str = "",
        tolerance: int = DEFAULT_TOLERANCE,
    ) -> None:
        if not all(isinstance(text, str) for text in (algorithm, header, prefix)):
            raise ConfigError("an option is not a text")
        if not HEADER_NAME.fullmatch(header):
            raise ConfigError("header is missing or invalid: name the header that holds the signature")
        self._name, self.header, self._prefix = algorithm, header, prefix
        super().__init__(secrets, tolerance=tolerance)
        if private_key:
            self._keys.use_private_key(private_key)

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the signature with every key that it may be by."""
        value = request.one(self.header)
        if not value.startswith(self._prefix) or len(value) > LONGEST_DETACHED:
            raise SignatureError("malformed-header", f"it is too long, or does not begin with `{self._prefix}`")
        token = Token.read(value[len(self._prefix) :])
        if token.payload:
            raise SignatureError("malformed-header", "it has a payload of its own: it is not detached")
        kid = key_id_of(token.header, self._name, understood=RAW)
        is_raw = token.header.get("b64") is False
        if is_raw and token.header.get("crit") != list(RAW):
            raise SignatureError("malformed-header", "b64 is not named in crit")
        payload = request.body if is_raw else encode_base64url(request.body).encode()
        return Verified(self._keys.verify(token.signed + payload, token.signature, kid))

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the header; raises `ConfigError` without a key to sign with."""
        header = {"alg": self._name} | ({"kid": kid} if (kid := self._keys.own_kid) else {})
        begin = encode_base64url(json.dumps(header, separators=(",", ":")).encode())
        signature = self._keys.sign(f"{begin}.{encode_base64url(body)}".encode())
        return [(self.header, f"{self._prefix}{begin}..{encode_base64url(signature)}")]
