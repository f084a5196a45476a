"""Show a delivery for people, for programs or as a shell line, or only its body."""

from __future__ import annotations

import os

import click

from receiver.cli.db.store import need_archive
from receiver.cli.errors import CommandError
from receiver.cli.output import note, print_json, say
from receiver.cli.terminal import printable, write_bytes
from receiver.deliveries.telling import described
from receiver.replay.curl import curl_line, unsendable


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
