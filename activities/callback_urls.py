"""Callback URLs: issue a URL with a signed token to a partner, redeem the token when the partner posts to the URL.

A token names the run and the stage that it was issued for. itsdangerous signs it with HMAC-SHA256 and a salt for this
purpose. The first key signs; every key verifies. A token has exactly one valid spelling: base64 and itsdangerous would
accept others, so `redeem` compares the text with the text that the signer makes.

There are two versions. Version one holds the claims as JSON. Version two is half as long: it begins with `sh2`, and
holds the claims in binary and 128 bits of the HMAC. The call says which version its URL has; `redeem` takes both.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

from itsdangerous import Signer, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode
from itsdangerous.exc import BadData, BadPayload
from itsdangerous.signer import SigningAlgorithm

from activities.sealing import Seals
from workflows.contract import TOKEN_VERSIONS, StageCall

SALT: Final = b"stagehook.callback-url.v1"
VERSION: Final = 1
CALLBACKS_PATH: Final = "/callbacks/"
PARTNERS_PATH: Final = "/partners/"
"""For partners with a single webhook URL; the partner's name follows."""
LONGEST_TOKEN: Final = 4096
SPELLING: Final = re.compile(r"\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
CLOCK_GRACE: Final = 15 * 60
"""Seconds after its expiry during which a token is still accepted, because clocks differ."""

LATEST_TIME: Final = 2**40

SHORT_PREFIX: Final = "sh2"
"""Beginning of every token of version two. Redaction looks for it, and leak scanners can."""

SHORT_SALT: Final = b"stagehook.callback-url.v2"
SHORT_SPELLING: Final = re.compile(rf"{SHORT_PREFIX}[A-Za-z0-9_-]{{58,}}")
SHORT_HEAD: Final = struct.Struct(">BBII16sB")
"""Stage, attempt, issued at, expires at, chain id, and the bytes of the partner's name, which follows. The workflow id
is the rest."""

SHORT_PARTNER: Final = re.compile(rb"[a-z0-9-]{1,255}")
MAC_BYTES: Final = 16


class TokenError(Exception):
    """A token that cannot be redeemed: `BadToken` or `ExpiredToken`."""


class BadToken(TokenError):
    """A token that we did not issue for this purpose, or did not issue in this spelling."""


class ExpiredToken(TokenError):
    """A token that we issued, for a stage that must have closed long ago. `claims` holds its claims."""

    def __init__(self, claims: Claims) -> None:
        super().__init__("the token has expired")
        self.claims = claims


@dataclass(frozen=True)
class Claims:
    """The content of a token. Times are whole unix seconds."""

    workflow_id: str
    chain_id: str
    stage: int
    attempt: int
    partner: str
    issued_at: int
    expires_at: int

    @classmethod
    def of(cls, call: StageCall) -> Self:
        """The claims of a call's callback URL."""
        return cls(
            workflow_id=call.workflow_id,
            chain_id=call.chain_id,
            stage=call.stage,
            attempt=call.attempt,
            partner=call.partner,
            issued_at=call.issued_at,
            expires_at=call.expires_at,
        )

    @property
    def idempotency_key(self) -> str:
        """The `Idempotency-Key` of every try of the call: 32 hexadecimal digits, determined by the claims."""
        return hashlib.sha256(json.dumps(self._fields(), ensure_ascii=True).encode()).hexdigest()[:32]

    def _fields(self) -> list[str | int]:
        # A list keeps the token short: partners store URLs in columns of limited width.
        return [
            VERSION,
            self.workflow_id,
            self.chain_id,
            self.stage,
            self.attempt,
            self.partner,
            self.issued_at,
            self.expires_at,
        ]

    @classmethod
    def _from_fields(cls, fields: Any) -> Self:
        match fields:
            case [version, str() as workflow_id, str() as chain_id, stage, attempt, str() as partner, issued, expires]:
                numbers = (version, stage, attempt, issued, expires)
                if all(type(number) is int and 0 < number < LATEST_TIME for number in numbers) and version == VERSION:
                    return cls(workflow_id, chain_id, stage, attempt, partner, issued, expires)
        raise BadToken("the token's claims are not of this version's form")


class CallbackURLs:
    """Issues and redeems callback URLs.

    public_url: where partners reach the receiver, for example `https://hooks.example.com`; only `issue` needs it.
    keys: the first key signs, all keys verify; `activities.settings` checks their strength.
    now: the clock, in unix seconds.
    seals: seals secrets with the same keys.
    """

    def __init__(self, public_url: str, keys: Sequence[str], now: Callable[[], float] = time.time) -> None:
        if not keys or not all(keys):
            raise ValueError("a callback URL needs at least one key, and no empty one")
        self.public_url = public_url.rstrip("/")
        self._serializers = [_serializer(key) for key in keys]
        self._long_signers = [_derived(one.make_signer(SALT), _HMAC) for one in self._serializers]
        self._signers = [_short_signer(key) for key in keys]
        self._now = now
        self.fingerprint = fingerprint(keys[0])
        self.seals = Seals(keys)

    def of(self, call: StageCall) -> str:
        """Return the call's callback URL: the same bytes for every try. Raises ValueError for an unknown version."""
        return self.issue(Claims.of(call), call.token_version)

    def issue(self, claims: Claims, version: int = 1) -> str:
        """Return the callback URL for the claims: always the same bytes for the same first key and public URL.

        version: 1, or 2 for a short token. Claims that version two cannot hold get a token of version one: a chain id
        that is not a UUID, a stage or attempt above 255. Raises ValueError for another version.
        """
        if version not in TOKEN_VERSIONS:
            raise ValueError(f"unknown token version {version}: use one of {', '.join(map(str, TOKEN_VERSIONS))}")
        token = self._short_token(claims) if version == 2 else ""
        return f"{self.public_url}{CALLBACKS_PATH}{token or self._long_token(claims)}"

    def redeem(self, token: str) -> Claims:
        """Return the claims of a token of either version; raises only `BadToken` or `ExpiredToken`."""
        if len(token) > LONGEST_TOKEN:
            raise BadToken("the token is malformed")
        if SHORT_SPELLING.fullmatch(token):
            return self._in_time(self._redeem_short(token))
        if SPELLING.fullmatch(token):
            return self._in_time(self._redeem_long(token))
        raise BadToken("the token is malformed")

    def _long_token(self, claims: Claims) -> str:
        token = self._serializers[0].dumps(claims._fields())
        return token if isinstance(token, str) else token.decode()

    def _short_token(self, claims: Claims) -> str:
        """The token of version two, or "" for claims that it cannot hold."""
        payload = _packed(claims)
        token = _short_token(self._signers[0], payload) if payload else ""
        return token if len(token) <= LONGEST_TOKEN else ""

    def _redeem_long(self, token: str) -> Claims:
        payload = token.rpartition(".")[0].encode()
        for serializer, signer in zip(self._serializers, self._long_signers, strict=True):
            if hmac.compare_digest(signer.sign(payload), token.encode()):
                return Claims._from_fields(_load_payload(serializer, payload))
        raise BadToken("the token is not signed by us")

    def _redeem_short(self, token: str) -> Claims:
        payload = _short_payload(token)
        for signer in self._signers:
            if hmac.compare_digest(_short_token(signer, payload), token):
                return _unpacked(payload)
        raise BadToken("the token is not signed by us")

    def _in_time(self, claims: Claims) -> Claims:
        if self._now() > claims.expires_at + CLOCK_GRACE:
            raise ExpiredToken(claims)
        return claims


def version_of(token: str) -> int:
    """The version of a text in the form of a token: 2 for a short token, otherwise 1."""
    return 2 if SHORT_SPELLING.fullmatch(token) else 1


def stated_claims(token: str) -> Claims | None:
    """Return the claims in a token without checking its signature, so they prove nothing; None for other texts."""
    try:
        if version_of(token) == 2:
            return _unpacked(_short_payload(token))
        return Claims._from_fields(_load_payload(_serializer("unverified"), token.rpartition(".")[0].encode()))
    except BadToken:
        return None


def begins_with_claims(text: bytes) -> bool:
    """Whether a text that begins with `SHORT_PREFIX` goes on like a token of version two, whatever follows that."""
    letters = text[len(SHORT_PREFIX) :]
    try:
        _read_head(base64_decode(letters[: len(letters) // 4 * 4]))
    except (BadToken, BadData):
        return False
    return True


def fingerprint(key: str) -> str:
    """Eight hexadecimal digits that identify a key without revealing it."""
    return hashlib.sha256(b"stagehook.key-fingerprint:" + key.encode()).hexdigest()[:8]


def _serializer(key: str) -> URLSafeSerializer:
    return URLSafeSerializer(key, salt=SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256})


def _load_payload(serializer: URLSafeSerializer, payload: bytes) -> Any:
    try:
        return serializer.load_payload(payload)
    except (BadPayload, ValueError, RecursionError) as error:
        # The signature is valid under our key and salt, but `issue` never makes such a payload.
        raise BadToken("the token's payload is unreadable") from error


class _HMAC(SigningAlgorithm):
    """HMAC-SHA256 of one key, which is prepared once."""

    def __init__(self, key: bytes) -> None:
        self._prepared = hmac.new(key, digestmod="sha256")

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        mac = self._prepared.copy()
        mac.update(value)
        return mac.digest()


class _ShortHMAC(_HMAC):
    """HMAC-SHA256, cut to 128 bits."""

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        return super().get_signature(key, value)[:MAC_BYTES]


def _short_signer(key: str) -> Signer:
    return _derived(Signer(key, salt=SHORT_SALT, key_derivation="hmac", digest_method=hashlib.sha256), _ShortHMAC)


def _derived(signer: Signer, algorithm: type[_HMAC]) -> Signer:
    """The same signer with its key derived once, not for each signature."""
    key = signer.derive_key()
    return Signer(key, salt=signer.salt, key_derivation="none", algorithm=algorithm(key))


def _short_token(signer: Signer, payload: bytes) -> str:
    # One base64 text for both: two texts would be up to two characters longer.
    mac = base64_decode(signer.get_signature(payload))
    return SHORT_PREFIX + base64_encode(payload + mac).decode()


def _short_payload(token: str) -> bytes:
    try:
        return base64_decode(token.removeprefix(SHORT_PREFIX))[:-MAC_BYTES]
    except BadData as error:
        raise BadToken("the token is malformed") from error


def _packed(claims: Claims) -> bytes | None:
    """The claims in binary, or None for claims that would not be read back as they are."""
    try:
        partner, chain = claims.partner.encode("ascii"), UUID(claims.chain_id)
        numbers = (claims.stage, claims.attempt, claims.issued_at, claims.expires_at)
        payload = SHORT_HEAD.pack(*numbers, chain.bytes, len(partner)) + partner + claims.workflow_id.encode()
        return payload if _unpacked(payload) == claims else None
    except (ValueError, struct.error, BadToken):
        return None


def _read_head(payload: bytes) -> tuple[Sequence[int], bytes, bytes]:
    """The numbers in the claims, the chain id and the partner's name; raises `BadToken`."""
    try:
        *numbers, chain, size = SHORT_HEAD.unpack_from(payload)
    except struct.error as error:
        raise BadToken("the token's claims are not of this version's form") from error
    partner = payload[SHORT_HEAD.size :][:size]
    if not all(numbers) or numbers[2] > numbers[3] or len(partner) != size or not SHORT_PARTNER.fullmatch(partner):
        raise BadToken("the token's claims are not of this version's form")
    return numbers, chain, partner


def _unpacked(payload: bytes) -> Claims:
    (stage, attempt, issued_at, expires_at), chain, partner = _read_head(payload)
    try:
        workflow_id = payload[SHORT_HEAD.size + len(partner) :].decode()
    except UnicodeDecodeError as error:
        raise BadToken("the token's claims are not of this version's form") from error
    return Claims(workflow_id, str(UUID(bytes=chain)), stage, attempt, partner.decode(), issued_at, expires_at)
