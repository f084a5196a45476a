"""JSON Web Tokens in their compact form (RFC 7515, 7.1), taken apart strictly."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from activities import strict_json
from activities.signatures.scheme import SignatureError

LONGEST_TOKEN_HEADER: Final = 16 * 1024
"""Maximum characters. The header is decoded before the token is proven, and a token that is a body may be large."""


LONGEST_KID: Final = 256
ALGORITHM_NAME: Final = re.compile(r"(?:HS|RS|PS|ES)(?:256|384|512)|EdDSA|Ed25519")
"""Names that an error may repeat."""


@dataclass(frozen=True)
class Token:
    """A token taken apart. signed: the bytes that the signature covers."""

    header: dict[str, Any]
    payload: str
    signed: bytes
    signature: bytes

    @classmethod
    def read(cls, text: str) -> Token:
        """Take the token apart; raises `SignatureError`. Nothing in it is proven yet."""
        segments = text.split(".", 3)
        if len(segments) != 3:
            raise SignatureError("malformed-header", "a token has three parts, joined by full stops")
        header, payload, signature = segments
        if len(header) > LONGEST_TOKEN_HEADER:
            raise SignatureError("malformed-header", f"its header has more than {LONGEST_TOKEN_HEADER} characters")
        try:
            return cls(_object_in(header), payload, f"{header}.{payload}".encode(), decode_base64url(signature))
        except ValueError as error:
            raise _unreadable(error) from error

    def read_claims(self) -> dict[str, Any]:
        """Decode the claims, once the signature is verified; raises `SignatureError`."""
        try:
            return _object_in(self.payload)
        except ValueError as error:
            raise _unreadable(error) from error


def key_id_of(header: Mapping[str, Any], algorithm: str, *, understood: Collection[str] = ()) -> str | None:
    """Return the id of the key that the header names, or None; raises `SignatureError`.

    algorithm: the only one that the header may name. understood: the extensions that it may have (`crit`).
    """
    if header.get("alg") != algorithm:
        named = str(header.get("alg"))
        found = f"{named}, not" if ALGORITHM_NAME.fullmatch(named) else "not"
        raise SignatureError("malformed-header", f"the token's algorithm is {found} {algorithm}")
    extensions = header.get("crit", [])
    is_known = isinstance(extensions, list) and all(name in understood for name in extensions)
    if not is_known or ("crit" in header and not extensions):
        raise SignatureError("malformed-header", "the token has an extension that must be understood (crit)")
    if header.get("b64", True) is not True and "b64" not in extensions:
        raise SignatureError("malformed-header", "the token has an extension that must be understood (b64)")
    kid = header.get("kid")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= LONGEST_KID):
        raise SignatureError("malformed-header", "the token's key id (kid) is not a short text")
    return kid


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding. Only the canonical spelling of the bytes is valid; raises ValueError."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if encode_base64url(decoded) != text:
        raise ValueError("not canonical base64url")
    return decoded


def encode_base64url(raw: bytes) -> str:
    """Encode as base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read_claims(token: bytes | str) -> dict[str, Any]:
    """Return the claims of a token that `WebToken` has verified, for a file whose partner sends a token as body.

    Raises ValueError.
    """
    payload = (token.decode("ascii") if isinstance(token, bytes) else token).strip().split(".")[1:2]
    return _object_in(*payload)


def _unreadable(error: ValueError) -> SignatureError:
    return SignatureError("malformed-header", f"the token is not readable: {error}")


def _object_in(segment: str = "") -> dict[str, Any]:
    value = strict_json.loads(decode_base64url(segment))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - like everything else that is unreadable
    return value
