"""Places: where a request holds a value: in a header, in the URL's query or in a field of the body.

Written `header:X-Sig`, `query:sig` and `field:event.hash`. A field's path has a key for each level; a text that is JSON
itself, as in Dropbox Sign's multipart bodies, is a level too. A value that is missing or repeated is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode

from activities.signatures.scheme import ConfigError, SignatureError, SignedRequest, lower

HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
LARGEST_READ: Final = 128 * 1024
"""Bytes. A body whose fields are signed is decoded before it is proven, so larger ones are refused."""

MOST_FIELDS_READ: Final = 1000


class Reading:
    """A request whose values are read. Raises `SignatureError` for what cannot be read.

    is_proven: whether the body's signature has been verified, so that a large one may be decoded.
    """

    def __init__(self, request: SignedRequest) -> None:
        self.request = request
        self.is_proven = False

    @property
    def query(self) -> str:
        """The URL's query, undecoded."""
        return (self.request.url or "").partition("?")[2].partition("#")[0]

    @cached_property
    def query_fields(self) -> list[tuple[str, str]]:
        """The query's fields, decoded."""
        try:
            return parse_qsl(self.query, keep_blank_values=True, max_num_fields=MOST_FIELDS_READ, errors="strict")
        except ValueError as error:
            raise SignatureError("malformed-url", "its query cannot be decoded") from error

    @cached_property
    def fields(self) -> Any:
        """The body's fields: a JSON value, or the fields of a form or a multipart body."""
        from activities.partners.received import Received, Unreadable

        self._check_size(self.request.body)
        try:
            received = Received.of(self.request.body, list(self.request.headers))
            self._check_size(received.body)
            if received.media_type == "multipart/form-data":
                return received.multipart()
            is_json = received.body.lstrip(b" \t\r\n").startswith((b"{", b"["))
            return received.json() if is_json else received.form()
        except Unreadable as error:
            raise SignatureError("malformed-body", "its fields cannot be read") from error

    def _check_size(self, body: bytes) -> None:
        if len(body) > LARGEST_READ and not self.is_proven:
            raise SignatureError(
                "malformed-body", f"more than {LARGEST_READ} bytes, whose fields are not read unproven"
            )


@dataclass(frozen=True)
class ValuePlace:
    """Where a value is. kind: header, query or field. name: the header's or field's name, or the path of the field."""

    kind: str
    name: str

    @classmethod
    def of(cls, text: str) -> ValuePlace:
        """Read a place such as `field:event.hash`; raises `ConfigError`."""
        kind, colon, name = text.partition(":")
        if kind not in {"header", "query", "field"} or not colon or not name or not name.isprintable():
            raise ConfigError(f"unknown place {text!r}: use header:NAME, query:NAME or field:PATH")
        if kind == "header" and not HEADER_NAME.fullmatch(name):
            raise ConfigError(f"invalid name of a header {name!r}")
        return cls(kind, name)

    def __str__(self) -> str:
        words = {"header": self.name, "query": f"{self.name} in the query", "field": f"{self.name} in the body"}
        return words[self.kind]

    def read(self, reading: Reading) -> str:
        """Return the only value at the place; raises `SignatureError`."""
        if self.kind == "header":
            return reading.request.one(self.name)
        if self.kind == "field":
            return _text_of(self._at(reading.fields), self.name)
        values = [value for name, value in reading.query_fields if name == self.name]
        if len(values) != 1:
            raise SignatureError("malformed-url", f"its query has {self.name} {len(values)} times")
        return values[0]

    def write(self, request: SignedRequest, value: str) -> SignedRequest:
        """Return the request with the value at the place, in place of any other; raises `ConfigError`."""
        if self.kind == "header":
            others = [pair for pair in request.headers if lower(pair[0]) != lower(self.name)]
            return replace(request, headers=[*others, (self.name, value)])
        if self.kind == "query":
            url = without_query_field(request.url, self.name)
            return replace(request, url=f"{url}{'&' if '?' in url else '?'}{quote(self.name)}={quote(value, safe='')}")
        return replace(request, body=_with_field(request.body, self.name, value))

    def _at(self, value: Any) -> Any:
        for key in self.name.split("."):
            value = _step(value, key, self.name)
        return value


def without_query_field(url: str, name: str) -> str:
    """Return the URL without the query's fields of this name. All other characters stay as they are."""
    head, question, query = url.partition("?")
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != name]
    return f"{head}{question}{'&'.join(kept)}" if question and kept else head


def _step(value: Any, key: str, path: str) -> Any:
    from activities import strict_json

    if isinstance(value, (str, bytes)):
        try:
            value = strict_json.loads(value.encode() if isinstance(value, str) else value)
        except (strict_json.NotStrictJSON, UnicodeEncodeError):
            value = None
    if isinstance(value, Mapping) and key in value:
        return value[key]
    if isinstance(value, list) and re.fullmatch(r"[0-9]{1,4}", key) and int(key) < len(value):
        return value[int(key)]
    raise SignatureError("malformed-body", f"it has no {path}")


def _text_of(value: Any, path: str) -> str:
    """Return a text, the digits of a whole number, or true or false as JSON writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        try:
            return str(value)
        except ValueError as error:
            raise SignatureError("malformed-body", f"{path} has too many digits") from error
    if isinstance(value, str):
        return value
    raise SignatureError("malformed-body", f"{path} is not one text or whole number")


def _with_field(body: bytes, path: str, value: str) -> bytes:
    """Return the JSON or the form with the value at the path; raises `ConfigError` for any other body."""
    try:
        if body.lstrip().startswith(b"{"):
            return _with_path(body.decode(), path, value).encode()
        name, _, rest = path.partition(".")
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body))
        text = _with_path(dict(fields).get(name, "{}"), rest, value) if rest else value
        return urlencode([*((key, old) for key, old in fields if key != name), (name, text)]).encode()
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(f"the body has no place for {path}") from error


def _with_path(text: str, path: str, value: str) -> str:
    document = json.loads(text)
    *parents, last = path.split(".")
    inner = document
    for key in parents:
        inner = inner.setdefault(key, {})
    inner[last] = int(value) if isinstance(inner.get(last), int) and value.isdecimal() else value
    return json.dumps(document, separators=(",", ":"))
