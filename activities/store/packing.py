"""Packing: the long values of a delivery's row, compressed together into its column `packed`.

Body, callback and headers repeat each other. Compressed together they are short enough that PostgreSQL writes no row of
its other table (TOAST) for them.

A packed row has `PACKED_CALLBACK` as its callback, which is not JSON, `[]` as headers, and no body. A receiver of an
earlier release parks it as unreadable, and keeps it. `unpack_rows` restores the columns.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

PACKED_CALLBACK: Final = "packed"
"""The callback of a packed row. Any other callback was written later, such as by `delivery release`, and counts."""

NO_HEADERS: Final = "[]"

FORM_BYTE: Final = b"\x01"
"""The first byte: the number of the form. Stored: another form needs another number, and a release that reads it before
any release writes it.

A stream of zlib (RFC 1950) follows, with its checksum: `LENGTHS`, then body, callback and headers."""

LENGTHS: Final = struct.Struct(">II")
"""The bytes of body and callback."""

LEVEL: Final = 4
"""zlib's level. Levels 6 and 9 save less than 1 % more."""

MEMORY_LEVEL: Final = 6
"""zlib's memLevel. With the default of 8, it takes longer to set up the compressor than to compress 2 kB."""

SMALLEST_WINDOW: Final = 10
LARGEST_WINDOW: Final = 15
"""zlib's wbits: a window of so many bits finds repetitions within 2 ** bits bytes. A window is as long as the text,
because a longer one takes longer to set up."""

POSITIONS_READ: Final = 1000
"""Positions that a query searches for packed rows. No index leads to these."""

UNPACK_BATCH: Final = 50
"""Rows that are unpacked in a transaction. With 30 kB each it takes 0.1 s; a receiver waits 0.2 s for a row."""

FIRST_AND_LAST: Final = "SELECT coalesce(min(position), 1), coalesce(max(position), 0) FROM deliveries"

PACKED_ROWS: Final = """
    SELECT position, id, packed FROM deliveries WHERE position BETWEEN :first AND :last AND packed IS NOT NULL
"""

UNPACK_ROW: Final = f"""
    UPDATE deliveries
    SET headers = :headers, body = :body, packed = NULL,
        callback = CASE WHEN callback = '{PACKED_CALLBACK}' THEN :callback ELSE callback END
    WHERE position = :position AND packed IS NOT NULL
"""  # noqa: S608


class Content(NamedTuple):
    """The long values of a row. callback, headers: as JSON."""

    body: bytes
    callback: str
    headers: str


class BadPacking(ValueError):
    """Bytes that this release cannot unpack: they are damaged, or a later release wrote them in another form."""


class Unpacked(NamedTuple):
    """Some rows. done: how many were unpacked. bad: why others were not, a sentence for each."""

    done: int
    bad: list[str]


def pack(content: Content) -> bytes:
    """Compress the content."""
    callback = content.callback.encode()
    text = b"".join((LENGTHS.pack(len(content.body), len(callback)), content.body, callback, content.headers.encode()))
    window = min(max(len(text).bit_length(), SMALLEST_WINDOW), LARGEST_WINDOW)
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, window, MEMORY_LEVEL)
    return FORM_BYTE + compressor.compress(text) + compressor.flush()


def unpack(packed: bytes) -> Content:
    """Return the content of packed bytes. Raises `BadPacking`."""
    if packed[:1] != FORM_BYTE:
        raise BadPacking(f"unknown form {packed[0]}" if packed else "no bytes")
    try:
        text = zlib.decompress(packed[1:])
        body, callback = LENGTHS.unpack_from(text)
        start, middle = LENGTHS.size, LENGTHS.size + body
        end = middle + callback
        return Content(text[start:middle], text[middle:end].decode(), text[end:].decode())
    except (struct.error, UnicodeDecodeError, zlib.error) as error:
        raise BadPacking("damaged bytes") from error


def unpack_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row with its long values in their own columns.

    A row that cannot be unpacked is returned without body. The sender parks it, because it cannot read its callback.
    """
    if row["packed"] is None:
        return row
    try:
        content = unpack(bytes(row["packed"]))
    except BadPacking:
        return {**row, "body": None}
    whole = {**row, "headers": content.headers, "packed": None}
    if row.get("body") is None:  # the row of a list has b"" in place of each body
        whole["body"] = content.body
    if row.get("callback", PACKED_CALLBACK) == PACKED_CALLBACK:
        whole["callback"] = content.callback
    return whole


def unpack_rows(begin: Callable[[], AbstractContextManager[sa.Connection]]) -> Iterator[Unpacked]:
    """Unpack the rows of a store, some at a time. begin: begins a transaction."""
    with begin() as connection:
        first, end = connection.execute(sa.text(FIRST_AND_LAST)).one()
    for start in range(first, end + 1, POSITIONS_READ):
        # In a transaction of its own: in one that has read, SQLite refuses to write once another process has written.
        with begin() as connection:
            places = {"first": start, "last": start + POSITIONS_READ - 1}
            found = connection.execute(sa.text(PACKED_ROWS), places).mappings().all()
        rows, bad = list[dict[str, Any]](), list[str]()
        for row in found:
            try:
                rows.append({"position": row["position"], **unpack(bytes(row["packed"]))._asdict()})
            except BadPacking as error:
                bad.append(f"cannot unpack the delivery {row['id']}: {error}")
        for place in range(0, len(rows), UNPACK_BATCH):
            with begin() as connection:
                connection.execute(sa.text(UNPACK_ROW), rows[place : place + UNPACK_BATCH])
        if found:
            yield Unpacked(len(rows), bad)
