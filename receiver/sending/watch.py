"""Watch: whether Temporal is there, asked seldom while it is not."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from receiver.sending.signals import Signals, TemporalAway

logger = logging.getLogger("stagehook.watch")

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 10.0
"""Seconds between two questions; during an outage they are all that Temporal is sent."""


class Watch:
    """What is known of Temporal's presence."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._asking = asyncio.Lock()
        self._pause = 0.0
        self._away_until = 0.0
        self._there_since = float("inf")

    @property
    def seconds_left(self) -> float:
        """For how long it need not be asked again; 0.0 or less if it may be."""
        return self._away_until - time.monotonic()

    @property
    def is_away(self) -> bool:
        """Whether it was away a moment ago, and need not be asked yet."""
        return self.seconds_left > 0

    @property
    def was_away(self) -> bool:
        """Whether it was away when it was asked last."""
        return self._pause > 0

    @property
    def there_for(self) -> float:
        """For how many seconds it has been there whenever it was asked; 0.0 or less if it is not known to be."""
        return time.monotonic() - self._there_since

    async def is_there(self) -> bool:
        """Ask, unless it was away a moment ago."""
        async with self._asking:
            if self.is_away:
                return False
            try:
                await self._signals.check()
            except Exception as error:
                # Whatever asking it raises: nobody is to be sent to it now.
                if not self.was_away:
                    why = str(error) if isinstance(error, TemporalAway) else f"{type(error).__name__}: {error}"
                    logger.warning("temporal-away", extra={"why": why})
                self._pause = min(LONGEST_PAUSE, 2 * self._pause or FIRST_PAUSE)
                self._away_until = time.monotonic() + self._pause
                self._there_since = float("inf")
                return False
            if self.was_away:
                logger.warning("temporal-back")
            self._pause = 0.0
            self._there_since = min(self._there_since, time.monotonic())
            return True
