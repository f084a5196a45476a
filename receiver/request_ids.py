"""Request ids: what a router in front of the receiver calls a request, so that its log and ours can be joined."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

HEADERS: Final = (
    "x-request-id",  # Heroku, Scalingo, nginx, Envoy
    "x-amzn-trace-id",  # AWS
    "x-cloud-trace-context",  # Google Cloud
    "fly-request-id",
    "x-railway-request-id",
    "cf-ray",  # Cloudflare, Render
    "traceparent",  # W3C Trace Context
)
"""The headers that are looked at, the first of them first."""

WELL_FORMED: Final = re.compile(r"[A-Za-z0-9_.:;=/+-]{1,200}")


def request_id_of(headers: Iterable[tuple[str, str]]) -> str:
    """Return the router's id of a request, or "". headers: with names in lower case.

    The id is for the log only: where no router sets the header, the client can send any. A header that is sent twice,
    or holds other characters than ids have, is ignored.
    """
    found: dict[str, str | None] = {}
    for name, value in headers:
        if name in HEADERS:
            found[name] = value if name not in found and WELL_FORMED.fullmatch(value) else None
    return next((id_ for name in HEADERS if (id_ := found.get(name))), "")
