"""A delivery as a single shell line that sends it again with curl, whatever its bytes are.

curl reads the URL from stdin, because the URL has a live token and the list of processes shows arguments. The line
writes the URL with printf, which the shell runs without a process.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping
from typing import Final

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.public_url import read_public_url
from activities.settings import read_callback_keys
from receiver.deliveries.delivery import Delivery
from receiver.replay.errors import NotReplayable
from receiver.replay.sending import addressed, repeatable_headers

OF_CURL: Final = ("Accept", "User-Agent", "Content-Type", "Expect")
"""Headers that curl adds by default."""

LARGEST_ARGUMENT: Final = 64 * 1024
"""The largest body in bytes that is passed as an argument; Linux rejects an argument of 128 KiB."""

UNSENDABLE: Final = re.compile(r"[\0\r\n]|[^\x00-\xff]")
"""Characters that a header cannot hold."""

NEEDS_ESCAPE: Final = re.compile(r"^-|[^A-Za-z0-9 :;,.=/_-]")
"""Text that could be an option or a directive of printf, a quotation mark, or a history event (`!`) in bash."""


def curl_line(delivery: Delivery, variables: Mapping[str, str]) -> str:
    """Return the line, with a new token that is made with CALLBACK_KEYS for PUBLIC_URL.

    Raises `SettingsError`, and `NotReplayable` for a delivery that cannot be sent again.
    """
    if delivery.claims is None or delivery.body is None:
        why = "its body was not kept" if delivery.claims else "its token was none of ours"
        raise NotReplayable(f"{delivery.id} cannot be sent again: {why}")
    env = Environment(variables)
    public_url = read_public_url(env).url
    keys = read_callback_keys(env)
    env.check()
    url, body = addressed(delivery, CallbackURLs(public_url, keys), delivery.claims)
    # -q ignores ~/.curlrc. Without --globoff, a [1-9] in the query would become nine requests.
    begin = shlex.join(["curl", "-q", "--noproxy", "*", "--globoff", "-sS", "-i", *_method(delivery, body)])
    headers = " ".join(f"-H {_quoted(line)}" for line in _header_lines(delivery))
    return _fed(f"{begin} {headers}", url, body, with_body=bool(body) or delivery.method != "HEAD")


def unsendable(delivery: Delivery) -> list[str]:
    """Return the names of the headers that the line leaves out, because a header cannot hold their characters."""
    return [pair[0] for pair in repeatable_headers(delivery) if not _is_sendable(pair)]


def _method(delivery: Delivery, body: bytes) -> list[str]:
    # With -X HEAD, curl waits for the body that the answer announces. With --head, curl cannot send a body.
    return ["--head"] if delivery.method == "HEAD" and not body else ["-X", delivery.method]


def _header_lines(delivery: Delivery) -> list[str]:
    headers = list(filter(_is_sendable, repeatable_headers(delivery)))
    given = {name.lower() for name, _ in headers}
    # curl sends an empty header for `Name;`, but removes the header for `Name:`.
    lines = [f"{name}: {value}" if value.strip(" \t") else f"{name};" for name, value in headers]
    return lines + [f"{name}:" for name in OF_CURL if name.lower() not in given]


def _is_sendable(pair: tuple[str, str]) -> bool:
    return not any(map(UNSENDABLE.search, pair))


def _quoted(line: str) -> str:
    """Quote text as a word of the shell. printf writes text that is not plain: a terminal could change or obey it."""
    if line.isascii() and line.isprintable():
        return shlex.quote(line)
    escaped = NEEDS_ESCAPE.sub(lambda found: f"\\{ord(found[0]):03o}", line)
    return f"\"$(printf '{escaped}')\""


def _fed(curl: str, url: str, body: bytes, *, with_body: bool) -> str:
    """Add to the line the URL, on curl's stdin, and the body, on descriptor 3 if an argument cannot hold it."""
    settings = [("url", url)]
    if "#" in url:  # curl would take the rest for a fragment, and not send it
        settings.append(("request-target", f"/{url.split('/', 3)[3]}"))
    config = " ".join(("printf '%s\\n'", *(_setting(name, value) for name, value in settings)))
    if not with_body:
        return f"{config} | {curl} --config -"
    if len(body) <= LARGEST_ARGUMENT and (text := _printable_text(body)) is not None:
        return f"{config} | {curl} --data-raw {shlex.quote(text)} --config -"
    encoded = base64.b64encode(body).decode()
    with_data = f"{curl} --data-binary @/dev/fd/3 --config -"
    return f"printf %s {encoded} | base64 -d | {{ {config} | {with_data}; }} 3<&0"


def _setting(name: str, value: str) -> str:
    """Return a line of curl's config as a word of the shell."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    line = f'{name} = "{escaped}"'
    return _quoted(line if _is_latin(line) else line.encode().decode("latin-1"))


def _is_latin(text: str) -> bool:
    return max(text) <= "\xff"


def _printable_text(body: bytes) -> str | None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\n\t" for character in text) else None
