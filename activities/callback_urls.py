"""Callback URLs: issue a URL with a signed token to a partner, redeem the token when the partner posts to the URL.

A token names the run and the stage that it was issued for. itsdangerous signs it with HMAC-SHA256 and a salt for this
purpose. The first key signs; every key verifies. A token has exactly one valid spelling: base64 and itsdangerous would
accept others, so `redeem` compares the text with the text that the signer makes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from itsdangerous import URLSafeSerializer
from itsdangerous.exc import BadPayload

from workflows.contract import StageCall

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
    """

    def __init__(self, public_url: str, keys: Sequence[str], now: Callable[[], float] = time.time) -> None:
        if not keys or not all(keys):
            raise ValueError("a callback URL needs at least one key, and no empty one")
        self.public_url = public_url.rstrip("/")
        self._serializers = [_serializer(key) for key in keys]
        self._now = now
        self.fingerprint = fingerprint(keys[0])

    def issue(self, claims: Claims) -> str:
        """Return the callback URL for the claims: always the same bytes for the same first key and public URL."""
        token = self._serializers[0].dumps(claims._fields())
        return f"{self.public_url}{CALLBACKS_PATH}{token if isinstance(token, str) else token.decode()}"

    def redeem(self, token: str) -> Claims:
        """Return a token's claims; raises only `BadToken` or `ExpiredToken`."""
        if len(token) > LONGEST_TOKEN or not SPELLING.fullmatch(token):
            raise BadToken("the token is malformed")
        payload = token.rpartition(".")[0].encode()
        for serializer in self._serializers:
            if hmac.compare_digest(serializer.make_signer(SALT).sign(payload), token.encode()):
                return self._in_time(Claims._from_fields(_load_payload(serializer, payload)))
        raise BadToken("the token is not signed by us")

    def _in_time(self, claims: Claims) -> Claims:
        if self._now() > claims.expires_at + CLOCK_GRACE:
            raise ExpiredToken(claims)
        return claims


def stated_claims(token: str) -> Claims | None:
    """Return the claims in a token without checking its signature, so they prove nothing; None for other texts."""
    try:
        return Claims._from_fields(_load_payload(_serializer("unverified"), token.rpartition(".")[0].encode()))
    except BadToken:
        return None


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
