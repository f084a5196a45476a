"""A partner's answer in one line, without tokens and credentials that it may have echoed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

import httpx

from activities.partners.partner import Partner
from activities.receipts import one_line

AUTHENTICATING: Final = re.compile(r"(?i)auth|key|token|secret|signature|password|cookie")
"""Matches the names of headers and query fields that hold credentials."""


SHORTEST_CREDENTIAL: Final = 8
"""Minimum characters of a credential. Shorter values are not credentials; removing them would garble the text."""


JSON_ESCAPE: Final = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/]))')


def answer_line(partner: Partner, status: int, said: str) -> str:
    """Describe a response in one line: the partner, the status, and what the partner says (see `partner_words`)."""
    return f"partner {partner.name} answered {status}" + (f": {said}" if said else "")


def partner_words(response: httpx.Response, *callback_urls: str) -> str:
    """The response's body in one short line, without tokens and credentials that the partner may have echoed.

    Example: after a request with `Authorization: Bearer s3cret-key`, the body `no such key: s3cret-key` becomes
    `no such key: [removed]`. If a secret is found only after escapes are resolved (`s3cret\\u002dkey`), the whole text
    becomes `[removed]`.
    """
    tokens = [url.rpartition("/")[2] for url in callback_urls]
    text = response.content.decode("utf-8", "replace")
    secrets = _secrets(response.request, tokens)
    for secret in secrets:
        for spelling in {secret, quote(secret, safe=""), quote(secret)}:
            text = text.replace(spelling, "[removed]")
    if any(secret in reading for reading in _readings(text) for secret in secrets):
        return "[removed]"
    return one_line(text)


def _readings(text: str) -> Iterator[str]:
    """The text with JSON escapes resolved, and then with a URL's or a form's escapes resolved too."""
    plain = JSON_ESCAPE.sub(lambda found: found[2] or chr(int(found[1], 16)), text)
    yield from (plain, unquote(plain), unquote_plus(plain))


def _secrets(request: httpx.Request, tokens: Iterable[str]) -> list[str]:
    """The tokens, and the credentials in the request's headers and query: whole, without scheme, and Basic's parts."""
    values = [
        value
        for name, value in (*request.headers.items(), *request.url.params.multi_items())
        if AUTHENTICATING.search(name) and name.lower() != "idempotency-key"
    ]
    values += [value.rpartition(" ")[2] for value in values]
    values += [part for value in values for part in _basic_parts(value)]
    return [secret for secret in (*tokens, *values) if len(secret) >= SHORTEST_CREDENTIAL]


def _basic_parts(credentials: str) -> list[str]:
    """User and password of Basic credentials: either can be the partner's API key."""
    try:
        user, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return []
    return [user, password] if colon else []
