"""Reach: slows a partner's lane after ten calls in a row that did not reach the partner, until a call reaches it.

Every worker process keeps its own count, and looks at its lanes now and then. Temporal keeps the rate for all of them.
So a worker also ends what another worker, perhaps one that has ended since, has set: a slow lane, and a pause that is
over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.lanes import SLOW_RATE, Hold, hold_lane, look_at_lane, release_lane

logger = logging.getLogger("stagehook.lanes")

MOST_MISSES: Final = 10
"""Calls in a row that did not reach the partner, after which its lane becomes slow."""

LOOK_SECONDS: Final = 20.0
"""Between two looks at a lane."""

RATES_REFUSED: Final = {RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED}
"""Answers of a Temporal that does not let this worker set rates."""

REFUSED_SECONDS: Final = 300.0
"""Between two looks after such an answer. The worker's key may have lost its role for a short time only."""


class Reach:
    """Watches one partner's lane: `missed` and `reached` are called for each try of a call."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._lane = task_queue
        self._misses = 0
        self._reached_at = 0.0
        self._is_held = False
        self._is_slow = False
        self._fault = ""
        self._due = asyncio.Event()

    def missed(self) -> None:
        """The partner was not reached."""
        self._misses += 1
        if self._misses >= MOST_MISSES and not self._is_slow:
            self._due.set()

    def reached(self) -> None:
        """The partner took a connection, whatever it answered."""
        self._misses, self._reached_at = 0, time.time()
        if self._is_slow:
            self._due.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look at the lane until the context ends."""
        looking = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
                self._fault = ""
            except RPCError as error:
                if error.status in RATES_REFUSED:
                    self._tell(logging.INFO, "lane-not-held", error)
                    await asyncio.sleep(REFUSED_SECONDS)
                    continue
                self._tell(logging.WARNING, "lane-unknown", error)
            except Exception:
                logger.exception("lane-unknown", extra={"lane": self._lane})
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._due.wait()
            except TimeoutError:
                continue
            self._due.clear()

    def _tell(self, level: int, fault: str, error: RPCError) -> None:
        """Log a fault, unless it is the same as at the last look."""
        if fault != self._fault:
            logger.log(level, fault, extra={"lane": self._lane, "why": error.message})
        self._fault = fault

    async def look(self) -> None:
        """Compare the lane with what is known, and hold or release it; raises `RPCError`."""
        hold = (await look_at_lane(self._client, self._lane)).hold
        was_held, self._is_held = self._is_held, hold is not None
        self._is_slow = hold is not None and hold.by == "worker"
        if hold is None:
            if was_held:
                # Another worker has reached the partner, or an operator has resumed it: the misses are of before that.
                self._misses = 0
            elif self._misses >= MOST_MISSES:
                await self._slow_down()
        elif hold.is_over(time.time()):
            await self._release("its pause is over")
        elif self._is_slow and self._reached_at > hold.since:
            await self._release("the partner was reached")

    async def _slow_down(self) -> None:
        # An operator who pauses the lane in this moment is overruled: Temporal sets a rate whatever it was before.
        why = f"{self._misses} calls in a row did not reach the partner"
        await hold_lane(self._client, self._lane, Hold("worker", why, rate=SLOW_RATE))
        self._is_held = self._is_slow = True
        logger.warning("lane-slow", extra={"lane": self._lane, "why": why, "calls_per_second": f"{SLOW_RATE:.3f}"})

    async def _release(self, why: str) -> None:
        await release_lane(self._client, self._lane, actor="worker", reason=why)
        self._is_held = self._is_slow = False
        self._misses = 0
        logger.info("lane-free", extra={"lane": self._lane, "why": why})
