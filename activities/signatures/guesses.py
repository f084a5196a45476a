"""Guesses: changes that a request or a secret may have had on its way, tried when a signature does not match.

A guess is a phrase and the changed value. The phrase completes "the signature matches ..."; it never quotes the value.
For example, `("with a final newline (LF)", b"{}\\n")`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import unicodedata
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

BLANKS: Final = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
CHUNK: Final = re.compile(rb"(?:\r?\n)?([0-9A-Fa-f]{1,8})(?:;[^\r\n]{0,200})?\r?\n")
PREFIX: Final = re.compile(r"[A-Za-z0-9]{2,8}_")
BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
MARKER: Final = re.compile(r"[A-Za-z0-9]+[=,]$")

COMPACT: Final = (",", ":")
JSON_FORMS: Final[tuple[tuple[str, Callable[[Any], str]], ...]] = (
    (
        "as JavaScript's JSON.stringify writes it",
        lambda value: json.dumps(value, separators=COMPACT, ensure_ascii=False),
    ),
    ("as Python's json.dumps writes it", json.dumps),
    ("as Python's json.dumps writes it with ensure_ascii=False", lambda value: json.dumps(value, ensure_ascii=False)),
    ("without blanks and with escapes for non-ASCII", lambda value: json.dumps(value, separators=COMPACT)),
    (
        "as PHP's json_encode writes it",
        lambda value: json.dumps(value, separators=COMPACT).replace("/", "\\/"),
    ),
    ("indented by two blanks", lambda value: json.dumps(value, indent=2, ensure_ascii=False)),
    ("indented by four blanks", lambda value: json.dumps(value, indent=4, ensure_ascii=False)),
    (
        "without blanks and with its keys sorted",
        lambda value: json.dumps(value, separators=COMPACT, ensure_ascii=False, sort_keys=True),
    ),
)
"""The ways in which a library on the way may have rewritten JSON."""


def bodies(body: bytes, content_length: int | None = None) -> Iterator[tuple[str, bytes]]:
    """Yield what the body may have been before it was parsed and rewritten, or saved as text."""
    seen = {body}
    for phrase, guess in _bodies(body, content_length):
        if guess not in seen:
            seen.add(guess)
            yield phrase, guess


def urls(url: str) -> Iterator[tuple[str, str]]:
    """Yield URLs that the partner may have been given instead."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme in {"http", "https"}:
        other = "http" if scheme == "https" else "https"
        yield f"with {other}:// in the URL", f"{other}://{rest}"
    path, question, query = url.partition("?")
    yield "with a / at the end of the URL's path", f"{path}/{question}{query}"
    if path.endswith("/"):
        yield "without the / at the end of the URL's path", f"{path[:-1]}{question}{query}"
    if question:
        yield "without the URL's query", path
    if port := _port(url):
        yield "without the URL's port", url.replace(port, "", 1)


def keys(secret: str) -> Iterator[tuple[str, bytes]]:
    """Yield the keys that the secret may mean."""
    bare = PREFIX.sub("", secret, count=1)
    yield "as plain text", _plain(secret)
    if bare != secret:
        yield "as plain text without its prefix", _plain(bare)
    for phrase, decode in (("decoded from base64", _from_base64), ("decoded from hex", bytes.fromhex)):
        for text in (secret, bare):
            try:
                yield phrase, decode(text)
            except ValueError:
                continue
    if secret[0] == secret[-1] in "'\"":
        yield "without the quotes around it", _plain(secret[1:-1])
    yield "with a newline at its end", _plain(f"{secret}\n")


def signatures(value: str, own: str) -> Iterator[tuple[str, str]]:
    """Yield the header's value in forms that the scheme may expect. own: a value that the scheme made itself."""
    token, prefix = longest(value), own[: own.find(longest(own))]
    if not token:
        return
    yield "without the blanks or quotes around it", value.strip(" \t\"'")
    yield "in lower case", value.replace(token, token.lower())
    marker, _ = form(own)
    yield f"with `{marker}` before the signature" if marker else "with nothing before the signature", prefix + token
    padded = token.rstrip("=").replace("-", "+").replace("_", "/")
    yield "in the base64 that is not for URLs, padded", value.replace(token, padded + "=" * (-len(padded) % 4))
    with contextlib.suppress(ValueError):
        yield "written in base64", value.replace(token, base64.b64encode(bytes.fromhex(token)).decode())
    with contextlib.suppress(ValueError):
        yield "written in hex", value.replace(token, _from_base64(token).hex())


def longest(text: str) -> str:
    """Return the longest run of characters that can be part of a signature."""
    return max(BASE64_RUN.findall(text), key=len, default="")


def form(own: str) -> tuple[str, int]:
    """Return the text before the signature in such a header, `v1=` for example, and the signature's length."""
    token = longest(own)
    before = MARKER.search(own[: own.find(token)])
    return (before[0] if before else "", len(token))


def has_form(value: str, marker: str, length: int) -> bool:
    """Whether the header's value has a signature of that length after the marker."""
    found = re.finditer(rf"(?<![A-Za-z0-9]){re.escape(marker)}({BASE64_RUN.pattern})", value)
    return any(len(one[1]) == length for one in found)


def _bodies(body: bytes, content_length: int | None) -> Iterator[tuple[str, bytes]]:
    if content_length is not None:
        yield "cut to its Content-Length", body[:content_length]
    yield from _endings("", body)
    if body.startswith(BOM_UTF8):
        yield "without its byte order mark", body.removeprefix(BOM_UTF8)
    else:
        yield "with a byte order mark (BOM)", BOM_UTF8 + body
    unix = body.replace(b"\r\n", b"\n")
    yield from _endings("with LF in place of CRLF", unix)
    yield from _endings("with CRLF in place of LF", unix.replace(b"\n", b"\r\n"))
    for phrase, text in _rewritten(body.removeprefix(BOM_UTF8)):
        yield from _endings(phrase, text)
    with contextlib.suppress(UnicodeError):
        characters = body.decode()
        yield "with its characters composed (Unicode NFC)", unicodedata.normalize("NFC", characters).encode()
        yield "with its characters decomposed (Unicode NFD)", unicodedata.normalize("NFD", characters).encode()
        yield "decoded from UTF-8 twice", characters.encode("latin-1")
    if (joined := _join_chunks(body)) is not None:
        yield "with its chunks joined", joined


def _endings(phrase: str, body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the changed body, then the body with each ending of its last line: none, LF and CRLF."""
    if phrase:
        yield phrase, body
    bare = body.removesuffix(b"\n").removesuffix(b"\r")
    for words, ending in (
        ("without a final newline", b""),
        ("with a final newline (LF)", b"\n"),
        ("with a final newline (CRLF)", b"\r\n"),
    ):
        yield " and ".join(filter(None, (phrase, words))), bare + ending


def _rewritten(body: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    # By text, without a library, so that numbers and escapes stay as they are.
    yield "compacted (JSON without blanks)", BLANKS.sub(lambda found: found[1] or b"", body)
    for phrase, write in JSON_FORMS:
        try:
            yield phrase, write(value).encode()
        except (ValueError, RecursionError):
            continue


def _join_chunks(body: bytes) -> bytes | None:
    """Join the chunks of `Transfer-Encoding: chunked`, which a capture on the wire keeps; None if it has no chunks."""
    joined, at = bytearray(), 0
    while head := CHUNK.match(body, at):
        size = int(head[1], 16)
        if size == 0:
            return bytes(joined)
        joined += body[head.end() : head.end() + size]
        at = head.end() + size
    return None


def _from_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, padded or not; raises ValueError."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode((plain + "=" * (-len(plain) % 4)).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError("not base64") from error


def _port(url: str) -> str:
    try:
        port = urlsplit(url).port
    except ValueError:
        return ""
    return f":{port}" if port is not None else ""


def _plain(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
