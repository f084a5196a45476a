"""How values are written on pages: moments, durations, and texts of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup

from receiver.durations import short_duration
from receiver.escaping import escaped, printable
from receiver.telling.moments import deadline_text, span

LONGEST_CELL: Final = 300
LONGEST_BLOCK: Final = 20_000
"""Characters of an untrusted text that a page shows, in a line and in a block of lines."""


def line(text: object) -> str:
    """An untrusted text on a line: bounded, and with its invisible characters escaped."""
    return printable(_bounded(str(text), LONGEST_CELL))


def block(text: object) -> str:
    """An untrusted text of several lines: bounded, and with its control characters escaped."""
    return escaped(_bounded(str(text), LONGEST_BLOCK))


def moment(at: float | datetime | None) -> Markup:
    """A moment in UTC as an element `time`; "" for None. at: unix seconds, or a time with a zone."""
    if at is None:
        return Markup("")
    time = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    text = f"{time:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}">{}</time>').format(time.isoformat(timespec="seconds"), text)


def ago(at: float, now: float) -> Markup:
    """How long ago a moment was, with the moment itself in the element's attributes."""
    return _with_moment(at, f"{span(now - at)} ago")


def due(at: float, now: float) -> Markup:
    """How far a deadline is, such as `in 2h 5m` or `5m overdue`."""
    return _with_moment(at, deadline_text(at, now))


def sentence(text: object) -> str:
    """An error's text as a sentence."""
    said = str(text)
    return f"{said[:1].upper()}{said[1:]}{'' if said.endswith(('.', '?', '!')) else '.'}"


def _with_moment(at: float, text: str) -> Markup:
    time = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        time.isoformat(timespec="seconds"), f"{time:%Y-%m-%d %H:%M:%S} UTC", text
    )


def _bounded(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} ... ({len(text) - most} more characters)"


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "line": line,
    "block": block,
    "moment": moment,
    "ago": ago,
    "due": due,
    "sentence": sentence,
    "short_duration": short_duration,
}
"""The filters of the templates."""
