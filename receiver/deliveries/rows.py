"""Rows: deliveries as rows of the store's table, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from activities.callback_urls import Claims
from activities.store.packing import NO_HEADERS, PACKED_CALLBACK, Content, pack, unpack_row
from receiver.deliveries.delivery import Delivery, Fate, without_tokens_in_body

UNREAD_CALLBACK: Final = ""
"""The callback of a delivery on which the partner's file failed: an operator may have the body read again. An imported
delivery has NULL instead, and is never forwarded."""

MAX_PACKED_BYTES: Final = 32 * 1024
"""Most bytes of body and callback in a packed row. To compress them takes about 1 ms in the writer's transaction. It is
less than `MAX_REFUSED_BODY_BYTES`: a longer body is removed once its delivery is refused."""


def is_unread(delivery: Delivery) -> bool:
    """Whether the partner's file failed on it, so that its body can be read again once the file is fixed."""
    return delivery.verdict == "broken" and delivery.fate is Fate.NONE and delivery.body is not None


def to_row(delivery: Delivery) -> dict[str, Any]:
    """The delivery as a row: values by column name."""
    return {**vars(delivery), "headers": json.dumps(delivery.headers), "fate": delivery.fate.value, "packed": None}


def pack_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a queued delivery, packed; unchanged without a body, or with more than `MAX_PACKED_BYTES`."""
    if row["body"] is None or len(row["body"]) + len(row["callback"]) > MAX_PACKED_BYTES:
        return row
    content = Content(row["body"], row["callback"], row["headers"])
    return row | {"body": None, "callback": PACKED_CALLBACK, "headers": NO_HEADERS, "packed": pack(content)}


def to_delivery(row: Mapping[str, Any]) -> Delivery:
    """The delivery of a row with the columns of `RECORD`."""
    row = unpack_row(row)
    values = {field.name: row[field.name] for field in fields(Delivery)}
    body = None if values["body"] is None else bytes(values["body"])
    headers = tuple((name, value) for name, value in json.loads(values["headers"]))
    delivery = Delivery(**{**values, "headers": headers, "body": body, "fate": Fate(values["fate"])})
    return without_tokens_in_body(delivery) if delivery.is_at_one_url and body else delivery


def claims_in(row: Mapping[str, Any]) -> Claims:
    """The claims in a row that has their columns."""
    return Claims(
        row["workflow_id"],
        row["chain_id"],
        row["stage"],
        row["attempt"],
        row["partner"],
        row["issued_at"],
        row["expires_at"],
    )


ROW_OVERHEAD: Final = 512
"""Bytes of a row in addition to its texts and body: its numbers and index entries."""


def stored_size(row: Mapping[str, Any]) -> int:
    """Bytes that a row of the store takes."""
    texts = sum(_size(value) for value in row.values() if isinstance(value, str))
    return ROW_OVERHEAD + texts + len(row["body"] or b"")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
