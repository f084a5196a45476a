"""Retention: deletes old deliveries while the receiver runs, in short transactions with pauses between them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from activities.store.calls import KEPT_AFTER_EXPIRY
from activities.store.errors import StoreAway
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.statements import Pruned
from workflows.durations import DAY, HOUR, MINUTE

logger = logging.getLogger("stagehook.retention")

EVERY_SECONDS: Final = HOUR
AFTER_FAILURE_SECONDS: Final = MINUTE
BREATH: Final = 0.02
"""Seconds without deleting between two transactions, at least."""
PAUSES: Final = 2
"""How many times as long as the deleting the pause after it is."""
DELETING_SECONDS: Final = 0.02
"""How long the deleting in a transaction should take at most: callbacks wait for it."""
FEWEST: Final = 10
MOST: Final = 1000
"""Rows deleted in a transaction, whatever the last one took."""

REFUSED_DAYS: Final = 7
"""Days after which a refused request is deleted, if other deliveries are kept longer."""


@dataclass
class Pace:
    """How many rows are deleted in a transaction: more while that is quick, fewer once it is slow.

    Example: rows with bodies of a mebibyte are deleted 10 at a time, and rows of a kibibyte 1000 at a time.
    """

    rows: int = 50

    def learn(self, pruned: Pruned) -> None:
        """Adapt to what the last transaction took."""
        if pruned.seconds > DELETING_SECONDS:
            self.rows = max(FEWEST, self.rows // 2)
        elif pruned.seconds < DELETING_SECONDS / 2 and pruned.rows == self.rows:
            self.rows = min(MOST, 2 * self.rows)


async def prune_for_ever(inbox: Inbox, days: int) -> None:
    """Every hour, delete deliveries received more than `days` days ago; see `Pace`.

    Refused requests are deleted after at most `REFUSED_DAYS`, and calls `KEPT_AFTER_EXPIRY` seconds after their
    callback URLs have expired.
    """
    # Every process runs this loop. The random pause spreads them out.
    pause = EVERY_SECONDS * random.random()  # noqa: S311
    while True:
        await asyncio.sleep(pause)
        try:
            now = time.time()
            deleted = await _until_done(partial(inbox.prune, now - days * DAY))
            deleted += await _until_done(partial(inbox.prune, now - min(days, REFUSED_DAYS) * DAY, refused=True))
            await _until_done(partial(inbox.prune_calls, now - KEPT_AFTER_EXPIRY))
        except StoreAway:
            pause = AFTER_FAILURE_SECONDS
        else:
            logger.info("pruned", extra={"deliveries": deleted})
            pause = EVERY_SECONDS


async def _until_done(prune: Callable[[int], Awaitable[Pruned]]) -> int:
    """Prune until nothing is left to delete. Returns how many rows were deleted."""
    deleted, pace = 0, Pace()
    while (pruned := await prune(pace.rows)).rows:
        deleted += pruned.rows
        pace.learn(pruned)
        await asyncio.sleep(max(BREATH, PAUSES * pruned.seconds))  # let callbacks go first
    return deleted
