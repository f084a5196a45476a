"""Bodies: a delivery's body as text that a page can show, whatever its bytes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from activities.partners.received import Unreadable
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.telling import UNREAD_BODY

MOST_DUMPED: Final = 4096
"""Bytes of a binary body that are shown."""

DUMP_WIDTH: Final = 16
"""Bytes in a line: a telephone's screen holds 16."""


@dataclass(frozen=True)
class ShownBody:
    """What a body is, in words, and its text; "" for a body without text to show."""

    kind: str
    text: str = ""


def shown_body(delivery: Delivery) -> ShownBody:
    """The body of a delivery: its text, or its bytes in hexadecimal digits. The text may hold anything."""
    body = delivery.body
    if body is None:
        size = delivery.body_size
        return ShownBody(f"{size} bytes, not kept" if delivery.body_digest else UNREAD_BODY.format(size))
    if not body:
        return ShownBody("empty")
    try:
        content = delivery.received(body).body
    except Unreadable as error:
        return ShownBody(f"{len(body)} bytes, whose gzip encoding cannot be undone ({error})", dump(body))
    packed = f", sent as {len(body)} bytes of gzip" if content is not body and content != body else ""
    try:
        return ShownBody(f"{len(content)} bytes of UTF-8 text{packed}", content.decode())
    except UnicodeDecodeError:
        part = f"; the first {MOST_DUMPED} are shown" if len(content) > MOST_DUMPED else ""
        return ShownBody(f"{len(content)} bytes that are not UTF-8 text{packed}{part}", dump(content))


def dump(content: bytes) -> str:
    """The beginning of some bytes in hexadecimal digits, with what is ASCII beside them."""
    starts = range(0, min(len(content), MOST_DUMPED), DUMP_WIDTH)
    return "\n".join(_dumped(start, content[start : start + DUMP_WIDTH]) for start in starts)


def _dumped(start: int, row: bytes) -> str:
    plain = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
    return f"{start:06x}  {row.hex(' '):{3 * DUMP_WIDTH - 1}}  {plain}"
