"""The schemes that compute one HMAC over a template: the rows of a table, and a generic scheme for other providers.

Sources: the providers' own documentation of their webhooks' signatures, and their published libraries.
"""

from __future__ import annotations

import base64
import copy
import hmac
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, Literal, Self

from activities.environment import is_text
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    Scheme,
    SignatureError,
    SignedRequest,
    Verified,
    first_match,
    hmac_key,
    lower,
    pairs,
)

ENCODINGS: Final[dict[str, Callable[[bytes], str]]] = {
    "hex": lambda mac: mac.hex(),
    "base64": lambda mac: base64.b64encode(mac).decode(),
}
ALGORITHMS: Final = ("sha1", "sha256", "sha384", "sha512")
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HEX_KEY: Final = re.compile(r"[0-9A-Fa-f]{64}")
SAMPLE_HEX_KEY: Final = b"not-a-secret-not-a-secret-not-a-".hex()
PLACE: Final = re.compile(r"\{(body|timestamp|url)\}")
UNBOUNDED: Final = re.compile(r"[}0-9]\{timestamp\}")
"""A `{timestamp}` right after another place or a digit: nothing in the signed text shows where its digits begin."""

MOST_GROUPS: Final = 8
"""Lists with their own timestamp that are checked: each costs one HMAC of the body per key."""

MOST_NUMBERED: Final = 100
"""DocuSign numbers its headers from 1 to 100, a header for each key of an account."""


@dataclass(frozen=True)
class Row:
    """How one provider applies HMAC.

    header: the name of the signature's header. With `numbered`, the partner sends a header per key, named `HEADER-1`,
        `HEADER-2`, ...
    signed: a template of the signed text, with `{body}`, `{timestamp}` and `{url}` as placeholders.
    prefix: the text before the signature in its header.
    timestamp_header: the name of the timestamp's header, if it has its own.
    fields: if the header is a list such as `t=1,v1=abc`: the separator, the timestamp's key and the signatures' key.
    groups: the separator between several such lists, each with its own timestamp.
    says: the name of an optional header that names the method, and the only value it may have.
    hex_key: the secret is the key of 32 bytes in hexadecimal. Otherwise the secret's text is the key.
    """

    header: str
    signed: str = "{body}"
    algorithm: str = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    timestamp_header: str = ""
    fields: tuple[str, str, str] | None = None
    groups: str = ""
    numbered: bool = False
    hex_key: bool = False
    says: tuple[str, str] | None = None
    note: str = ""


UNTIMED: Final = "Signs no timestamp: a captured request stays valid, so only what it does may not be done twice."
UNDIVIDED: Final = "Nothing divides the URL from the body: the start of the body could be moved to the end of a query."

ROWS: Final[dict[str, Row]] = {
    "github": Row("X-Hub-Signature-256", prefix="sha256=", note=UNTIMED),
    "stripe": Row("Stripe-Signature", "{timestamp}.{body}", fields=(",", "t", "v1")),
    "slack": Row(
        "X-Slack-Signature", "v0:{timestamp}:{body}", prefix="v0=", timestamp_header="X-Slack-Request-Timestamp"
    ),
    "shopify": Row("X-Shopify-Hmac-SHA256", encoding="base64", note=UNTIMED),
    "square": Row("x-square-hmacsha256-signature", "{url}{body}", encoding="base64", note=f"{UNTIMED} {UNDIVIDED}"),
    "zoom": Row("x-zm-signature", "v0:{timestamp}:{body}", prefix="v0=", timestamp_header="x-zm-request-timestamp"),
    "docusign": Row(
        "X-DocuSign-Signature",
        encoding="base64",
        numbered=True,
        says=("X-Authorization-Digest", "HMACSHA256"),
        note=UNTIMED,
    ),
    "persona": Row("Persona-Signature", "{timestamp}.{body}", fields=(",", "t", "v1"), groups=" "),
    "onfido": Row("X-SHA2-Signature", note=UNTIMED),
    "paddle": Row("Paddle-Signature", "{timestamp}:{body}", fields=(";", "ts", "h1")),
    "adyen-platform": Row("HmacSignature", encoding="base64", hex_key=True, note=UNTIMED),
}


@lru_cache(maxsize=256)
def _parts(template: str) -> list[str]:
    """A template's texts, and the names of the places between them."""
    return PLACE.split(template)


class HmacScheme(Scheme):
    """A scheme that a `Row` describes."""

    row: ClassVar[Row] = Row("")
    _row: Row

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._row = getattr(self, "_row", None) or type(self).row
        self._keys = [_read_key(secret, hex_key=self._row.hex_key) for secret in secrets]
        self.covers_url = "{url}" in self._row.signed
        self.covers_time = "{timestamp}" in self._row.signed
        self.header = f"{self._row.header}-1" if self._row.numbered else self._row.header

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check every signature that the request carries against every key."""
        if self.covers_url and not request.url:
            raise SignatureError("malformed-url", "missing: this scheme signs the URL")
        if self._row.says:
            _check_method(request, *self._row.says)
        seen: SignatureError | None = None
        for timestamp, signatures in self._proofs(request):
            try:
                moment = None if timestamp is None else self._in_time(timestamp, now)
            except SignatureError as error:
                seen = seen or error
                continue
            expected = [self._mac(key, timestamp or "", request.url, request.body) for key in self._keys]
            if (index := first_match(expected, signatures)) is not None:
                return Verified(index, moment)
        raise seen or SignatureError("mismatch", "no signature is by one of our keys")

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the headers, signed with the first key. The scheme sends no delivery id."""
        if self.covers_url and not url:
            raise ConfigError("the scheme signs the URL: give one")
        row, timestamp = self._row, str(int(now))
        mac = self._mac(self._keys[0], timestamp, url, body)
        if row.fields:
            separator, time_key, signature_key = row.fields
            return [(self.header, f"{time_key}={timestamp}{separator}{signature_key}={mac}")]
        stamp = [(row.timestamp_header, timestamp)] if row.timestamp_header else []
        return [*stamp, (self.header, mac)]

    def with_key(self, key: bytes) -> Self:
        """Return the same scheme with `key` as its only key. Any bytes can be a key."""
        other = copy.copy(self)
        other._keys = [key]
        return other

    def carried(self, request: SignedRequest) -> list[tuple[str, str]]:
        """Return the signature headers; if they are numbered, there are as many as the account has keys."""
        if not self._row.numbered:
            return super().carried(request)
        every = (f"{self._row.header}-{number}" for number in range(1, MOST_NUMBERED + 1))
        names = {name.lower(): name for name in every}
        return [(names[lower(name)], value) for name, value in request.headers if lower(name) in names]

    def _proofs(self, request: SignedRequest) -> Iterator[tuple[str | None, list[str]]]:
        """Yield each timestamp in the request, with the signatures that belong to it."""
        row = self._row
        if row.fields and row.groups:
            yield from _read_groups(request.one(row.header).split(row.groups)[:MOST_GROUPS], row.fields)
        elif row.fields:
            yield _read_fields(request.one(row.header), *row.fields)
        elif row.numbered:
            yield None, _once_each(self.carried(request), self.header)
        else:
            timestamp = request.one(row.timestamp_header) if row.timestamp_header else None
            yield timestamp, [request.one(row.header)]

    def _mac(self, key: bytes, timestamp: str, url: str, body: bytes) -> str:
        """Return the signature's text, including its prefix."""
        values = {"body": body, "timestamp": timestamp.encode(), "url": _plain(url) if self.covers_url else b""}
        parts = _parts(self._row.signed)
        signed = b"".join(values[part] if at % 2 else part.encode() for at, part in enumerate(parts))
        mac = hmac.digest(key, signed, self._row.algorithm)
        return self._row.prefix + ENCODINGS[self._row.encoding](mac)


class GenericHmac(HmacScheme):
    """An HMAC in a header of any name, for a provider that has no row of its own.

    header: the signature's header. algorithm: sha1, sha256, sha384 or sha512. encoding: hex or base64. prefix: the text
    before the signature. signed: `body`, or a template with `{body}`, `{timestamp}` and `{url}`. timestamp_header: the
    timestamp's header, required if the template has `{timestamp}`.

    Without `{timestamp}`, a captured request stays valid: make sure that its effect cannot happen twice. If you may
    choose the template, separate its placeholders. With `{url}{body}` and a URL that has a query, a forger could move
    the beginning of the body to the end of the URL.
    """

    name = "hmac"
    options = ("header", "algorithm", "encoding", "prefix", "signed", "timestamp_header")
    sample_secret = ""

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        header: str = "",
        algorithm: str = "sha256",
        encoding: Literal["hex", "base64"] = "hex",
        prefix: str = "",
        signed: str = "body",
        timestamp_header: str = "",
        tolerance: int = DEFAULT_TOLERANCE,
    ) -> None:
        options = (header, algorithm, encoding, prefix, signed, timestamp_header)
        if not all(isinstance(option, str) and is_text(option) for option in options):
            raise ConfigError("every option but tolerance is text")
        template = "{body}" if signed == "body" else signed
        if algorithm not in ALGORITHMS or encoding not in ENCODINGS:
            raise ConfigError(f"algorithm is one of {', '.join(ALGORITHMS)}, encoding one of {', '.join(ENCODINGS)}")
        if not HEADER_NAME.fullmatch(header):
            raise ConfigError("header is missing or invalid: name the header that holds the signature")
        if timestamp_header and not HEADER_NAME.fullmatch(timestamp_header):
            raise ConfigError("timestamp_header is the name of a header")
        if lower(timestamp_header) == lower(header):
            raise ConfigError("timestamp_header is another header than the signature's")
        if not prefix.isascii() or (prefix and not prefix.isprintable()):
            raise ConfigError("prefix has printable ASCII characters")
        if "{body}" not in template or PLACE.sub("", template).count("{"):
            raise ConfigError("signed is `body`, or a template with {body} and if need be {timestamp} and {url}")
        if ("{timestamp}" in template) != bool(timestamp_header):
            raise ConfigError("a template with {timestamp} needs timestamp_header, and no other template takes one")
        self._row = Row(header, template, algorithm, encoding, prefix, timestamp_header)
        super().__init__(secrets, tolerance=tolerance)

    def _in_time(self, timestamp: str, now: float) -> int:
        # With `{url}{timestamp}`, `?n=10` at 1700000000 and `?n=1` at 01700000000 are signed alike, and both in time.
        if timestamp.startswith("0") and UNBOUNDED.search(self._row.signed):
            raise SignatureError("malformed-timestamp", "it begins with 0, and nothing divides it from what is before")
        return super()._in_time(timestamp, now)


def _read_key(secret: str, *, hex_key: bool) -> bytes:
    if not hex_key:
        return hmac_key(_plain(secret))
    if not HEX_KEY.fullmatch(secret):
        raise ConfigError("a secret is not 64 hexadecimal digits")
    return hmac_key(bytes.fromhex(secret))


def _plain(text: str) -> bytes:
    # UTF-8 cannot encode a lone surrogate, but `verify` must raise nothing but `SignatureError`.
    return text.encode("utf-8", "surrogatepass")


def _read_fields(text: str, separator: str, time_key: str, signature_key: str) -> tuple[str, list[str]]:
    entries = list(pairs(text, separator))
    times = [value for key, value in entries if key == time_key]
    if len(times) != 1:
        raise SignatureError("malformed-header", f"{time_key}= is given {len(times)} times")
    return times[0], [value for key, value in entries if key == signature_key]


def _read_groups(groups: Sequence[str], fields: tuple[str, str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the lists that can be read. Malformed lists are skipped; if all are malformed, raises `SignatureError`."""
    malformed: SignatureError | None = None
    read = []
    for group in groups:
        try:
            read.append(_read_fields(group, *fields))
        except SignatureError as error:
            malformed = error
    if malformed and not read:
        raise malformed
    yield from read


def _check_method(request: SignedRequest, header: str, method: str) -> None:
    if request.all(header) and request.one(header) != method:
        raise SignatureError("malformed-header", f"{header} is not {method}")


def _once_each(headers: Sequence[tuple[str, str]], first: str) -> list[str]:
    """Return the values of numbered headers; raises `SignatureError` if there are none, or if a header is repeated."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name in found:
            raise SignatureError("repeated-header", name)
        found[name] = value
    if not found:
        raise SignatureError("missing-header", first)
    return list(found.values())


def schemes() -> dict[str, type[Scheme]]:
    """Make a class for every row, and add the generic scheme."""
    made: dict[str, type[Scheme]] = {
        name: type(
            f"{name.title().replace('-', '')}Hmac",
            (HmacScheme,),
            {
                "name": name,
                "row": row,
                "sample_secret": SAMPLE_HEX_KEY if row.hex_key else Scheme.sample_secret,
                "__doc__": f"{name}: HMAC-{row.algorithm} of `{row.signed}`. {row.note}".strip(),
            },
        )
        for name, row in ROWS.items()
    }
    return {**made, GenericHmac.name: GenericHmac}
