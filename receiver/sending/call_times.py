"""Call times: how long partners take from a call to the callback that can settle its stage.

The table of calls says when a call was sent. Best effort, in the background: a call may be missing in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from activities.store.errors import StoreAway
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Queued

MOST_LOOKED_UP: Final = 200
"""Look-ups that may be under way. The times of further callbacks are not counted."""


OnCallTime = Callable[[str, float], None]
"""Called with the partner, and the seconds from a call to its callback."""


class CallTimes:
    """Looks up the calls of callbacks that Temporal has taken. on_time: counts the times; None counts none."""

    def __init__(self, inbox: Inbox, on_time: OnCallTime | None = None) -> None:
        self._inbox = inbox
        self._on_time = on_time
        self._looking: set[asyncio.Task[None]] = set()

    def add(self, queued: Queued) -> None:
        """Count the time of a callback, in the background."""
        if self._on_time and len(self._looking) < MOST_LOOKED_UP:
            task = asyncio.create_task(self._look(queued, queued.since or time.time(), self._on_time))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _look(self, queued: Queued, at: float, on_time: OnCallTime) -> None:
        try:
            found = await self._inbox.find_origin(queued.claims)
        except StoreAway:
            return
        if found:
            on_time(queued.claims.partner, max(0.0, at - found.called_at))
