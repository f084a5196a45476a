"""Watch: whether Temporal is reachable. While it is away it is asked rarely."""

from __future__ import annotations

import asyncio
import time

from receiver.sending.outages import Outages
from receiver.sending.signals import Signals
from receiver.timing import DEFAULT_TIMING, Timing


class Watch:
    """What is known about Temporal being reachable. outages: logs each outage, and its end."""

    def __init__(self, signals: Signals, timing: Timing = DEFAULT_TIMING, outages: Outages | None = None) -> None:
        self._signals = signals
        self._outages = outages or Outages()
        self._timing = timing
        self._asking = asyncio.Lock()
        self._pause = 0.0
        self._away_until = 0.0
        self._there_since = float("inf")

    @property
    def seconds_left(self) -> float:
        """Seconds until Temporal may be asked again; 0.0 or less if it may be asked now."""
        return self._away_until - time.monotonic()

    @property
    def is_away(self) -> bool:
        """Whether Temporal was away a moment ago, and is not to be asked yet."""
        return self.seconds_left > 0

    @property
    def was_away(self) -> bool:
        """Whether Temporal was away at the last check."""
        return self._pause > 0

    @property
    def there_for(self) -> float:
        """Seconds for which every check has found Temporal reachable; 0.0 or less if it is not known to be."""
        return time.monotonic() - self._there_since

    async def is_there(self) -> bool:
        """Check whether Temporal is reachable; False without a check if it was away a moment ago."""
        async with self._asking:
            if self.is_away:
                return False
            try:
                await self._signals.check()
            except Exception as error:
                # Whatever the check raises, no signal is to be sent now.
                self._outages.begin(error)
                pause = 2 * self._pause or self._timing.first_check_pause
                self._pause = min(self._timing.longest_check_pause, pause)
                self._away_until = time.monotonic() + self._pause
                self._there_since = float("inf")
                return False
            self._outages.end()
            self._pause = 0.0
            self._there_since = min(self._there_since, time.monotonic())
            return True
