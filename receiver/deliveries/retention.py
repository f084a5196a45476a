"""Retention: deletes old deliveries, a few at a time, while the receiver runs."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Final

from activities.store.database import StoreAway
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

    Refused requests are deleted after at most `REFUSED_DAYS`.
    """
    # Every process runs this loop. The random pause spreads them out.
    pause = EVERY_SECONDS * random.random()  # noqa: S311
    while True:
        await asyncio.sleep(pause)
        try:
            now = time.time()
            deleted = await _prune(inbox, now - days * DAY)
            deleted += await _prune(inbox, now - min(days, REFUSED_DAYS) * DAY, refused=True)
        except StoreAway:
            pause = AFTER_FAILURE_SECONDS
        else:
            logger.info("pruned", extra={"deliveries": deleted})
            pause = EVERY_SECONDS


async def _prune(inbox: Inbox, before: float, *, refused: bool = False) -> int:
    deleted = 0
    while some := await inbox.prune(before, refused=refused):
        deleted += some
        await asyncio.sleep(BREATH)  # let callbacks go first
    return deleted
