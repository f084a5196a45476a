"""What every signature scheme is: verified and signed here in one shape, refused with one error.

The rules hold for all of them. The raw bytes are signed, never a parsed form. A header that counts is given once. A
timestamp is 1 to 12 decimal digits, signed as received, and near the clock in both directions. Base64 and hex are read
in their canonical spelling only. Comparisons take constant time. No secret is an error at construction, never a pass.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from activities.environment import is_text

DEFAULT_TOLERANCE: Final = 300
"""Seconds that a timestamp may lie from the clock, either way: what Standard Webhooks, Stripe and Slack advise."""

LONGEST_APART: Final = 10**13
"""Seconds between timestamp and clock that are told; a clock may show any number, and not every one can be written."""

MOST_SIGNATURES: Final = 32
"""Signatures of a list that are looked at; providers send two while they rotate keys."""

LONGEST_ID: Final = 256
PREFIXES: Final = {"whsec_", "whpk_", "whsk_"}
TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
ID: Final = re.compile(r"[\x21-\x2d\x2f-\x7e]+")


class ConfigError(ValueError):
    """A scheme that cannot be set up so: a missing, blank, undecodable or too short secret, an unknown option."""


class SignatureError(Exception):
    """A request that is not proven to be the partner's.

    reason: which step failed: `missing-header`, `repeated-header`, `malformed-header`, `malformed-timestamp`, `stale`,
    `malformed-id`, `malformed-url`, `malformed-body`, `body-mismatch`, `mismatch`.
    detail: what exactly, quoting no value.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class SignedRequest:
    """A request as it was received.

    url: the public URL that the partner was given, built from PUBLIC_URL and never from the socket.
    headers: name and value pairs in their order, repeated ones included.
    """

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of the header, in order."""
        return [value for key, value in self.headers if lower(key) == lower(name)]

    def one(self, name: str) -> str:
        """The header's only value; raises `SignatureError` if there is none, or more than one."""
        values = self.all(name)
        if not values:
            raise SignatureError("missing-header", name)
        if len(values) > 1:
            raise SignatureError("repeated-header", name)
        return values[0]


@dataclass(frozen=True)
class Verified:
    """What a valid signature proves.

    key_index: the place of the secret that verified it. timestamp: unix seconds, if the scheme signs one.
    delivery_id: the partner's id of the delivery, if the signature covers one; nothing else may be deduplicated on.
    """

    key_index: int
    timestamp: int | None = None
    delivery_id: str | None = None


class Scheme(ABC):
    """One provider's way of signing.

    secrets: as the provider shows them; each verifies, the first one signs. tolerance: seconds, for schemes that sign a
    timestamp. Raises `ConfigError`.

    covers_body, covers_url, covers_time: what the signature is over. header: where the signature stands.
    fixed_length: every signature has as many characters; a DER-encoded one may have more or fewer.
    """

    name: ClassVar[str] = ""
    covers_body: ClassVar[bool] = True
    covers_url = False
    covers_time = False
    fixed_length: ClassVar[bool] = True
    header = ""

    def __init__(self, secrets: Sequence[str], *, tolerance: int = DEFAULT_TOLERANCE) -> None:
        if isinstance(secrets, str) or not isinstance(secrets, Sequence) or not secrets:
            raise ConfigError("secrets is a list of at least one secret")
        if isinstance(tolerance, bool) or not isinstance(tolerance, int) or tolerance < 0:
            raise ConfigError("tolerance is a number of seconds, 0 or more")
        self.tolerance = tolerance
        for secret in secrets:
            if not isinstance(secret, str) or is_blank(secret):
                raise ConfigError("a secret is empty")
            if not is_text(secret):
                raise ConfigError("a secret is no UTF-8 text")
            if secret != secret.strip() or not (secret[0] + secret[-1]).isprintable():
                raise ConfigError("a secret has blanks, a newline or something invisible around it")
            if secret in PREFIXES:
                raise ConfigError(f"a secret is nothing but the prefix {secret}")
        self._read_secrets(secrets)

    @abstractmethod
    def _read_secrets(self, secrets: Sequence[str]) -> None:
        """Decode the secrets; raises `ConfigError`."""

    @abstractmethod
    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the request at this moment (unix seconds); raises `SignatureError`, and nothing else."""

    @abstractmethod
    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """The headers that make the body a request of this partner's, by the first secret."""

    def with_key(self, key: bytes) -> Self | None:
        """The same scheme with just these bytes as its key, for a diagnosis; None where a key is not any bytes."""
        return None

    def carried(self, request: SignedRequest) -> list[tuple[str, str]]:
        """The request's signature headers, each with its value."""
        return [(self.header, value) for value in request.all(self.header)]

    def _in_time(self, timestamp: str, now: float) -> int:
        if not TIMESTAMP.fullmatch(timestamp):
            raise SignatureError("malformed-timestamp", "use 1 to 12 decimal digits")
        if not abs(now - int(timestamp)) <= self.tolerance:  # so that a clock that is no number proves nothing
            side = "before" if int(timestamp) < now else "after"
            apart = min(abs(now - int(timestamp)), LONGEST_APART)
            raise SignatureError("stale", f"{apart:.0f} s {side} the clock, beyond {self.tolerance} s")
        return int(timestamp)


def is_blank(text: str) -> bool:
    """Whether nothing can be seen of it."""
    return not any(char.isprintable() and not char.isspace() for char in text)


def lower(name: str) -> str:
    """A header's name to compare by. Beyond ASCII nothing is folded: some letters would become other names' ones."""
    return name.lower() if name.isascii() else name


def same(expected: str, given: str) -> bool:
    """Compare in constant time; text that is not ASCII is never the same."""
    return given.isascii() and hmac.compare_digest(expected, given)


def first_match(expected: Sequence[str], given: Sequence[str]) -> int | None:
    """The place of the first expected text that is among those given; every pair is compared."""
    matches = [index for index, text in enumerate(expected) for candidate in given if same(text, candidate)]
    return min(matches, default=None)


def decode_base64(text: str) -> bytes:
    """Standard base64 with its padding, in the one spelling that encodes its bytes; raises ValueError."""
    try:
        decoded = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError("not base64") from error
    if base64.b64encode(decoded).decode() != text:
        raise ValueError("not canonical base64")
    return decoded


def decode_hex(text: str) -> bytes:
    """Hexadecimal digits in lower case; raises ValueError."""
    if not re.fullmatch(r"(?:[0-9a-f]{2})*", text):
        raise ValueError("not lower-case hex")
    return bytes.fromhex(text)


def check_id(delivery_id: str) -> str:
    """An id that can be signed, logged and stored; raises `SignatureError`.

    It has no full stop: that ends it in what is signed, and one within would let it be cut in another place.
    """
    if len(delivery_id) > LONGEST_ID or not ID.fullmatch(delivery_id):
        raise SignatureError("malformed-id", f"use 1 to {LONGEST_ID} printable ASCII characters, and no full stop")
    return delivery_id


def hmac_key(key: bytes) -> bytes:
    """The key of an HMAC; raises `ConfigError` for none. Zeros are none: HMAC pads a key with them."""
    if not key.strip(b"\0"):
        raise ConfigError("a secret is empty, or nothing but zeros")
    return key


def pairs(text: str, separator: str) -> Iterator[tuple[str, str]]:
    """The `key=value` entries of a header; malformed ones are skipped, and the list is capped."""
    for entry in text.split(separator)[:MOST_SIGNATURES]:
        key, equals, value = entry.partition("=")
        if equals:
            yield key, value
