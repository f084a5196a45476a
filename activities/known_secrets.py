"""Known secrets: which values in the environment are secret.

Example: with ACME_SECRET=hunter2hunter2 in the environment, an export must not hold that text: not in a header, not in
a JSON body, and not in a body that encodes it in base64.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from activities.redaction.headers import SECRET_WORDS
from activities.redaction.text import REDACTED
from activities.signatures.scheme import PREFIXES

SECRET_VARIABLE: Final = re.compile(rf"(?:KEY|{SECRET_WORDS.upper()})S?[0-9]*(?:_|$)")
"""Names of environment variables whose values are secret: ours, Temporal's and the partners'."""

NO_SECRET: Final = re.compile(r"_(?:TYPE|POLICY|SECONDS|FILE|PATH|ID)$")
"""Names that match `SECRET_VARIABLE`, but whose values describe a secret and do not hold it."""

URL_VARIABLE: Final = re.compile(r"(?:^|_)(?:URL|URI|DSN|ENDPOINT)$")
HEADERS_VARIABLE: Final = re.compile(r"^OTEL_EXPORTER_OTLP_(?:METRICS_)?HEADERS$")
"""Names of variables that hold headers for a collector, each with a key as its value: `x-team=KEY,api-key=KEY`."""

PASSWORD_IN_QUERY: Final = re.compile(r"(?:^|&)(?:ssl)?(?:password|passwd|pwd)=([^&]*)", re.IGNORECASE)

REPLACEMENT: Final = REDACTED.decode()
"""A secret that is part of this would be found again in the redacted text."""

SHORTEST_KNOWN: Final = 8
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
        if HEADERS_VARIABLE.search(name):
            found |= {f"{name} {header}": credential for header, credential in _credentials(value)}
        if URL_VARIABLE.search(name):
            found |= {f"{name}'s password{where}": password for where, password in _passwords(value)}
    for name, value in list(found.items()):
        for prefix in filter(value.startswith, PREFIXES):
            found[f"{name} without its prefix"] = value.removeprefix(prefix)
    return {name: value for name, value in found.items() if len(value) >= SHORTEST_KNOWN and value not in REPLACEMENT}


def _credentials(headers: str) -> Iterator[tuple[str, str]]:
    """Each header's value without a scheme such as Bearer, as it is written and as it is sent."""
    for header in headers.split(","):
        name, _, value = header.strip().partition("=")
        sent = unquote(value).strip()
        yield name, sent.rpartition(" ")[2]
        if value != sent:
            yield f"{name} as it is written", value


def _passwords(url: str) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(ValueError):  # not a URL, so it has no password
        parts = urlsplit(url)
        yield "", unquote(parts.password or "")
        for found in PASSWORD_IN_QUERY.finditer(parts.query):
            yield " in its query", unquote(found[1])
