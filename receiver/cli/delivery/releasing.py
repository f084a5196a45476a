"""Releasing deliveries, so that they are sent again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

import click

from receiver.cli.db.store import need_archive
from receiver.cli.delivery.selection import refuse_both
from receiver.cli.errors import Exit
from receiver.cli.output import counted, note, say
from receiver.cli.terminal import printable
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, Fate
from receiver.deliveries.errors import NeverForwarded, NoSuchDelivery
from receiver.deliveries.filters import ANY, Filters
from receiver.deliveries.rows import is_unread
from receiver.sending import releases
from receiver.sending.here import Here

HELD: Final = {Fate.PARKED, Fate.REFUSED}
REPLAY: Final = "`stagehook delivery replay` sends it again"


def release_named(ids: Sequence[str], filters: Filters) -> Exit:
    """Release these deliveries; NOT_FOUND if any stays as it is. Raises `CommandError` if filters are also given."""
    refuse_both(ids, filters)
    archive = need_archive()
    left = _release(archive, [(one.id, None) for one in archive.named(ids)])
    for why_not in left:
        note(printable(str(why_not)))
    if _is_any_never_sent(left):
        note(REPLAY)
    return Exit.NOT_FOUND if left else Exit.OK


def release_by_filters(filters: Filters) -> Exit:
    """Release the held deliveries that the filters choose, and print how many; a usage error without filters."""
    if filters == ANY:
        raise click.UsageError("say which: IDs, or filters such as --fate parked")
    archive = need_archive()
    chosen = [(one.id, one.fate) for one in archive.every(filters) if _is_held(one, filters)]
    left = _release(archive, chosen)
    for why_not in left:
        if isinstance(why_not, releases.NotReadAgain):
            note(printable(str(why_not)))
    why = f": what is imported is never sent by itself; {REPLAY}" if _is_any_never_sent(left) else ""
    released = counted(len(chosen) - len(left), "delivery", "deliveries")
    note(f"{released} released" + (f", {len(left)} left as they are{why}" if left else ""))
    return Exit.OK


def _release(archive: Archive, chosen: Sequence[tuple[str, Fate | None]]) -> list[NoSuchDelivery]:
    """Release the deliveries with these ids, if they have these fates; an error for each that stays as it is."""
    left: list[NoSuchDelivery] = []
    for id_, fate in chosen:
        try:
            say(printable(f"{releases.release(archive, id_, time.time(), Here(), expected_fate=fate).id} is pending"))
        except NoSuchDelivery as error:  # with filters: another process has released it
            left.append(error)
    return left


def _is_any_never_sent(left: Iterable[NoSuchDelivery]) -> bool:
    return any(isinstance(why_not, NeverForwarded) for why_not in left)


def _is_held(one: Delivery, filters: Filters) -> bool:
    """Whether to release a delivery that the filters choose."""
    if filters.fate:
        return one.fate is Fate(filters.fate)
    return one.fate in HELD or is_unread(one)
