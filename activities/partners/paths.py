"""Paths: a partner's id of the work as a part of a later request's URL."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

DOTS: Final = ("", ".", "..")
"""Segments that change the path (RFC 3986, 5.2.4). `quote` keeps them, and a percent-encoded dot means the same."""


class BadSegment(ValueError):
    """A text that cannot be one segment of a URL's path.

    `build_call`, `build_ask`, `build_stop` and `build_undo` of a partner's file raise it where they use `path_segment`.
    """


def path_segment(text: str) -> str:
    """Return the text percent-encoded as one segment of a URL's path; raises `BadSegment` for "", `.` and `..`."""
    if text in DOTS:
        raise BadSegment(f"invalid id {text!r}: it would change the path of the URL")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise BadSegment("invalid id: it holds a lone surrogate") from None
