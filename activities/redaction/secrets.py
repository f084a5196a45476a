"""Makes the function that finds known secrets, and callback tokens, in a plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from activities.known_secrets import SHORTEST_KNOWN
from activities.redaction.text import REDACTED, Found, Look, resolved
from activities.redaction.tokens import tokens


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


def _new(secret: bytes) -> bytes:
    """The replacement of a secret. A number is replaced by digits without a leading 0, so that JSON stays valid."""
    if not secret.isdigit():
        return REDACTED
    return (b"2" if set(secret) == set(b"1") else b"1") * len(secret)


def _forms(secret: str) -> set[bytes]:
    """The secret in UTF-8, in Latin-1 as older systems write it, in UTF-8 taken for Latin-1, and with + for blanks.

    A secret may look escaped itself, such as `50%25off`: also as it is after that is resolved, and in JSON.
    """
    utf8 = secret.encode("utf-8", "surrogateescape")  # the environment may hold any bytes
    forms = {utf8, utf8.decode("latin-1").encode(), json.dumps(secret)[1:-1].encode()}
    forms |= {secret.encode("latin-1")} if max(secret) <= "\xff" else set()
    forms |= {form.replace(b" ", b"+") for form in forms}
    return forms | {form for form in map(resolved, forms) if len(form) >= SHORTEST_KNOWN}
