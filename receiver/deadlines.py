"""Deadlines for clients. A deadline that passed while this process was stopped is not the client's fault.

A process may be stopped (SIGSTOP, a paused machine, a long computation) for longer than a client's deadline. What the
client sent in that time is in the socket, unread. A plain timer would expire before it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final

LATE_SECONDS: Final = 0.2
"""A timer that fires later than this shows that the process was stopped."""

GRACE_SECONDS: Final = 1.0
"""Extra time after a stop: to read what the client has sent, and for it to send what the socket had no room for."""


class Deadline:
    """Calls `expire` once, `seconds` after it was made, unless it is cancelled.

    If the timer fires late, it waits `GRACE_SECONDS` longer, but only once: on a busy machine it is late every time.
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


def deadline(seconds: float) -> AbstractAsyncContextManager[None]:
    """Like `asyncio.timeout(seconds)`, with the extra time of `Deadline`. Raises `TimeoutError`."""
    return _Bounded(seconds)


class _Bounded(AbstractAsyncContextManager[None]):
    # A class: every callback enters it, and a generator would cost three times as much.

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._timer = Deadline(self._seconds, self._expire)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _expire(self) -> None:
        self._timeout.reschedule(0.0)
