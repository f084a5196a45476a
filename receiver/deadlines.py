"""Deadlines for what a client does: a deadline that passed while this process stood still is not the client's fault.

A process may be stopped (SIGSTOP, a paused machine, a long computation) for longer than a client has for its request.
What the client has sent meanwhile lies in the socket, and is read only after that: a timer alone would come first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

LATE_SECONDS: Final = 0.2
"""A timer that fires later than this after its time shows that the process stood still."""

GRACE_SECONDS: Final = 1.0
"""What a client gets after that: time to read what it has sent, and for it to send what had no room in the socket."""


class Deadline:
    """Calls `expire` once, so many seconds after it was made, unless it is cancelled.

    If the timer fires late, it waits `GRACE_SECONDS` longer; once only, for a busy machine is late every time.
    """

    def __init__(self, seconds: float, expire: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expire = expire
        self._due = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._due, self._judge)

    def cancel(self) -> None:
        """Never call `expire`."""
        self._timer.cancel()

    def _judge(self) -> None:
        if self._loop.time() - self._due > LATE_SECONDS:
            self._timer = self._loop.call_later(GRACE_SECONDS, self._expire)
        else:
            self._expire()


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """End the block after so many seconds: `asyncio.timeout` with the patience of `Deadline`; raises `TimeoutError`."""
    async with asyncio.timeout(None) as timeout:
        timer = Deadline(seconds, lambda: timeout.reschedule(0.0))
        try:
            yield
        finally:
            timer.cancel()
