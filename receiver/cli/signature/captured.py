"""A captured request, read from a file or stdin.

It may be a raw HTTP/1 request; a recorded delivery, which is the JSON object that Stagehook records; what another tool
has recorded (`recordings`); or a body, with its headers given separately.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import sys
from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from activities import strict_json
from activities.callback_urls import PARTNERS_PATH
from activities.redaction.text import REDACTED
from activities.signatures import SignedRequest
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note
from receiver.cli.signature import recordings

LARGEST_REQUEST: Final = 8 * 1024 * 1024
"""Bytes that are read at most. The receiver accepts a body of 1 MiB, and base64 adds a third."""

LONGEST_TIME: Final = 12
"""The maximum number of digits of a time in unix seconds; signatures have the same limit."""

REQUEST_LINE: Final = re.compile(rb"([A-Za-z]+) (\S+) HTTP/[0-9.]+\r?\n?")
END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
HEADER_LINE: Final = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+):(.*)", re.DOTALL)

PLACEHOLDER: Final = re.compile(rb'\{(?:[^{}"]+/[0-9]+/[0-9]+(?:/v2)?|unknown)\}')
"""The placeholder that replaces a callback token in a recorded body."""


@dataclass(frozen=True)
class Captured:
    """A captured request.

    target: path and query, or a whole URL, or "". received_at: unix seconds, if known. recorded: whether Stagehook
    recorded it, without secrets.
    """

    headers: Sequence[tuple[str, str]]
    body: bytes
    method: str = "POST"
    target: str = ""
    received_at: float | None = None
    recorded: bool = False

    @property
    def replaced(self) -> str:
        """The text that replaced a secret in the body when it was recorded or exported, or ""."""
        if self.recorded and REDACTED in self.body:
            return REDACTED.decode()
        if self.recorded and self.target.startswith(PARTNERS_PATH):  # the body has the callback token
            found = PLACEHOLDER.search(self.body)
            return found[0].decode("utf-8", "replace") if found else ""
        return ""

    def signed(self, url: str, public_url: str) -> SignedRequest:
        """Make the request that a scheme verifies. url: the public URL; "" builds it from public_url and target."""
        whole = "://" in self.target
        known = self.target if whole else f"{public_url}{self.target}" if public_url and self.target else ""
        return SignedRequest(self.method, url or known, self.headers, self.body)


def read_request(path: str, headers: Sequence[str], *, bare: bool = False) -> Captured:
    """Read the file, or stdin for `-`. headers: if given, the file is only a body. Raises `CommandError`.

    bare: a file that is none of these forms is a body without headers.
    """
    raw = read_bytes(path)
    if headers:
        return Captured(read_headers(headers), raw)
    text = raw.removeprefix(BOM_UTF8).lstrip(b"\r\n")
    if REQUEST_LINE.match(text):
        return _read_http(text)
    if exchange := recordings.read_curl(text):
        return Captured(exchange.headers, exchange.body, exchange.method, exchange.target)
    if text.lstrip().startswith(b"{"):
        if exchange := recordings.read_har(text):
            return Captured(exchange.headers, exchange.body, exchange.method, exchange.target)
        if not bare or _is_delivery(text):
            return _read_delivery(text)
    if bare and text:
        return Captured([], raw)
    what = "there is nothing in it" if not raw else "it is neither an HTTP request nor a recorded delivery"
    raise _usage(f"{_name(path)}: {what}", "give the whole request; of a body alone, give the headers with --header")


def read_bytes(path: str) -> bytes:
    """Read the bytes of the file, or of stdin for `-`; raises `CommandError`."""
    if path == "-" and sys.stdin is None:
        raise _usage("stdin is closed", "give a file, or something on stdin")
    if path == "-" and sys.stdin.isatty():
        note("reading from the terminal; end with Ctrl-D, or give a file")
    try:
        if path == "-":
            raw = sys.stdin.buffer.read(LARGEST_REQUEST + 1)
        else:
            with Path(path).open("rb") as file:
                raw = file.read(LARGEST_REQUEST + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "invalid name of a file"
        raise _usage(f"{_name(path)}: {why}", "give a file that can be read, or - for stdin") from error
    if len(raw) > LARGEST_REQUEST:
        raise _usage(
            f"{_name(path)} is larger than {LARGEST_REQUEST} bytes", "give one request; the receiver takes 1 MiB"
        )
    return raw


def read_headers(given: Sequence[str]) -> list[tuple[str, str]]:
    """Read headers from the command line: lines of `Name: value`, or `@FILE`; raises `CommandError`."""
    headers = []
    for option in given:
        text = read_bytes(option[1:]).decode("latin-1") if option.startswith("@") else option
        lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
        if not lines:
            raise _usage("--header is empty", "give it as 'Name: value', or as @FILE with such lines")
        headers += [_header(line, "a line of --header") for line in lines]
    return headers


def read_time(given: str) -> float:
    """Read a time: unix seconds, or ISO 8601, which is UTC if it names no zone; raises `CommandError`."""
    advice = "give unix seconds (1800000000) or a date and time (2027-01-15T08:00:00Z)"
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", given, re.ASCII):
        if len(given.partition(".")[0]) > LONGEST_TIME:
            raise _usage("--at has more than 12 digits: are these milliseconds?", advice)
        return float(given)
    try:
        moment = datetime.fromisoformat(given)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise _usage(f"invalid --at {given!r}", advice) from error
    if seconds < 0:
        raise _usage("--at is before 1970", advice)
    return seconds


def _read_http(text: bytes) -> Captured:
    end = END_OF_HEAD.search(text)
    head, body = (text[: end.start()], text[end.end() :]) if end else (text, b"")
    request_line, _, rest = head.decode("latin-1").replace("\r\n", "\n").rstrip("\n").partition("\n")
    # Some programs fold a long header into several lines, which HTTP once allowed.
    lines = re.sub(r"(?<=\S)[ \t]*\n[ \t]+", " ", rest).split("\n") if rest else []
    method, target, _ = request_line.split(" ", 2)
    headers = [_header(line, f"line {number}") for number, line in enumerate(lines, start=2)]
    return Captured(headers, body, method, target)


def _is_delivery(text: bytes) -> bool:
    try:
        record = strict_json.loads(text)
    except strict_json.NotStrictJSON:
        return False
    return isinstance(record.get("headers"), list) and "body" in record


def _read_delivery(text: bytes) -> Captured:
    try:
        record = strict_json.loads(text)
    except strict_json.NotStrictJSON as error:
        if text.strip().count(b"\n{"):
            raise _no_record("there are several lines of JSON", "give one delivery, one JSON object") from error
        raise _no_record(str(error)) from error
    headers, encoded, method = record.get("headers"), record.get("body"), record.get("method", "POST")
    target = record.get("url") or record.get("target") or ""
    if encoded is None and "body" in record:
        raise _no_record("its body was not kept")
    if not isinstance(headers, list) or not all(_is_pair(pair) for pair in headers):
        raise _no_record("`headers` is not a list of pairs of texts")
    if not (isinstance(encoded, str) and isinstance(method, str) and isinstance(target, str)):
        raise _no_record("`body`, `method` or the target is missing, or no text")
    try:
        body = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_record("`body` is not base64") from error
    pairs = [(name, value) for name, value in headers]
    return Captured(pairs, body, method, _known(target), _seconds(record.get("received_at")), recorded=True)


def _no_record(why: str, advice: str = "") -> CommandError:
    form = "it has `method`, `target` or `url`, `headers` (pairs), `body` (base64); for a body alone give --header"
    return _usage(f"this is not a recorded delivery: {why}", advice or form)


def _known(target: str) -> str:
    # A recorded delivery has the run's name in place of the callback token, so its target is not what was signed.
    return "" if "{" in target else target


def _seconds(received_at: Any) -> float | None:
    if isinstance(received_at, str):
        return read_time(received_at)
    if isinstance(received_at, bool) or not isinstance(received_at, int | float):
        return None
    return float(received_at) if 0 <= received_at < 10**LONGEST_TIME and math.isfinite(received_at) else None


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def _header(line: str, where: str) -> tuple[str, str]:
    found = HEADER_LINE.fullmatch(line)
    if not found:
        raise _usage(f"{where} is not a header", "a header is `Name: value`, and a blank line ends them")
    return found[1], found[2].strip(" \t")


def _name(path: str) -> str:
    return "stdin" if path == "-" else repr(path)


def _usage(what: str, advice: str) -> CommandError:
    return CommandError(what, advice, Exit.USAGE)
