"""Recordings: requests as other tools record them: an entry of a HAR file, or what `curl -v` prints."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from receiver.cli.errors import CommandError, Exit

COMMAND: Final = re.compile(r"(?:\$ )?curl\s")
SENT_LINE: Final = re.compile(r"> ([A-Z]+) (\S+) HTTP/[0-9.]+\s*")
NOT_THE_BODY: Final = re.compile(r"[*<]( |$)|[{}] \[")
"""Matches a line of `curl -v` that is about the connection or the answer."""

HEADER_OPTIONS: Final = ("-H", "--header")
DATA_OPTIONS: Final = ("-d", "--data", "--data-raw", "--data-ascii", "--data-binary", "--json")
JOINED: Final = re.compile(r"(--[a-z-]+)=(.*)|(-[HdX])(.+)", re.DOTALL)
"""Matches an option with its value in one word."""


@dataclass
class Exchange:
    """A recorded request. target: path and query, a whole URL, or ""."""

    method: str = "POST"
    target: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


def read_har(text: bytes) -> Exchange | None:
    """Read a HAR file with one request, or an entry or a request of one; None for other JSON.

    Raises `CommandError` for several requests, or a body that the file does not hold.
    """
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    requests = list(_requests(value))
    if len(requests) > 1:
        requests = [request for request in requests if request.get("method") == "POST"]
    if len(requests) > 1:
        raise _usage(f"the HAR file holds {len(requests)} requests", "give one entry of its `log.entries`")
    return _har_request(requests[0]) if requests else None


def _requests(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the requests of a HAR file, of an entry, or the request itself."""
    match value:
        case {"log": {"entries": list() as entries}}:
            for entry in entries:
                yield from _requests(entry)
        case {"request": {"method": str(), "headers": list()} as request}:
            yield request
        case {"method": str(), "url": str(), "headers": list(), "httpVersion": _}:
            yield value


def _har_request(request: Mapping[str, Any]) -> Exchange:
    pairs = [(one.get("name"), one.get("value")) for one in request["headers"] if isinstance(one, Mapping)]
    # HTTP/2 has pseudo headers, such as `:path`.
    headers = [(str(name), str(value)) for name, value in pairs if name and not str(name).startswith(":")]
    sent = request.get("postData")
    content = sent if isinstance(sent, Mapping) else {}
    if content.get("mimeType") and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", str(content["mimeType"])))
    return Exchange(str(request["method"]), str(request.get("url", "")), headers, _har_body(content))


def _har_body(content: Mapping[str, Any]) -> bytes:
    match content:
        case {"text": str() as text, "encoding": "base64"}:
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                raise _usage("the body in the HAR file is not base64", "record it again") from error
        case {"text": str() as text} if text:
            return text.encode("utf-8", "surrogatepass")
        case {"params": list() as params} if params:
            return urlencode([(str(one.get("name", "")), str(one.get("value", ""))) for one in params]).encode()
    return b""


def read_curl(text: bytes) -> Exchange | None:
    """Read what `curl -v` printed, the command that was typed included; None for anything else.

    curl does not print the body that it sends: it is read from the command, or from where a person has inserted it,
    after the request's headers. Raises `CommandError` if it is nowhere.
    """
    lines = text.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    start = next((place for place, line in enumerate(lines) if SENT_LINE.fullmatch(line)), None)
    command = _read_command(lines[:start]) if COMMAND.match(lines[0]) else None
    if start is None:
        return command
    exchange = _read_sent(lines[start:])
    exchange.body = exchange.body or (command.body if command else b"")
    if not exchange.body:
        advice = "put the curl command before it, or the body after the line `>` that ends the request's headers"
        raise _usage("what curl printed does not hold the request's body", advice)
    return exchange


def _read_sent(lines: list[str]) -> Exchange:
    first = SENT_LINE.fullmatch(lines[0])
    assert first is not None
    exchange = Exchange(first[1], first[2])
    end = next((place for place, line in enumerate(lines) if line.rstrip() == ">"), len(lines))
    for line in lines[1:end]:
        if line.startswith("> "):
            name, _, value = line[2:].partition(":")
            exchange.headers.append((name, value.strip()))
    body = []
    for line in lines[end + 1 :]:
        if NOT_THE_BODY.match(line):
            break
        body.append(line.removeprefix("> "))
    exchange.body = "\n".join(body).strip("\n").encode("utf-8", "surrogateescape")
    return exchange


def _read_command(lines: list[str]) -> Exchange:
    """Read the curl command at the beginning. It ends where a line neither continues it nor leaves a quotation open."""
    exchange, data, words = Exchange(), list[str](), iter(_words(lines))
    for word in words:
        joined = JOINED.fullmatch(word)
        option, value = (joined[1] or joined[3], joined[2] or joined[4]) if joined else (word, None)
        if option in HEADER_OPTIONS:
            name, _, content = (value or next(words, "")).partition(":")
            exchange.headers.append((name.strip(), content.strip()))
        elif option in DATA_OPTIONS:
            data.append(value or next(words, ""))
            if data[-1].startswith("@") and option != "--data-raw":
                raise _usage("the curl command reads its body from a file", "put the body into the command instead")
        elif option in ("-X", "--request"):
            exchange.method = value or next(words, "")
        elif "://" in word:
            exchange.target = word
    exchange.body = "&".join(data).encode("utf-8", "surrogateescape")
    if data and not any(name.lower() == "content-type" for name, _ in exchange.headers):
        exchange.headers.append(("Content-Type", "application/x-www-form-urlencoded"))  # as curl does
    return exchange


def _words(lines: list[str]) -> list[str]:
    command = ""
    for line in lines:
        command += line + "\n"
        if line.endswith("\\"):
            continue
        try:
            return shlex.split(command.replace("\\\n", " "))
        except ValueError:  # an open quotation
            continue
    raise _usage("the curl command has an open quotation mark", "give the whole command")


def _usage(what: str, advice: str) -> CommandError:
    return CommandError(what, advice, Exit.USAGE)
