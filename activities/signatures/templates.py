"""Templates: the text that a partner signs, such as `{timestamp}.{body}` or `{method}{url}{body}{timestamp}`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from activities.signatures.encodings import ALGORITHMS, ENCODINGS, plain
from activities.signatures.places import Reading, ValuePlace, without_query_field
from activities.signatures.scheme import ConfigError, SignatureError
from activities.signatures.twilio import signed_fields

TEMPLATE_PLACE: Final = re.compile(r"\{([^{}]*)\}")
UNBOUNDED: Final = re.compile(r"[}0-9]\{timestamp\}")
"""A `{timestamp}` right after another place or a digit: nothing in the signed text shows where its digits begin."""

OPEN: Final = {"body", "form", "url", "target", "path", "query"}
"""Places whose values may hold any character: only what is before a later value shows where that value begins."""

DIGESTS: Final = {*ALGORITHMS, "md5"}
ORIGIN: Final = re.compile(r"^[A-Za-z]+://[^/?]*")


@dataclass(slots=True)
class Context:
    """What a template is filled with.

    timestamp: as received. values: of the signature's form, by place. secret: the key, for a digest without HMAC.
    hidden: the field of the query or of a form that holds the signature; it is not signed.
    """

    reading: Reading
    timestamp: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    secret: bytes = b""
    hidden: str = ""

    @property
    def url(self) -> str:
        """The URL without the signature."""
        url = self.reading.request.url
        return without_query_field(url, self.hidden) if self.hidden else url

    @property
    def target(self) -> str:
        """Path and query."""
        return ORIGIN.sub("", self.url, count=1) or "/"

    @property
    def host(self) -> str:
        """Host and port."""
        return self.url.partition("://")[2].partition("/")[0].partition("?")[0]


ReadPlace = Callable[[Context], bytes]

WORDS: Final[Mapping[str, ReadPlace]] = {
    "body": lambda context: context.reading.request.body,
    "timestamp": lambda context: plain(context.timestamp),
    "url": lambda context: plain(context.url),
    "method": lambda context: plain(context.reading.request.method),
    "host": lambda context: plain(context.host),
    "target": lambda context: plain(context.target),
    "path": lambda context: plain(context.target.partition("?")[0]),
    "query": lambda context: plain(context.target.partition("?")[2]),
    "form": lambda context: signed_fields(context.reading.request, hidden=context.hidden),
    "secret": lambda context: context.secret,
}
"""The places without an argument, and how each is read."""


class Template:
    """A template of the signed text. extras: the places of the signature's form. Raises `ConfigError`."""

    def __init__(self, text: str, extras: Collection[str] = ()) -> None:
        parts = TEMPLATE_PLACE.split(text)
        if any("{" in literal or "}" in literal for literal in parts[::2]):
            raise ConfigError("invalid signed: a brace is not closed or not opened; write places such as {body}")
        self.text, self._all = text, parts
        self.names = frozenset(parts[1::2])
        self._parts: list[bytes | ReadPlace] = [plain(parts[0])]
        is_open = False
        for name, before, after in zip(parts[1::2], parts[::2], parts[2::2], strict=False):
            self._parts += [_reader(name, (before[-1:] if is_open else "") + after[:1], extras), plain(after)]
            is_open = is_open or name.partition(":")[0] in OPEN
        self._parts = [part for part in self._parts if part != b""]
        self.headers = [ValuePlace.of(name).name for name in parts[1::2] if name.startswith("header:")]
        if not self.names - {"secret"}:
            raise ConfigError("invalid signed: use `body`, or a template such as {timestamp}.{body}")

    @property
    def covers_body(self) -> bool:
        """Whether the whole body is signed, as it is or as a digest, or every field of a form."""
        return self.has_body or any(name.partition(":")[0] == "form" for name in self.names)

    @property
    def has_body(self) -> bool:
        """Whether the bytes of the body are signed, as they are or as a digest."""
        return any(name.partition(":")[0] == "body" for name in self.names)

    @property
    def covers_url(self) -> bool:
        """Whether the path and the whole query are signed."""
        return bool(self.names & {"url", "target"}) or self.names >= {"path", "query"}

    @property
    def needs_url(self) -> bool:
        """Whether any part of the URL is signed."""
        words = {"url", "target", "path", "query", "host"}
        return any(name in words or name.startswith("query:") for name in self.names)

    def bounds(self, name: str) -> bool:
        """Whether the text shows where the place's value begins and ends: texts or the timestamp are beside it."""
        at = next((at for at, found in enumerate(self._all[1::2]) if found == name), 0)
        before, after = self._all[2 * at], self._all[2 * at + 2]
        is_first, is_last = at == 0, 2 * at + 3 == len(self._all)
        return bool(before or is_first or self._all[2 * at - 1] == "timestamp") and bool(
            after or is_last or self._all[2 * at + 3] == "timestamp"
        )

    def fill(self, context: Context) -> bytes:
        """Return the signed bytes; raises `SignatureError` for a request that lacks a value."""
        return b"".join([part if isinstance(part, bytes) else part(context) for part in self._parts])


def _reader(name: str, beside: str, extras: Collection[str]) -> ReadPlace:
    """Return what reads the place. beside: the characters that show where its value begins and ends."""
    if name in WORDS:
        return WORDS[name]
    if name in extras:
        return lambda context: plain(_ended(context.values.get(name, ""), name, beside))
    kind, _, argument = name.partition(":")
    if kind == "body":
        return _digest(argument)
    if kind == "form" and len(argument) == 2:
        between, joined_by = argument[0], argument[1]
        return lambda context: signed_fields(
            context.reading.request, hidden=context.hidden, between=between, joined_by=joined_by
        )
    if kind in {"header", "query", "field"}:
        place = ValuePlace.of(name)
        return lambda context: plain(_ended(place.read(context.reading), str(place), beside))
    known = ", ".join(f"{{{word}}}" for word in WORDS)
    raise ConfigError(
        f"unknown place {{{name}}} in signed: use {known}, {{header:NAME}}, {{query:NAME}}, {{field:PATH}}"
    )


def _digest(argument: str) -> ReadPlace:
    algorithm, _, encoding = argument.partition(":")
    if algorithm not in DIGESTS or (encoding and encoding not in {*ENCODINGS, "raw"}):
        raise ConfigError(f"unknown digest {{body:{argument}}}: use {{body:sha256}} or {{body:sha256:base64}}")

    def read(context: Context) -> bytes:
        digest = hashlib.new(algorithm, context.reading.request.body, usedforsecurity=False).digest()
        return digest if encoding == "raw" else ENCODINGS[encoding or "hex"](digest).encode()

    return read


def _ended(value: str, name: str, beside: str) -> str:
    """Return the value if it holds none of the characters beside it.

    With `{header:X-Id}.{timestamp}.{body}`, id `a.5`, time 1, body `x` and id `a`, time 5, body `1.x` are signed alike.
    """
    if any(char in value for char in beside):
        raise SignatureError("malformed-id", f"{name} has the character that ends it in the signed text")
    return value
