"""Show a delivery for people, for programs or as a shell line, or only its body."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import click

from receiver.cli.db.store import need_archive
from receiver.cli.delivery.curl import curl_line, unsendable
from receiver.cli.delivery.listing import part_text
from receiver.cli.errors import CommandError
from receiver.cli.output import note, print_json, say
from receiver.cli.terminal import printable, write_bytes
from receiver.deliveries.delivery import Delivery

UNREAD_BODY: Final = "not read to its end, {} bytes or more: it cannot be replayed"


def show_delivery(id_: str, *, body: bool, curl: bool, as_json: bool) -> None:
    """Print the delivery in one of these forms; raises `NoSuchDelivery`, and `CommandError` for a body not kept."""
    given = [name for name, is_given in {"--body": body, "--curl": curl, "--json": as_json}.items() if is_given]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} each say what is printed: give one of them")
    one = need_archive().get(id_)
    if body:
        if one.part_of:
            what = f"{one.id} is event {one.part} of {one.part_of}, and only whole requests have a body"
            raise CommandError(what, f"`stagehook delivery show {one.part_of} --body`")
        if one.body is None:
            raise CommandError(
                f"the body of {one.id} was not kept, only its size and digest", "look at it without --body"
            )
        write_bytes(one.body)
        return
    if curl:
        say(curl_line(one, os.environ))
        for name in unsendable(one):
            note(f"left out: the header {printable(name)}, for it holds CR, LF, NUL or what is not latin-1")
        return
    if as_json:
        print_json(one.as_json())
        return
    for name, value in described(one):
        say(f"{name:12} {printable(value)}")


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
