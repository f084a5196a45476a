"""Export: a delivery without secrets, as it may be handed on."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any, Final

from activities.redaction.headers import is_credential
from activities.redaction.text import REDACTED, Look, redact_bytes
from receiver.deliveries.delivery import Delivery, digest

ADDRESS: Final = re.compile(
    "(?:x-(?:(?:original|vercel)-)?forwarded-for|forwarded|x-real-ip|cf-connecting-ip|true-client-ip|fly-client-ip"
    "|fastly-client-ip|x-client-ip|x-cluster-client-ip|x-envoy-external-address)",
    re.IGNORECASE,
)
"""Matches the headers in which routers write the client's address."""


def redact(delivery: Delivery, look: Look) -> Delivery:
    """The delivery without the secrets and callback tokens that `look` finds, credentials and client addresses.

    `search` finds nothing in its JSON form. The rest of the body stays, because it is what is replayed: it may hold a
    customer's data. A body that hides a secret in base64, or in more layers of encoding than are searched, is left out.

    Example: the body `{"key": "hunter2hunter2"}` becomes `{"key": "[redacted]"}`, and `X-Forwarded-For` is dropped.
    """
    texts: dict[str, Any] = {
        field.name: _redact_text(value, look)
        for field in fields(delivery)
        if isinstance(value := getattr(delivery, field.name), str) and field.name not in {"client", "body_digest"}
    }
    if texts["method"] != delivery.method:
        texts["method"] = "REDACTED"  # a method may not have brackets
    headers = tuple(
        (name, _redact_text(value, look))
        for name, value in delivery.headers
        # Imported deliveries, and those of an earlier version, may have headers that are no longer kept.
        if not ADDRESS.fullmatch(name) and not is_credential(name) and _redact_text(name, look) == name
    )
    clean = replace(delivery, **{**texts, "client": "", "headers": headers})
    body = None if clean.body is None else redact_bytes(clean.body, look)
    if body is None or body == clean.body:
        return replace(clean, body=body)
    return replace(clean, body=body, body_size=len(body), body_digest=digest(body))


def _redact_text(text: str, look: Look) -> str:
    charset = "latin-1" if max(text, default="") <= "\xff" else "utf-8"  # Latin-1 is how a header arrived
    encoded = text.encode(charset)
    clean = redact_bytes(encoded, look)
    if clean is None:  # little is lost: the text of a single member or header
        return REDACTED.decode()
    return text if clean == encoded else clean.decode(charset, "replace")
