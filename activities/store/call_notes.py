"""Call notes: writes calls to the table of calls behind the call, best effort.

No call waits for it. Only statistics and the pipeline's name on deliveries depend on it, so calls are dropped while the
store is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from activities.callback_urls import Claims
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.errors import StoreAway

logger = logging.getLogger("stagehook.calls")

MOST_CALLS_WAITING: Final = 1_000
"""Calls that may wait to be written."""

WRITTEN_TOGETHER: Final = 100
WRITE_REST_WITHIN: Final = 3.0
"""Seconds to write what waits when the worker stops."""


class CallNotes:
    """Writes calls while its `running` block runs."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._waiting: asyncio.Queue[NotedCall] = asyncio.Queue(MOST_CALLS_WAITING)
        self._dropped = 0

    def put(self, claims: Claims, origin: CallOrigin) -> None:
        """Note a call that is sent now, without waiting."""
        try:
            self._waiting.put_nowait(NotedCall(claims, origin, time.time()))
        except asyncio.QueueFull:
            self._drop(1, "too many calls wait to be recorded")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write while the block runs. At its end, write what waits."""
        writing = asyncio.create_task(self._write_for_ever())
        try:
            yield
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._waiting.join(), WRITE_REST_WITHIN)
            writing.cancel()

    async def _write_for_ever(self) -> None:
        while True:
            calls = [await self._waiting.get()]
            while len(calls) < WRITTEN_TOGETHER and not self._waiting.empty():
                calls.append(self._waiting.get_nowait())
            try:
                await self._write(calls)
            finally:
                for _ in calls:
                    self._waiting.task_done()

    async def _write(self, calls: list[NotedCall]) -> None:
        try:
            await self._calls.note(calls)
        except StoreAway as away:
            self._drop(len(calls), str(away))
        except Exception as error:
            logger.exception("calls-failed")  # the task must live on: nothing else writes these calls
            self._drop(len(calls), type(error).__name__)
        else:
            if self._dropped:
                logger.warning("calls-recorded-again", extra={"dropped": self._dropped})
            self._dropped = 0

    def _drop(self, count: int, why: str) -> None:
        """Count calls that are not recorded. Log one line when it begins, and one with the count when it ends."""
        if not self._dropped:
            logger.warning("calls-not-recorded", extra={"why": why})
        self._dropped += count
