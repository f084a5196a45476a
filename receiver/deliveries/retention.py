"""Retention: deletes old deliveries, a few at a time, while the receiver runs."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from activities.store.calls import KEPT_AFTER_EXPIRY
from activities.store.errors import StoreAway
from receiver.deliveries.inbox import Inbox
from workflows.durations import DAY, HOUR, MINUTE

logger = logging.getLogger("stagehook.retention")

EVERY_SECONDS: Final = HOUR
AFTER_FAILURE_SECONDS: Final = MINUTE
BREATH: Final = 0.1
REFUSED_DAYS: Final = 7
"""Days after which a refused request is deleted, if other deliveries are kept longer."""


async def prune_for_ever(inbox: Inbox, days: int) -> None:
    """Every hour, delete deliveries received more than `days` days ago, a few at a time.

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


async def _until_done(prune: Callable[[], Awaitable[int]]) -> int:
    """Prune until nothing is left to delete. Returns how many rows were deleted."""
    deleted = 0
    while some := await prune():
        deleted += some
        await asyncio.sleep(BREATH)  # let callbacks go first
    return deleted
