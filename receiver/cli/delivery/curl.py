"""A delivery as one shell line for curl that sends it again, whatever its bytes are.

curl reads the URL from stdin: it has a live token, and arguments stand in the list of processes. printf is no process.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping
from typing import Final

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.settings import read_callback_keys
from receiver.cli.errors import CommandError
from receiver.deliveries.delivery import Delivery
from receiver.replay.sending import addressed, repeatable_headers

OF_CURL: Final = ("Accept", "User-Agent", "Content-Type", "Expect")
"""Headers that curl adds by itself, unless it is told not to."""

LARGEST_ARGUMENT: Final = 64 * 1024
"""Bytes of a body that is an argument; Linux takes none of 128 KiB."""

UNSENDABLE: Final = re.compile(r"[\0\r\n]|[^\x00-\xff]")
"""What no header can hold."""

ESCAPED: Final = re.compile(r"^-|[^A-Za-z0-9 :;,.=/_-]")
"""What would be an option of printf, a directive, a quotation mark, or an event of an interactive bash."""


def curl_line(delivery: Delivery, variables: Mapping[str, str]) -> str:
    """The line, with a token of its own made with CALLBACK_KEYS for PUBLIC_URL.

    Raises `SettingsError`, and `CommandError` for a delivery that cannot be sent again.
    """
    if delivery.claims is None or delivery.body is None:
        why = "its body was not kept" if delivery.claims else "its token was none of ours"
        raise CommandError(
            f"{delivery.id} cannot be sent again: {why}", "`stagehook delivery show` has all that is known"
        )
    env = Environment(variables)
    public_url = env.url("PUBLIC_URL", fix="the address at which the receiver is to be reached")
    keys = read_callback_keys(env)
    env.check()
    url, body = addressed(delivery, CallbackURLs(public_url, keys), delivery.claims)
    # Whatever ~/.curlrc says. Without --globoff a [1-9] in the query would be nine requests.
    begin = shlex.join(["curl", "-q", "--noproxy", "*", "--globoff", "-sS", "-i", *_method(delivery, body)])
    headers = " ".join(f"-H {_quoted(line)}" for line in _header_lines(delivery))
    return _fed(f"{begin} {headers}", url, body, with_body=bool(body) or delivery.method != "HEAD")


def unsendable(delivery: Delivery) -> list[str]:
    """The names of the headers that the line leaves out, for no header can hold what they do."""
    return [pair[0] for pair in repeatable_headers(delivery) if not _is_sendable(pair)]


def _method(delivery: Delivery, body: bytes) -> list[str]:
    # After -X HEAD curl waits for the body that the answer announces; --head takes no body to send.
    return ["--head"] if delivery.method == "HEAD" and not body else ["-X", delivery.method]


def _header_lines(delivery: Delivery) -> list[str]:
    headers = list(filter(_is_sendable, repeatable_headers(delivery)))
    given = {name.lower() for name, _ in headers}
    # An empty value is written with a semicolon; with a colon it would remove the header.
    lines = [f"{name}: {value}" if value.strip(" \t") else f"{name};" for name, value in headers]
    return lines + [f"{name}:" for name in OF_CURL if name.lower() not in given]


def _is_sendable(pair: tuple[str, str]) -> bool:
    return not any(map(UNSENDABLE.search, pair))


def _quoted(line: str) -> str:
    """One word of the shell. What is not plain text, the terminal would change, or be changed by: printf makes it."""
    if line.isascii() and line.isprintable():
        return shlex.quote(line)
    escaped = ESCAPED.sub(lambda found: f"\\{ord(found[0]):03o}", line)
    return f"\"$(printf '{escaped}')\""


def _fed(curl: str, url: str, body: bytes, *, with_body: bool) -> str:
    """The line with the URL on curl's stdin, and on descriptor 3 a body that no argument can hold."""
    line = 'url = "{}"'.format(url.replace("\\", "\\\\").replace('"', '\\"'))
    config = f"printf '%s\\n' {_quoted(line if _is_latin(line) else line.encode().decode('latin-1'))}"
    if not with_body:
        return f"{config} | {curl} --config -"
    if len(body) <= LARGEST_ARGUMENT and (text := _text(body)) is not None:
        return f"{config} | {curl} --data-raw {shlex.quote(text)} --config -"
    encoded = base64.b64encode(body).decode()
    with_data = f"{curl} --data-binary @/dev/fd/3 --config -"
    return f"printf %s {encoded} | base64 -d | {{ {config} | {with_data}; }} 3<&0"


def _is_latin(text: str) -> bool:
    return max(text) <= "\xff"


def _text(body: bytes) -> str | None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\n\t" for character in text) else None
