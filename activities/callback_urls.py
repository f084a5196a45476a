"""Callback URLs: issued to partners with a signed token, redeemed when a partner posts to one.

A token says for which stage of which run it was issued. It is signed with itsdangerous under HMAC-SHA256 and a salt
that names this purpose; the first key signs, every key verifies. One token has one spelling: the text is compared with
the text that the signer makes, because base64 and itsdangerous would take many.
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
"""For partners with one webhook URL: what follows is the partner's name."""
LONGEST_TOKEN: Final = 4096
SPELLING: Final = re.compile(r"\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
CLOCK_GRACE: Final = 15 * 60
"""Seconds past its expiry that a token is still taken, for clocks that differ."""

LATEST_TIME: Final = 2**40


class TokenError(Exception):
    """A token that redeems nothing: `BadToken` or `ExpiredToken`."""


class BadToken(TokenError):
    """A token that we did not issue for this purpose, or not in this spelling."""


class ExpiredToken(TokenError):
    """A token that we issued, for a stage that must have closed long ago. `claims` are what it said."""

    def __init__(self, claims: Claims) -> None:
        super().__init__("the token has expired")
        self.claims = claims


@dataclass(frozen=True)
class Claims:
    """What a token says. Times are whole unix seconds."""

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
        """The key that every try of this call carries: 32 hexadecimal digits, the same for the same claims."""
        return hashlib.sha256(json.dumps(self._fields(), ensure_ascii=True).encode()).hexdigest()[:32]

    def _fields(self) -> list[str | int]:
        # A list, for the token's length: partners keep URLs in columns of limited width.
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
    keys: the first signs, all verify; see `activities.settings` for their strength.
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
        """The callback URL for these claims: byte for byte the same as long as keys and public URL stay."""
        token = self._serializers[0].dumps(claims._fields())
        return f"{self.public_url}{CALLBACKS_PATH}{token if isinstance(token, str) else token.decode()}"

    def redeem(self, token: str) -> Claims:
        """The claims of a token; raises `BadToken` or `ExpiredToken` and nothing else."""
        if len(token) > LONGEST_TOKEN or not SPELLING.fullmatch(token):
            raise BadToken("the token is not spelt as one")
        payload = token.rpartition(".")[0].encode()
        for serializer in self._serializers:
            if hmac.compare_digest(serializer.make_signer(SALT).sign(payload), token.encode()):
                return self._in_time(Claims._from_fields(_load(serializer, payload)))
        raise BadToken("the token is not signed by us")

    def _in_time(self, claims: Claims) -> Claims:
        if self._now() > claims.expires_at + CLOCK_GRACE:
            raise ExpiredToken(claims)
        return claims


def fingerprint(key: str) -> str:
    """Eight hexadecimal digits that tell keys apart and give none of them away."""
    return hashlib.sha256(b"stagehook.key-fingerprint:" + key.encode()).hexdigest()[:8]


def _serializer(key: str) -> URLSafeSerializer:
    return URLSafeSerializer(key, salt=SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256})


def _load(serializer: URLSafeSerializer, payload: bytes) -> Any:
    try:
        return serializer.load_payload(payload)
    except (BadPayload, ValueError, RecursionError) as error:
        # Signed by one of our keys under our salt, yet nothing that `issue` makes.
        raise BadToken("the token's payload is unreadable") from error
