"""Heads: what the head of a request must say for the request to be a callback of its partner."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from activities.partners.partner import Partner
from activities.partners.received import GZIP, Received
from receiver.answers import Refused, Verdict

ONLY_ONCE: Final = ("content-type", "content-encoding", "content-length", "transfer-encoding", "host", "authorization")
"""Headers that may not be repeated: two HTTP readers could pick different values."""

PLAIN_ENCODINGS: Final = ("", "identity", "utf-8")
"""Values of Content-Encoding that mean a plain body. Some clients name their charset there."""


def is_callback(request: Request, partner: Partner) -> bool:
    """Whether the partner sends its callbacks by this method. The signature of a GET must cover its query."""
    is_get = request.method == "GET" and partner.takes_get and partner.proves_its_urls
    return is_get or request.method == "POST"


def _is_media_type(content_type: str, partner: Partner) -> bool:
    if content_type in partner.media_types:
        return True  # written as in the partner's file
    return Received(b"", (("content-type", content_type),)).media_type in partner.media_types


def check_headers(request: Request, partner: Partner) -> None:
    """Raise `Refused` for a repeated header, another media type and another encoding than the partner sends."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    head = dict(headers)
    if len(head) < len(headers):
        names = [name for name, _ in headers]
        for name in ONLY_ONCE:
            if names.count(name.encode()) > 1:
                raise Refused(Verdict.MALFORMED, f"{name} is given more than once", body_read=False)
    if request.method == "POST" and not _is_media_type(head.get(b"content-type", b"").decode("latin-1"), partner):
        expected = " or ".join(filter(None, partner.media_types)) or "no Content-Type"
        raise Refused(Verdict.WRONG_TYPE, f"send {expected}", body_read=False)
    encoding = head.get(b"content-encoding", b"").decode("latin-1").lower()
    if encoding not in (*PLAIN_ENCODINGS, *(GZIP if partner.gzip else ())):
        raise Refused(Verdict.WRONG_TYPE, "send the body without a Content-Encoding", body_read=False)
