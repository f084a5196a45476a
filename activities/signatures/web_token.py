"""JSON Web Tokens (RFC 7519) in a header, or as the whole body: Plaid, Vonage, Wix and others.

The partner's file names the algorithm. The token's header is believed in nothing but the id of its key: `none`, another
algorithm and extensions that must be understood (`crit`) are refused, and keys that the token brings along (`jwk`,
`jku`, `x5u`, `x5c`) are ignored. Advice followed: RFC 8725.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal, Self

from activities import strict_json
from activities.signatures.jose_signers import JoseScheme
from activities.signatures.jose_tokens import Token, encode_base64url, key_id_of, read_claims
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    SignatureError,
    SignedRequest,
    Verified,
    check_choice,
    lower,
    same,
)

LONGEST_WEB_TOKEN: Final = 16 * 1024
"""Maximum characters of a token in a header."""

MOST_SECONDS: Final = 10**12

HASH_ENCODINGS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "hex": bytes.hex,
    "base64": lambda digest: base64.b64encode(digest).decode(),
    "base64url": encode_base64url,
}


class WebToken(JoseScheme):
    """A JSON Web Token that the provider signs. A secret is a shared key, a public key, or the https URL of a key set.

    A public key is PEM, base64 of DER, or a JSON Web Key. algorithm: the only one that is accepted, such as ES256.
    header: the header that holds the token, or "" if the body is the token. prefix: what precedes it; `Bearer ` in the
    header Authorization. audience, issuer: the claims `aud` and `iss`; without an audience, a token that names one is
    refused. claims: other claims, as `NAME=VALUE` joined by commas. body_hash: the claim that holds the SHA-256 of the
    body; without one the body is not covered. encoding: of that hash, hex, base64 or base64url. fresh_by: `iat`, the
    token was issued within the tolerance; `exp`, it has not expired; `none`, for a token without times, which can be
    sent again. private_key: only for signing.
    """

    name = "jwt"
    covers_time = True
    fixed_length = False
    options: ClassVar[tuple[str, ...]] = (
        "algorithm",
        "header",
        "prefix",
        "audience",
        "issuer",
        "claims",
        "body_hash",
        "encoding",
        "fresh_by",
    )

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        algorithm: str = "",
        header: str = "Authorization",
        prefix: str | None = None,
        audience: str = "",
        issuer: str = "",
        claims: str = "",
        body_hash: str = "",
        encoding: str = "hex",
        fresh_by: Literal["iat", "exp", "none"] = "iat",
        private_key: str = "",
        tolerance: int = DEFAULT_TOLERANCE,
    ) -> None:
        texts = (algorithm, header, prefix or "", audience, issuer, claims, body_hash, encoding, fresh_by)
        if not all(isinstance(text, str) for text in texts):
            raise ConfigError("an option is not a text")
        check_choice("fresh_by", fresh_by, ("iat", "exp", "none"))
        check_choice("encoding", encoding, HASH_ENCODINGS)
        if any(char in header for char in ' :\t\r\n"') or not header.isascii():
            raise ConfigError("header is the name of a header")
        self._name = algorithm
        self.header = header
        self._prefix = prefix if prefix is not None else "Bearer " if lower(header) == "authorization" else ""
        self._expected = _expected(audience, issuer, claims)
        self._body_hash = body_hash
        self._encode = HASH_ENCODINGS[encoding]
        self._fresh_by = fresh_by
        self.covers_time = fresh_by != "none"
        self.covers_body = not header or bool(body_hash)
        super().__init__(secrets, tolerance=tolerance)
        if private_key:
            self._keys.use_private_key(private_key)

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the token with every key that it may be signed with; then its claims, and the body's digest."""
        token = Token.read(self._text_of(request))
        index = self._keys.verify(token.signed, token.signature, key_id_of(token.header, self._name))
        claims = token.read_claims()
        issued = self._check_times(claims, now)
        self._check_claims(claims)
        if self._body_hash:
            self._check_body(claims.get(self._body_hash), request.body)
        return Verified(index, issued if self.covers_time else None)

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the header with a token for the body; raises `ConfigError` without a key to sign with."""
        if not self.header:
            raise ConfigError("the body is the token: there is no header that signs it")
        claims = self._own_claims(now, delivery_id)
        if self._body_hash:
            claims[self._body_hash] = self._digest(body)
        return [(self.header, self._prefix + self.token(claims))]

    def sign_request(self, request: SignedRequest, *, now: float, delivery_id: str) -> SignedRequest:
        """Return the request with a token for its body. If the body is the token, its claims are signed again.

        Raises `ConfigError`.
        """
        if self.header:
            return super().sign_request(request, now=now, delivery_id=delivery_id)
        try:
            is_object = request.body.lstrip().startswith(b"{")
            claims = strict_json.loads(request.body) if is_object else read_claims(request.body)
        except ValueError as error:
            raise ConfigError(f"the body is neither a token nor claims as JSON: {error}") from error
        return replace(request, body=self.token(claims | self._own_claims(now, delivery_id)).encode())

    def variants(self, request: SignedRequest) -> Iterator[tuple[str, str, Self]]:
        """Yield the scheme with other encodings of the body's digest."""
        for encoding, encode in HASH_ENCODINGS.items() if self._body_hash else ():
            other = copy.copy(self)
            other._encode = encode
            yield "bytes", f'encoding="{encoding}"', other

    @property
    def place(self) -> str:
        """Where the signature is, in words."""
        return self.header or "the body"

    def token(self, claims: dict[str, Any]) -> str:
        """Return a token with these claims; raises `ConfigError` without a key to sign with."""
        header = {"alg": self._name, "typ": "JWT"} | ({"kid": kid} if (kid := self._keys.own_kid) else {})
        parts = (json.dumps(part, separators=(",", ":")).encode() for part in (header, claims))
        signed = ".".join(map(encode_base64url, parts))
        return f"{signed}.{encode_base64url(self._keys.sign(signed.encode()))}"

    def _own_claims(self, now: float, delivery_id: str) -> dict[str, Any]:
        expiry = {"exp": int(now)} if self._fresh_by == "exp" else {}
        return {"iat": int(now), "jti": delivery_id, **expiry, **self._expected}

    # --- the steps

    def _text_of(self, request: SignedRequest) -> str:
        if not self.header:
            try:
                return request.body.decode("ascii").strip()
            except UnicodeDecodeError as error:
                raise SignatureError("malformed-body", "the body is not a token") from error
        value = request.one(self.header)
        begin, text = value[: len(self._prefix)], value[len(self._prefix) :]
        if lower(self.header) == "authorization":  # RFC 9110, 11.1: a scheme's name is case-insensitive
            begin, prefix = lower(begin), lower(self._prefix)
        else:
            prefix = self._prefix
        if begin != prefix:
            raise SignatureError("malformed-header", f"it does not begin with `{self._prefix}`")
        if len(text) > LONGEST_WEB_TOKEN:
            raise SignatureError("malformed-header", f"the token has more than {LONGEST_WEB_TOKEN} characters")
        return text

    def _check_times(self, claims: dict[str, Any], now: float) -> int | None:
        """Return when the token was issued; raises `SignatureError` if it is not valid now."""
        issued, expires, begins = (_moment(claims, name) for name in ("iat", "exp", "nbf"))
        if {"iat": issued, "exp": expires}.get(self._fresh_by, now) is None:
            raise SignatureError("malformed-timestamp", f"the token has no claim {self._fresh_by}")
        if issued is not None and self._fresh_by == "iat":
            self._in_time(str(issued), now)
        # `not <=`, so that a NaN clock fails
        if expires is not None and not now - expires <= self.tolerance:
            raise SignatureError("stale", "the token has expired (exp)")
        if any(moment is not None and not moment - now <= self.tolerance for moment in (issued, begins)):
            raise SignatureError("stale", "the token is not valid yet (nbf, iat)")
        return issued

    def _check_claims(self, claims: dict[str, Any]) -> None:
        for name, expected in self._expected.items():
            value = claims.get(name)
            values = value if name == "aud" and isinstance(value, list) else [value]
            if not any(same(expected, _text(one)) for one in values):
                raise SignatureError("wrong-claim", f"the token's claim {name} is another")
        if "aud" in claims and "aud" not in self._expected:
            raise SignatureError("wrong-claim", "the token names an audience (aud), and the partner's file none")

    def _check_body(self, claimed: Any, body: bytes) -> None:
        if not isinstance(claimed, str):
            raise SignatureError("body-mismatch", f"the token has no claim {self._body_hash}")
        if not same(self._digest(body), claimed):
            raise SignatureError("body-mismatch", f"the body is not the one of the claim {self._body_hash}")

    def _digest(self, body: bytes) -> str:
        return self._encode(hashlib.sha256(body).digest())


def _moment(claims: dict[str, Any], name: str) -> int | None:
    """Return the time of a claim in unix seconds, or None if it is missing; raises `SignatureError`."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST_SECONDS:
        raise SignatureError("malformed-timestamp", f"the claim {name} is not a number of seconds")
    return int(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int) else "\0"


def _expected(audience: str, issuer: str, claims: str) -> dict[str, str]:
    """Return the claims that a token must have."""
    pairs = [pair.strip().partition("=") for pair in claims.split(",") if pair.strip()]
    if any(not name or not equals or name in {"aud", "iss", "iat", "exp", "nbf"} for name, equals, _ in pairs):
        raise ConfigError("claims is NAME=VALUE, joined by commas; audience and issuer have options of their own")
    expected = {"aud": audience, "iss": issuer, **{name: value for name, _, value in pairs}}
    return {name: value for name, value in expected.items() if value}
