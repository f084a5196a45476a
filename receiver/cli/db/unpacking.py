"""Unpack packed deliveries for an earlier release."""

from __future__ import annotations

import os
from typing import Final

from activities.environment import Environment
from activities.store.packing import unpack_rows
from receiver.cli.db.store import need_store
from receiver.cli.errors import CommandError
from receiver.cli.output import counted, note, say

BAD_ADVICE: Final = "unpack it with the release that packed it; restore a damaged delivery from a backup"


def unpack_store() -> None:
    """Unpack all deliveries in the store of DATABASE_URL, and print how many.

    Raises `CommandError` if some cannot be unpacked, after all others are, and what `need_store` raises.
    """
    store, count, failed = need_store(), 0, 0
    if Environment(os.environ).switch("PACK_DELIVERIES"):
        note("PACK_DELIVERIES is 1 here: remove it from every receiver, or receivers go on packing")
    for unpacked, bad in unpack_rows(store.begin):
        count, failed = count + unpacked, failed + len(bad)
        for sentence in bad:
            note(sentence)
    say(f"{counted(count, 'delivery', 'deliveries')} unpacked")
    if failed:
        raise CommandError(f"{counted(failed, 'delivery', 'deliveries')} cannot be unpacked", BAD_ADVICE)
