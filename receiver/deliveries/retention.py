"""Retention: deliveries are deleted when they are old enough, a few at a time, while the receiver runs."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Final

from receiver.deliveries.database import StoreAway
from receiver.deliveries.inbox import Inbox

logger = logging.getLogger("stagehook.retention")

EVERY_SECONDS: Final = 3600.0
DAY: Final = 86400.0


async def prune_for_ever(inbox: Inbox, days: int) -> None:
    """Delete what was received more than so many days ago, every hour."""
    while True:
        # Several processes do this; they need not do it at the same moment.
        await asyncio.sleep(EVERY_SECONDS * random.uniform(0.1, 1.0))  # noqa: S311
        try:
            deleted = 0
            while some := await inbox.prune(time.time() - days * DAY):
                deleted += some
            logger.info("pruned", extra={"deliveries": deleted})
        except StoreAway as away:
            logger.warning("store-away", extra={"why": str(away)})
