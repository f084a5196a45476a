"""The base class of all signature schemes: one interface to verify and sign, one error for a refused request.

These rules apply to every scheme. The signature is over the raw bytes, never over a parsed form. A header that the
scheme reads must not be repeated. A timestamp is 1 to 12 decimal digits, signed as received, and close to the clock in
both directions. Base64 and hex are accepted in their canonical spelling only. Comparisons take constant time. A missing
secret is an error at construction; it never makes a request pass.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Self

from activities.environment import is_text

DEFAULT_TOLERANCE: Final = 300
"""Seconds that a timestamp may differ from the clock, either way: the advice of Standard Webhooks, Stripe and Slack."""

LONGEST_APART: Final = 10**13
"""The largest difference in seconds between timestamp and clock that an error states.

A clock may show any number, and not every number can be formatted.
"""

MOST_SIGNATURES: Final = 32
"""Signatures in a list that are checked; the rest is ignored. Providers send two while they rotate keys."""

LONGEST_SIGNED_ID: Final = 256
PREFIXES: Final = {"whsec_", "whpk_", "whsk_"}
TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
ID: Final = re.compile(r"[\x21-\x2d\x2f-\x7e]+")


class ConfigError(ValueError):
    """The scheme cannot be set up: a secret is missing, blank, undecodable or too short, or an option is unknown."""


class SignatureError(Exception):
    """The request is not proven to come from the partner.

    reason: the step that failed: `missing-header`, `repeated-header`, `malformed-header`, `malformed-timestamp`,
    `stale`, `malformed-id`, `malformed-url`, `malformed-body`, `body-mismatch`, `wrong-claim`, `mismatch`, `no-key`.
    detail: what exactly is wrong; it quotes no value.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class KeyUnavailable(SignatureError):
    """The key to check the request with has not been fetched yet, so the request is neither proven nor refused.

    It must be answered in a way that makes the partner send again.
    """

    def __init__(self, detail: str) -> None:
        super().__init__("no-key", detail)


@dataclass(frozen=True)
class SignedRequest:
    """A request as it was received.

    url: the public URL that the partner was given. It is built from PUBLIC_URL, never from the socket.
    headers: pairs of name and value, in the order received, including repeated headers.
    """

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return every value of the header, in order."""
        wanted, size = lower(name), len(name)
        return [value for key, value in self.headers if len(key) == size and lower(key) == wanted]

    def one(self, name: str) -> str:
        """Return the header's only value; raises `SignatureError` if the header is missing or repeated."""
        values = self.all(name)
        if not values:
            raise SignatureError("missing-header", name)
        if len(values) > 1:
            raise SignatureError("repeated-header", name)
        return values[0]


@dataclass(frozen=True)
class Verified:
    """What a valid signature proves.

    key_index: the index of the secret that verified it. timestamp: unix seconds, if the scheme signs a timestamp.
    delivery_id: the partner's id of the delivery, if the signature covers an id. Do not deduplicate by anything else.
    """

    key_index: int
    timestamp: int | None = None
    delivery_id: str | None = None


class Scheme(ABC):
    """A provider's way of signing.

    secrets: as the provider shows them. Each secret verifies; the first one signs. They are kept for a diagnosis.
    tolerance: seconds, for schemes that sign a timestamp. Raises `ConfigError`.

    covers_body, covers_url, covers_time: what the signature covers: all of the body; path and query of the URL.
    covers_event: whether it covers what every event in the body is about and says, though not all of the body.
    event_proof, body_limits: what is proven of the body then, and what is not, in words.
    needs_url: whether the URL must be known, to verify or to sign. header: the name of the header that holds the
    signature, "" if it is elsewhere. header_is_secret: whether that header's value is a secret. fixed_length: whether
    all signatures have the same number of characters; DER-encoded ones vary.

    The rest is for the command line. options: the names of the constructor's options, except tolerance and private key.
    takes_private_key: whether the constructor takes `private_key`, to sign with. signing_advice: what to do if `sign`
    raises `ConfigError`, in the options of `stagehook signature sign`. sample_secret: a secret for tests, which
    protects nothing; "" for a scheme that cannot sign every JSON body with the secret alone.
    """

    name: ClassVar[str] = ""
    secrets: tuple[str, ...] = ()
    covers_body = True
    covers_event = False
    event_proof: ClassVar[str] = "each event"
    body_limits: ClassVar[str] = (
        "the whole body: only what an event is about and what happened; read nothing else from it"
    )
    covers_url = False
    covers_time = False
    needs_url = False
    header_is_secret: ClassVar[bool] = False
    fixed_length: ClassVar[bool] = True
    header = ""
    options: ClassVar[tuple[str, ...]] = ()
    takes_private_key: ClassVar[bool] = False
    signing_advice: ClassVar[str] = "give --url"
    sample_secret: ClassVar[str] = "not-a-secret"  # noqa: S105

    def __init__(self, secrets: Sequence[str], *, tolerance: int = DEFAULT_TOLERANCE) -> None:
        if isinstance(secrets, str) or not isinstance(secrets, Sequence) or not secrets:
            raise ConfigError("secrets is a list of at least one secret")
        if isinstance(tolerance, bool) or not isinstance(tolerance, int) or tolerance < 0:
            raise ConfigError("tolerance is a number of seconds, 0 or more")
        self.tolerance = tolerance
        self.secrets = tuple(secrets)
        for secret in secrets:
            if not isinstance(secret, str) or is_blank(secret):
                raise ConfigError("a secret is empty")
            if not is_text(secret):
                raise ConfigError("a secret is not UTF-8 text")
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
        """Check the request at the time `now` (unix seconds); raises `SignatureError`, and nothing else."""

    @abstractmethod
    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the headers that sign the body as the partner does, with the first secret."""

    def sign_request(self, request: SignedRequest, *, now: float, delivery_id: str) -> SignedRequest:
        """Return the request with its signature, in place of any that it has; raises `ConfigError`.

        A scheme whose signature is in the query or in the body changes these; `sign` cannot.
        """
        signed = self.sign(request.body, url=request.url, now=now, delivery_id=delivery_id)
        replaced = {lower(name) for name, _ in signed}
        return replace(
            request, headers=[*(pair for pair in request.headers if lower(pair[0]) not in replaced), *signed]
        )

    @property
    def place(self) -> str:
        """Where the signature is, in words."""
        return self.header

    def prepare(self, *, wait: float = 0.0) -> None:  # noqa: B027 - most schemes hold their keys
        """Begin to fetch keys that are published at a URL. wait: seconds to wait for them at most."""

    @staticmethod
    def hidden_part(secret: str) -> str:
        """Return the part of a secret that must not be guessable."""
        return secret

    def with_key(self, key: bytes) -> Self | None:
        """Return the same scheme with only this key, for a diagnosis; None if its keys are not arbitrary bytes."""
        return None

    def explanation(self) -> list[tuple[str, str]]:
        """Say for people what is read and what is signed: pairs of a word and a text."""
        doc = (type(self).__doc__ or "").strip().partition("\n\n")[0]
        return [("scheme", " ".join(doc.split())), ("signature", self.place)]

    def variants(self, request: SignedRequest) -> Iterator[tuple[str, str, Self]]:
        """Yield the scheme with other options, for a diagnosis: the step they belong to, their text, the scheme."""
        yield from ()

    def carried(self, request: SignedRequest) -> list[tuple[str, str]]:
        """Return the request's signature headers as pairs of name and value."""
        return [(self.header, value) for value in request.all(self.header)]

    def _in_time(self, timestamp: str, now: float) -> int:
        if not TIMESTAMP.fullmatch(timestamp):
            raise SignatureError("malformed-timestamp", "use 1 to 12 decimal digits")
        return self._near(int(timestamp) * 1000, now)

    def _near(self, milliseconds: int, now: float) -> int:
        """Return the time in seconds; raises `SignatureError` if it is not close to the clock."""
        apart = abs(now * 1000 - milliseconds)
        if not apart <= self.tolerance * 1000:  # `not <=`, so that a NaN clock fails
            side = "before" if milliseconds < now * 1000 else "after"
            says = min(apart, LONGEST_APART * 1000) / 1000
            raise SignatureError("stale", f"{says:.0f} s {side} the clock, beyond {self.tolerance} s")
        return milliseconds // 1000


def check_choice(name: str, given: object, known: Collection[str]) -> None:
    """Raise `ConfigError` unless the option is one of the known words."""
    if not isinstance(given, str) or given not in known:
        quoted = "" if name == "key" else f" {given!r}"  # it may be the secret, typed as the key
        raise ConfigError(f"unknown {name}{quoted}: use one of {', '.join(known)}")


def is_blank(text: str) -> bool:
    """Whether the text has no visible character."""
    return not any(char.isprintable() and not char.isspace() for char in text)


def lower(name: str) -> str:
    """Lower-case a header's name for comparison, if it is ASCII.

    Other names stay as they are: some letters would turn into ASCII, such as the Kelvin sign into k.
    """
    return name.lower() if name.isascii() else name


def same(expected: str, given: str) -> bool:
    """Compare two texts in constant time; a given text that is not ASCII never matches."""
    return given.isascii() and hmac.compare_digest(expected, given)


def first_match(expected: Sequence[str], given: Sequence[str]) -> int | None:
    """Return the index of the first expected text that is among the given ones; always compares every pair."""
    matches = [index for index, text in enumerate(expected) for candidate in given if same(text, candidate)]
    return min(matches, default=None)


def decode_base64(text: str) -> bytes:
    """Decode standard base64 with padding. Only the canonical spelling of the bytes is valid; raises ValueError."""
    try:
        decoded = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError("not base64") from error
    if base64.b64encode(decoded).decode() != text:
        raise ValueError("not canonical base64")
    return decoded


def decode_hex(text: str) -> bytes:
    """Decode hexadecimal digits in lower case; raises ValueError."""
    if not re.fullmatch(r"(?:[0-9a-f]{2})*", text):
        raise ValueError("not lower-case hex")
    return bytes.fromhex(text)


def check_id(delivery_id: str) -> str:
    """Return the id if it can be signed, logged and stored; raises `SignatureError`.

    An id with a full stop is invalid, because a full stop ends the id in the signed text. Otherwise id `a.5`, timestamp
    1, body `x` and id `a`, timestamp 5, body `1.x` would be signed alike.
    """
    if len(delivery_id) > LONGEST_SIGNED_ID or not ID.fullmatch(delivery_id):
        raise SignatureError(
            "malformed-id", f"use 1 to {LONGEST_SIGNED_ID} printable ASCII characters, and no full stop"
        )
    return delivery_id


def hmac_key(key: bytes) -> bytes:
    """Return the key of an HMAC; raises `ConfigError` if it is empty or all zeros. HMAC pads keys with zeros."""
    if not key.strip(b"\0"):
        raise ConfigError("a secret is empty, or nothing but zeros")
    return key


def pairs(text: str, separator: str) -> Iterator[tuple[str, str]]:
    """Yield the `key=value` entries among the first `MOST_SIGNATURES` of a header; skip malformed entries."""
    for entry in text.split(separator)[:MOST_SIGNATURES]:
        key, equals, value = entry.partition("=")
        if equals:
            yield key, value
