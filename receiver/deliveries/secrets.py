"""Secrets in captures: which values are secret, finding them in any encoding, and an export without them.

Example: with ACME_SECRET=hunter2hunter2 in the environment, an export must not hold that text: not in a header, not in
a JSON body, and not in a body that encodes it in base64.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from itertools import chain
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from activities import strict_json
from activities.redaction import tokens
from activities.signatures.scheme import PREFIXES
from activities.spellings import REDACTED, Budget, Found, Look, redact_bytes, search
from receiver.deliveries.credentials import is_credential
from receiver.deliveries.delivery import FORM, Delivery, digest

SECRET_VARIABLE: Final = re.compile(r"(?:KEY|SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL)S?[0-9]*(?:_|$)")
"""Names of environment variables whose values are secret: ours, Temporal's and the partners'."""

NO_SECRET: Final = re.compile(r"_(?:TYPE|POLICY|SECONDS|FILE|PATH|ID)$")
"""Names that match `SECRET_VARIABLE`, but whose values describe a secret and do not hold it."""

URL_VARIABLE: Final = re.compile(r"(?:^|_)(?:URL|URI|DSN)$")
PASSWORD_IN_QUERY: Final = re.compile(r"(?:^|&)(?:ssl)?(?:password|passwd|pwd)=([^&]*)", re.IGNORECASE)

SHORTEST: Final = 8
"""Characters of a secret that is searched for. A shorter text would be found everywhere."""

ADDRESSES: Final = {
    "x-forwarded-for",
    "x-original-forwarded-for",
    "x-vercel-forwarded-for",
    "forwarded",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "fly-client-ip",
    "fastly-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
}
"""Headers in which routers write the client's address."""


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


def _passwords(url: str) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(ValueError):  # not a URL, so it has no password
        parts = urlsplit(url)
        yield "", unquote(parts.password or "")
        for found in PASSWORD_IN_QUERY.finditer(parts.query):
            yield " in its query", unquote(found[1])


def find(document: bytes, secrets: Mapping[str, str]) -> Iterator[str]:
    """Names of what a document must not hold, found in its text and in its JSON: `ACME_SECRET`, `a callback token`."""
    in_text = (name for _, name in find_in_text(document, secrets))
    yield from dict.fromkeys(chain(in_text, find_in_json(document, secrets)))


def find_in_text(text: bytes, secrets: Mapping[str, str], budget: Budget | None = None) -> Iterator[tuple[int, str]]:
    """Secrets and tokens in a plain text, as pairs of position and name. budget: see `search`."""
    for found in search(text, _look(secrets), budget=budget):
        yield found.start, found.name


def find_in_json(document: bytes, secrets: Mapping[str, str], budget: Budget | None = None) -> Iterator[str]:
    """Names of secrets and tokens in a JSON document's texts and its deliveries' bodies; none if it is not JSON."""
    with contextlib.suppress(strict_json.NotStrictJSON):
        # Searched as a single text: a hundred thousand short searches cost far more. Secrets and tokens hold no NUL.
        texts = b"\0".join(_texts(strict_json.loads(document)))
        yield from dict.fromkeys(found.name for found in search(texts, _look(secrets), budget=budget))


def redact(delivery: Delivery, secrets: Mapping[str, str]) -> Delivery:
    """The delivery without known secrets, callback tokens, credentials and client addresses.

    `find` finds nothing in it. The rest of the body stays, because it is what is replayed: it may hold a customer's
    data. A body that hides a secret in base64, or in more layers of encoding than are searched, is left out.

    Example: the body `{"key": "hunter2hunter2"}` becomes `{"key": "[redacted]"}`, and `X-Forwarded-For` is dropped.
    """
    look, budget = _look(secrets), Budget(sum(2 * len(text) for pair in delivery.headers for text in pair))
    texts: dict[str, Any] = {
        field.name: _blot(value, look)
        for field in fields(delivery)
        if isinstance(value := getattr(delivery, field.name), str) and field.name not in {"client", "body_digest"}
    }
    if texts["method"] != delivery.method:
        texts["method"] = "REDACTED"  # a method may not have brackets
    headers = tuple(
        (name, _blot(value, look, budget))
        for name, value in delivery.headers
        # Imported deliveries, and those of an earlier version, may have headers that are no longer kept.
        if name.lower() not in ADDRESSES and not is_credential(name) and _blot(name, look, budget) == name
    )
    clean = replace(delivery, **{**texts, "client": "", "headers": headers})
    body = None if clean.body is None else redact_bytes(clean.body, look)
    if body is None or body == clean.body:
        return replace(clean, body=body)
    return replace(clean, body=body, body_size=len(body), body_digest=digest(body))


def _texts(value: Any) -> Iterator[bytes]:
    """Every text in a JSON value, including keys and numbers; for a delivery's body, the decoded bytes."""
    match value:
        case {"form": str(form), "body": str(encoded), **others} if form == FORM:
            yield from (_body(encoded), *_texts(others))
        case dict():
            for key, inner in value.items():
                yield from (_encoded(key), *_texts(inner))
        case list():
            for inner in value:
                yield from _texts(inner)
        case str():
            yield _encoded(value)
        case int() | float():
            yield str(value).encode()


def _body(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return _encoded(encoded)


def _blot(text: str, look: Look, budget: Budget | None = None) -> str:
    encoded = _encoded(text)
    clean = redact_bytes(encoded, look, budget=budget)
    if clean is None:  # little is lost: the text of a single member or header
        return REDACTED.decode()
    return text if clean == encoded else clean.decode("latin-1" if _is_latin(text) else "utf-8", "replace")


def _encoded(text: str) -> bytes:
    """The bytes of a text: Latin-1 where possible, which is how a header arrived, otherwise UTF-8."""
    return text.encode("latin-1" if _is_latin(text) else "utf-8")


def _is_latin(text: str) -> bool:
    return max(text, default="") <= "\xff"


def _look(secrets: Mapping[str, str]) -> Look:
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
    """The secret in UTF-8 and, as older systems write it, Latin-1; each also with its blanks as +, as in a form."""
    utf8 = secret.encode("utf-8", "surrogateescape")  # the environment may hold any bytes
    forms = {utf8, secret.encode("latin-1")} if _is_latin(secret) else {utf8}
    return forms | {form.replace(b" ", b"+") for form in forms}
