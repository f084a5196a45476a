"""Secrets: which values of the environment are secret, and the function that finds them and callback tokens in a text.

Example: with ACME_SECRET=hunter2hunter2 in the environment, an export must not hold that text: not in a header, not in
a JSON body, and not in a body that encodes it in base64.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from activities.redaction.headers import SECRET_WORDS
from activities.redaction.text import REDACTED, Found, Look, resolved
from activities.redaction.tokens import tokens
from activities.signatures.scheme import PREFIXES

SECRET_VARIABLE: Final = re.compile(rf"(?:KEY|{SECRET_WORDS.upper()})S?[0-9]*(?:_|$)")
"""Names of environment variables whose values are secret: ours, Temporal's and the partners'."""

NO_SECRET: Final = re.compile(r"_(?:TYPE|POLICY|SECONDS|FILE|PATH|ID)$")
"""Names that match `SECRET_VARIABLE`, but whose values describe a secret and do not hold it."""

URL_VARIABLE: Final = re.compile(r"(?:^|_)(?:URL|URI|DSN)$")
PASSWORD_IN_QUERY: Final = re.compile(r"(?:^|&)(?:ssl)?(?:password|passwd|pwd)=([^&]*)", re.IGNORECASE)

SHORTEST: Final = 8
"""Characters of a secret that is searched for. A shorter text would be found everywhere."""


def known_secrets(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment's secrets, by a name that may be shown: `ACME_SECRET`, `CALLBACK_KEYS 2`.

    Example: `CALLBACK_KEYS=first-key,second-key` gives three secrets: the whole value as `CALLBACK_KEYS`, and its parts
    as `CALLBACK_KEYS 1` and `CALLBACK_KEYS 2`.
    """
    found: dict[str, str] = {}
    for name, value in variables.items():
        if SECRET_VARIABLE.search(name) and not NO_SECRET.search(name):
            found[name] = value.strip()  # the whole value may be a single secret that has a comma in it
            parts = [] if found[name].startswith(("{", "[")) else [part.strip() for part in value.split(",")]
            found |= {f"{name} {place}": part for place, part in enumerate(parts, 1) if len(parts) > 1}
        if URL_VARIABLE.search(name):
            found |= {f"{name}'s password{where}": password for where, password in _passwords(value)}
    for name, value in list(found.items()):
        for prefix in filter(value.startswith, PREFIXES):
            found[f"{name} without its prefix"] = value.removeprefix(prefix)
    # A secret that is part of `REDACTED` would be found again in the redacted text.
    return {name: value for name, value in found.items() if len(value) >= SHORTEST and value not in REDACTED.decode()}


def look_for(secrets: Mapping[str, str]) -> Look:
    """Make a function that finds these secrets, and callback tokens, in a plain text."""
    needles = [(name, form, _new(form)) for name, secret in secrets.items() for form in _forms(secret)]

    def look(text: bytes) -> Iterator[Found]:
        for name, needle, new in needles:
            start = text.find(needle)
            while start >= 0:
                yield Found(start, start + len(needle), name, new)
                start = text.find(needle, start + len(needle))
        yield from tokens(text)

    return look


def _passwords(url: str) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(ValueError):  # not a URL, so it has no password
        parts = urlsplit(url)
        yield "", unquote(parts.password or "")
        for found in PASSWORD_IN_QUERY.finditer(parts.query):
            yield " in its query", unquote(found[1])


def _new(secret: bytes) -> bytes:
    """The replacement of a secret. A number is replaced by digits without a leading 0, so that JSON stays valid."""
    if not secret.isdigit():
        return REDACTED
    return (b"2" if set(secret) == set(b"1") else b"1") * len(secret)


def _forms(secret: str) -> set[bytes]:
    """The secret's bytes in a plain text.

    In UTF-8, in Latin-1 as older systems write it, and in UTF-8 that was taken for Latin-1; with its blanks as +, as in
    a form. A secret may look escaped itself, such as `50%25off`: also as it is once that is resolved, and in JSON.
    """
    utf8 = secret.encode("utf-8", "surrogateescape")  # the environment may hold any bytes
    forms = {utf8, utf8.decode("latin-1").encode(), json.dumps(secret)[1:-1].encode()}
    forms |= {secret.encode("latin-1")} if max(secret) <= "\xff" else set()
    forms |= {form.replace(b" ", b"+") for form in forms}
    return forms | {form for form in map(resolved, forms) if len(form) >= SHORTEST}
