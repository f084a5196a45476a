"""Places: how many signals are on their way to Temporal at once.

Temporal settles runs faster if it is not sent more at once than it takes at a time: each signal is also a task for a
worker and its answers. A signal that takes long gives up its place, so that runs that hang do not hold up the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

MOST_AT_ONCE: Final = 8
"""Signals on their way at once, not counting the slow ones. With 32 a burst is settled more slowly."""

SLOW_SECONDS: Final = 0.5
"""A signal that takes longer no longer counts."""


class Places:
    """The places for signals on their way: most at once. slow: seconds after which a signal no longer counts."""

    def __init__(self, most: int, slow: float) -> None:
        self._free = asyncio.Semaphore(most)
        self._slow = slow

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, first come, first served, and hold it while the block runs, or until it is slow."""
        await self._free.acquire()
        give_up = _once(self._free.release)
        timer = asyncio.get_running_loop().call_later(self._slow, give_up)
        try:
            yield
        finally:
            timer.cancel()
            give_up()


def _once(call: Callable[[], None]) -> Callable[[], None]:
    left = [call]

    def call_once() -> None:
        if left:
            left.pop()()

    return call_once
