"""Deliveries to files and back: export and import."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from activities.known_secrets import known_secrets
from activities.redaction.secrets import look_for
from receiver.cli.db.store import need_archive
from receiver.cli.delivery.selection import read_file, refuse_both
from receiver.cli.output import counted, note, print_json, say
from receiver.cli.terminal import printable
from receiver.deliveries.archive import PAGE, Archive
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.export import redact
from receiver.deliveries.filters import Filters

HIDES: Final = "it hides a secret in base64, or has more layers than are looked through"


def print_export(ids: Sequence[str], filters: Filters, *, full: bool) -> None:
    """Print the deliveries as JSON Lines. full: with their secrets. Raises `CommandError`, `NoSuchDelivery`."""
    refuse_both(ids, filters)
    archive = need_archive()
    chosen = _with_requests(archive, archive.named(ids) if ids else archive.every(filters))
    look = look_for(known_secrets(os.environ))
    exported = 0
    for one in chosen:
        clean = one if full else redact(one, look)
        print_json(clean.as_json(), indent=None)
        if one.body is not None and clean.body is None:
            note(f"left out: the body of {printable(one.id)}, for {HIDES}")
        exported += 1
    note(
        counted(exported, "delivery", "deliveries") + (", with secrets and addresses if they have any" if full else "")
    )


def _with_requests(archive: Archive, chosen: Iterable[Delivery]) -> Iterator[Delivery]:
    """Yield the deliveries, each once, with the requests of those that are events: they are replayed by the request."""
    left, seen = iter(chosen), dict[str, float]()
    while page := list(islice(left, PAGE)):
        new = [one for one in archive.with_requests(page) if one.id not in seen]
        yield from new
        seen |= {one.id: one.received_at for one in new}
        # A request and its events have the same time, so that older deliveries are not met again.
        seen = {id_: at for id_, at in seen.items() if at >= page[-1].received_at}


def import_file(file: str, *, as_json: bool) -> None:
    """Add the file's deliveries to the store; raises `CommandError` for an invalid line, and `PartlyAdded`."""
    # First read the whole file, so that an invalid line imports nothing and a slow stdin does not block the store.
    archive, deliveries = need_archive(), list(read_file(file))
    if not deliveries:
        note("it holds no delivery: `stagehook delivery export` writes what is imported")
    added, present, differing = archive.add(deliveries)
    if as_json:
        print_json({"added": added, "present": present, "differing": differing})
    else:
        say(
            f"{counted(added, 'delivery', 'deliveries')} added" + (f", {present} were there already" if present else "")
        )
    for id_ in differing:
        note(f"left as it is: {printable(id_)} is there with another content, as one that was redacted")
