"""Telling: what a delivery is and what became of it, in words for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from receiver.deliveries.delivery import Delivery

UNREAD_BODY: Final = "not read to its end, {} bytes or more: it cannot be replayed"


def part_text(one: Delivery) -> str:
    """Return which event of which request a delivery is, such as `3 of ID`; "" for a whole request."""
    return f"{one.part} of {one.part_of}" if one.part_of else ""


def described(one: Delivery) -> Iterator[tuple[str, str]]:
    """Yield the lines that describe a delivery to people, as title and text."""
    yield "id", one.id
    yield "received", f"{_time(one.received_at)} from {one.client or 'an address that was left out'}"
    yield "request", f"{one.method} {one.target}"
    for name, value in one.headers:
        yield "", f"{name}: {value}"
    if one.part_of:
        yield "part", f"{part_text(one)}: the request, which holds its headers and its body"
    kept = "" if one.body is not None or one.part_of else ", not kept: it cannot be replayed"
    yield "body", f"{one.body_size} bytes{kept}" if one.body_digest else UNREAD_BODY.format(one.body_size)
    if one.body_digest:
        yield "sha256", one.body_digest
    yield "partner", one.partner
    if one.reference:
        yield "reference", one.reference
    if one.workflow_id:
        yield "run", one.workflow_id
        yield "chain", one.chain_id
        yield "pipeline", f"{one.pipeline or 'unknown'} (definition {one.definition or 'unknown'})"
        yield "stage", f"{one.stage}, call {one.attempt}"
    yield "says", " ".join(part for part in (one.says or "nothing that was read", one.signed_id) if part)
    yield "answer", f"{one.status} {one.verdict}" + (f": {one.reason}" if one.reason else "")
    if one.duplicate_of:
        yield "same as", one.duplicate_of
    if one.fate.value:
        why = f": {one.fate_reason}" if one.fate_reason else ""
        when = f" at {_time(one.fate_at)}" if one.fate_at else ""
        yield "fate", f"{one.fate.value}{when}, {one.tries} failed tries{why}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
