"""Paths: put a partner's id of the work into the URL of a later request."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

DOTS: Final = ("", ".", "..")
"""Segments that change the path (RFC 3986, 5.2.4). `quote` keeps them; a percent-encoded dot has the same effect."""


class BadSegment(ValueError):
    """A text that cannot be a single segment of a URL's path.

    A partner's `build_call`, `build_ask`, `build_stop` and `build_undo` raise it where they use `path_segment`.
    """


def path_segment(text: str) -> str:
    """Percent-encode the text as a single segment of a URL's path; raises `BadSegment` for "", `.` and `..`."""
    if text in DOTS:
        raise BadSegment(f"invalid id {text!r}: it would change the path of the URL")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise BadSegment("invalid id: it holds a lone surrogate") from None
