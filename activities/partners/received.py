"""Received: a partner's request as its file sees it, with readers for the forms that partners send.

The readers are strict: they refuse whatever two readers could understand differently. `lenient=True` is for partners
that send such bodies. It is safe behind a body signature: a flaw in a field that the file reads is still refused.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element, ParseError, tostring

import defusedxml
import multipart
from defusedxml import ElementTree

from activities import strict_json

MAX_FIELDS: Final = 1000
"""Fields of a form or a query, parts of a multipart body."""

MAX_DECODED_BYTES: Final = 1024 * 1024
"""Bytes of a body after its gzip encoding was undone."""

MAX_GZIP_MEMBERS: Final = 100
"""Joined gzip files in a body. Each copies the rest of the body: 50,000 empty ones would take seconds."""

MAX_XML_DEPTH: Final = 64
GZIP: Final = ("gzip", "x-gzip")
BOM: Final = "\ufeff"
UTF_8: Final = ("utf-8", "ascii")
CHARSET: Final = re.compile(r"ascii|utf-(8|16|32)(-[bl]e)?|iso8859-\d+|cp\d+|koi8-[rtu]|shift_jis|euc_\w+|gb\w+|big5")
"""Names of Python's codecs for charsets of the web. Others, such as `unicode_escape`, are not charsets."""

Fields: TypeAlias = dict[str, str | bytes | list[str | bytes]]
"""The fields of a form by name: text, bytes for a file, a list for a name that occurs more than once."""


class Unreadable(Exception):
    """The partner's file cannot read what the partner sent. The message says what is missing and quotes no value."""


@dataclass(frozen=True)
class Received:
    """A request of a partner, after its body signature was verified.

    body: the raw body. headers: names and values in order, repeated headers included. query: the undecoded query.
    """

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    query: str = ""

    @classmethod
    def of(cls, body: bytes, headers: Iterable[tuple[str, str]], method: str = "POST", query: str = "") -> Received:
        """Make it from a request as it was sent: undoes the body's gzip encoding. Raises `Unreadable`."""
        received = cls(body, tuple(headers), method, query)
        encodings = [value.lower() for value in received.headers_named("content-encoding")]
        return replace(received, body=_unzipped(body)) if encodings and encodings[0] in GZIP else received

    def header(self, name: str) -> str:
        """Return the header's value, "" if it is missing; raises `Unreadable` if it is repeated."""
        values = self.headers_named(name)
        if len(values) > 1:
            raise Unreadable(f"the header {name} is repeated")
        return values[0] if values else ""

    def headers_named(self, name: str) -> list[str]:
        """Return the values of all headers of this name, in order."""
        wanted = name.lower()
        return [value for key, value in self.headers if key.lower() == wanted]

    @property
    def media_type(self) -> str:
        """The media type of the Content-Type header, in lower case; "" without the header."""
        return self._content_type()[0]

    def text(self, *, lenient: bool = False) -> str:
        """Decode the body as UTF-8; raises `Unreadable`. lenient: drop a BOM, and use the charset that is named."""
        text = _decoded(self.body, self._content_type()[1].get("charset", ""), lenient=lenient)
        return text.removeprefix(BOM) if lenient else text

    def json(self, *, lenient: bool = False) -> Any:
        """Parse the body as JSON; raises `Unreadable`.

        lenient: also drop a BOM, use the charset that is named, and accept NaN, lone surrogates and repeated keys in
        values that the file does not read: `text_at` and the check of the answer refuse those values.
        """
        try:
            return strict_json.loads_lenient(self.text(lenient=True)) if lenient else strict_json.loads(self.body)
        except strict_json.NotStrictJSON as error:
            raise Unreadable(str(error)) from error

    def form(self, *, lenient: bool = False) -> Fields:
        """Parse an `application/x-www-form-urlencoded` body; raises `Unreadable`."""
        return _form(self.text(lenient=lenient))

    def query_fields(self) -> Fields:
        """Parse the query; raises `Unreadable`."""
        return _form(self.query)

    def multipart(self, *, lenient: bool = False) -> Fields:
        """Parse a `multipart/form-data` body; raises `Unreadable`. The contents of files are bytes."""
        parser = multipart.MultipartParser(
            io.BytesIO(self.body),
            self._content_type()[1].get("boundary", ""),
            content_length=len(self.body),
            strict=not lenient,
            part_limit=MAX_FIELDS,
            spool_limit=len(self.body) + 1,  # in memory: the body is bounded already
        )
        try:
            return _collected(
                (part.name, part.raw if part.filename else _decoded(part.raw, part.charset, lenient=lenient))
                for part in parser
            )
        except (multipart.MultipartError, UnicodeError) as error:
            raise Unreadable("the body is not multipart/form-data") from error

    def xml(self) -> Element:
        """Parse the body as XML; raises `Unreadable`, also for a DTD, for entities and for more than 64 levels."""
        try:
            root: Element = ElementTree.fromstring(self.body, forbid_dtd=True)
        except (ParseError, defusedxml.DefusedXmlException, LookupError, ValueError) as error:
            raise Unreadable("the body is not XML, or XML with a DTD") from error
        if _depth_of(root) > MAX_XML_DEPTH:
            raise Unreadable("the XML is nested too deeply")
        return root

    def part(self, value: Any) -> Part:
        """Make a part of this request. value: bytes, text, or a JSON value that `Part.json` returns."""
        return Part(self.body, self.headers, self.method, self.query, value)

    def _content_type(self) -> tuple[str, dict[str, str]]:
        # Some proxies join repeated headers: "application/json, application/json".
        values = {value.strip() for header in self.headers_named("content-type") for value in header.split(",")}
        if len(values) > 1:
            return ", ".join(sorted(values)), {}
        media_type, options = multipart.parse_options_header(next(iter(values), ""))
        return media_type, options


@dataclass(frozen=True)
class Part(Received):
    """An event of a request that carries several; made by `Received.part`, in the file's `split`.

    value: the event: bytes or text for the readers, or a JSON value, which `json` returns as it is.
    """

    value: Any = None

    @cached_property
    def raw(self) -> bytes:
        """The value as bytes, equal for equal values: what tells this part from others."""
        if isinstance(self.value, bytes):
            return self.value
        if isinstance(self.value, Element):
            return tostring(self.value)
        text = self.value if isinstance(self.value, str) else json.dumps(self.value, sort_keys=True, default=str)
        return text.encode("utf-8", "surrogatepass")

    def json(self, *, lenient: bool = False) -> Any:
        """Return the value, parsed if it is bytes or text."""
        return self._own().json(lenient=lenient) if isinstance(self.value, bytes | str) else self.value

    def text(self, *, lenient: bool = False) -> str:
        """Return the value as text; raises `Unreadable` for a JSON value."""
        return self._own().text(lenient=lenient)

    def xml(self) -> Element:
        """Return the value parsed as XML, or the element that it is."""
        return self.value if isinstance(self.value, Element) else self._own().xml()

    def _own(self) -> Received:
        if isinstance(self.value, str):
            return Received(self.value.encode("utf-8", "surrogatepass"), self.headers, self.method, self.query)
        if isinstance(self.value, bytes):
            return Received(self.value, self.headers, self.method, self.query)
        raise Unreadable("this part is neither text nor bytes")


def _decoded(text: bytes, named: str, *, lenient: bool) -> str:
    """Decode text in the charset that is named; raises `Unreadable`. named: "" for UTF-8."""
    try:
        charset = codecs.lookup(named or "utf-8").name
        if not (CHARSET.fullmatch(charset) if lenient else charset in UTF_8):
            raise Unreadable("the body is in an unsupported charset")
        return text.decode(charset)
    except (ValueError, LookupError) as error:
        raise Unreadable("the body is not in the charset that it names") from error


def _unzipped(body: bytes) -> bytes:
    plain, left, members = bytearray(), body, 0
    try:
        while left:  # gzip files may be joined
            if (members := members + 1) > MAX_GZIP_MEMBERS:
                raise Unreadable(f"the body joins more than {MAX_GZIP_MEMBERS} gzip files")
            member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            plain += member.decompress(left, MAX_DECODED_BYTES + 1 - len(plain))
            if len(plain) > MAX_DECODED_BYTES:
                raise Unreadable(f"the body has more than {MAX_DECODED_BYTES} bytes once it is decoded")
            if not member.eof:
                raise Unreadable("the gzip encoding of the body ends early")
            left = member.unused_data
    except zlib.error as error:
        raise Unreadable("the body is not encoded with gzip") from error
    return bytes(plain)


def _form(text: str) -> Fields:
    if not text:
        return {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise Unreadable("not a form") from error
    return _collected(iter(pairs))


def _collected(pairs: Iterator[tuple[str, str | bytes]]) -> Fields:
    """Collect the fields by name, the repeated ones in lists."""
    found: dict[str, list[str | bytes]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _depth_of(root: Element) -> int:
    depth, level = 0, [root]
    while level:
        depth, level = depth + 1, [child for element in level for child in element]
    return depth
