"""Print deliveries line by line: the latest, or new ones as they are recorded."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from receiver.cli.db.store import need_archive
from receiver.cli.delivery.following import FilteredFollowing
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note, print_json, say
from receiver.cli.tables import print_list
from receiver.cli.terminal import printable
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.filters import Filters
from receiver.deliveries.telling import part_text

TAIL_SECONDS: Final = 0.5
TITLES: Final = ("id", "UTC", "answer", "partner", "run", "stage", "fate", "reason", "part")
EMPTY_STORE: Final = "none found: the store is empty; look whether DATABASE_URL is the receiver's"
SOMETIMES: Final = frozenset({"reason", "part"})
"""The columns that a list has only if a delivery fills them."""


def print_latest(filters: Filters, *, limit: int, as_json: bool) -> None:
    """Print the latest deliveries that the filters choose, in the order of receipt."""
    archive = need_archive()
    known = archive.latest(filters, limit=limit + 1)
    found = known[-limit:]
    if as_json:
        print_json([summary(one) for one in found])
    elif not found:
        note("no delivery matches" if archive.latest(Filters(), limit=1) else EMPTY_STORE)
    else:
        _print_table(found)
    if len(known) > limit:
        note(f"the latest {limit}: --limit shows more")


def _print_table(found: Sequence[Delivery]) -> None:
    """Print a line for each delivery, without the columns that none of them fills."""
    columns = [*zip(TITLES, zip(*((*cells(one), part_text(one)) for one in found), strict=True), strict=True)]
    kept = {title: cell for title, cell in columns if title not in SOMETIMES or any(cell)}
    below = [title for title in ("reason", "part", "run", "partner") if title in kept]
    print_list(tuple(kept), zip(*kept.values(), strict=True), below=below)


def print_as_they_come(filters: Filters, *, as_json: bool) -> None:
    """Print deliveries as they are recorded, without end; raises `CommandError` for a filter by an end time."""
    refuse_end(filters)
    matching = FilteredFollowing(need_archive(), filters)
    while True:
        found, may_be_more = matching.more()
        for one in found:
            if as_json:
                print_json(summary(one), indent=None)
            else:
                say(printable(line_of(one)))
        sys.stdout.flush()
        if not may_be_more:
            time.sleep(TAIL_SECONDS)


def refuse_end(filters: Filters) -> None:
    """Raise `CommandError` for a filter by an end time: following has no end."""
    if filters.until != math.inf:
        raise CommandError("--until ends nothing here", "`stagehook delivery list --until TIME`", Exit.USAGE)


def line_of(one: Delivery) -> str:
    """Return the line of a delivery that came in."""
    return "  ".join((*cells(one), part_text(one))).rstrip()


def cells(one: Delivery) -> tuple[str, ...]:
    """Return the cells of a delivery's line in a list."""
    received = datetime.fromtimestamp(one.received_at, UTC)
    # The time is short, to leave room for the id and the run.
    shown = received.strftime("%H:%M:%S" if received.date() == datetime.now(UTC).date() else "%m-%d %H:%M")
    stage = f"{one.stage}/{one.attempt}" if one.stage else ""
    answer, why = f"{one.status} {one.verdict}", one.fate_reason or one.reason
    return one.id, shown, answer, one.partner, one.workflow_id, stage, one.fate.value, why


def summary(one: Delivery) -> dict[str, object]:
    """Return a delivery for programs, without headers and body."""
    left_out = {"headers", "body"}
    plain = {name: value for name, value in asdict(one).items() if name not in left_out}
    return {**plain, "fate": one.fate.value, "replayable": one.replayable}
