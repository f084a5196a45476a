"""A delivery as one shell line for curl that sends it again, whatever its bytes are."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from typing import Final

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.settings import read_callback_keys
from receiver.cli.errors import CommandError
from receiver.deliveries.delivery import Delivery
from receiver.replay import addressed, repeatable_headers

OF_CURL: Final = ("Accept", "User-Agent", "Content-Type", "Expect")
"""Headers that curl adds by itself, unless it is told not to."""

LARGEST_ARGUMENT: Final = 64 * 1024
"""Bytes of a body that is an argument; Linux takes none of 128 KiB."""


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
    data, before = _data(body)
    # Without --globoff a [1-9] in the query would be nine requests.
    words = ["curl", "--globoff", "-sS", "-i", "-X", delivery.method, *_header_options(delivery), *data, url]
    return before + shlex.join(words)


def _header_options(delivery: Delivery) -> list[str]:
    # What is not plain text the terminal would change, or be changed by.
    headers = [
        pair for pair in repeatable_headers(delivery) if all(part.isascii() and part.isprintable() for part in pair)
    ]
    given = {name.lower() for name, _ in headers}
    # An empty value is written with a semicolon; with a colon it would remove the header.
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers]
    lines += [f"{name}:" for name in OF_CURL if name.lower() not in given]
    return [word for line in lines for word in ("-H", line)]


def _data(body: bytes) -> tuple[list[str], str]:
    """Options that give curl the body, and what stands before curl: the bytes that no argument can hold."""
    if len(body) <= LARGEST_ARGUMENT and (text := _text(body)) is not None:
        return ["--data-raw", text], ""
    return ["--data-binary", "@-"], f"printf %s {base64.b64encode(body).decode()} | base64 -d | "


def _text(body: bytes) -> str | None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\n\t" for character in text) else None
