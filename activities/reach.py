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

from activities.lanes import SLOW_RATE, WORKER, Hold, Limit, hold_lane, look_at_limit, release_lane

logger = logging.getLogger("stagehook.lanes")

MOST_MISSES: Final = 10
"""Calls in a row that did not reach the partner, after which its lane becomes slow."""

LOOK_SECONDS: Final = 20.0
"""Between two looks at a lane."""

RATES_REFUSED: Final = {RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED}
"""Answers of a Temporal that does not let this worker set rates."""

REACHED: Final = "the partner was reached"
"""Why a worker ends a slow lane; other workers recognize it."""

REFUSED_SECONDS: Final = 300.0
"""Between two looks after such an answer. The worker's key may have lost its role for a short time only."""


class Reach:
    """Watches one partner's lane: for each try of a call, `began` is called, and then `missed` or `reached`.

    A try counts only until the lane's rate changes. Example: a call is sent, the partner goes away, the lane becomes
    slow, and the call's time is over. It has reached the partner, but does not end the slow lane.

    If another worker ends a slow lane, this worker slows it only after it has reached the partner itself. Otherwise a
    worker whose own way to the partner is broken would slow the lane for all, again and again.

    calls_per_second: the partner's limit, 0 for none.
    """

    def __init__(self, client: Client, task_queue: str, calls_per_second: float = 0.0) -> None:
        self._client = client
        self._lane = task_queue
        self._slow_rate = min(SLOW_RATE, calls_per_second or SLOW_RATE)
        self._misses = 0
        self._is_reached = False
        self._may_slow = True
        self._limit = Limit(0.0, None)
        self._outdated: Limit | None = None
        self._fault = ""
        self._due = asyncio.Event()

    def began(self) -> float:
        """A try begins. Returns what identifies the lane's rate, for `missed` or `reached`."""
        return self._limit.changed

    def missed(self, began: float) -> None:
        """The partner was not reached."""
        if began != self._limit.changed:
            return
        self._misses += 1
        if self._is_missed():
            self._due.set()

    def reached(self, began: float) -> None:
        """The partner took a connection, whatever it answered."""
        if began != self._limit.changed:
            return
        self._misses, self._is_reached, self._may_slow = 0, True, True
        if self._is_slow():
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
        limit = await look_at_limit(self._client, self._lane)
        outdated, self._outdated = self._outdated, None
        if limit == outdated:  # Temporal shows a new rate a moment later
            return
        if limit != self._limit:
            if self._is_slow() and limit.hold is None:
                self._may_slow = limit.reason != REACHED
            self._follow(limit)
        if self._is_missed():
            await self._slow_down()
        elif limit.hold is not None and limit.hold.is_over(time.time()):
            await self._release("its pause is over")
        elif self._is_slow() and self._is_reached:
            await self._release(REACHED)

    def _is_slow(self) -> bool:
        return self._limit.hold is not None and self._limit.hold.by == "worker"

    def _is_missed(self) -> bool:
        return self._limit.hold is None and self._may_slow and self._misses >= MOST_MISSES

    def _follow(self, limit: Limit) -> None:
        self._limit, self._misses, self._is_reached = limit, 0, False

    async def _slow_down(self) -> None:
        # `hold_lane` sets an operator's pause again if it is set in this moment, and overwritten here.
        why = f"{self._misses} calls in a row did not reach the partner"
        self._set(await hold_lane(self._client, self._lane, Hold(WORKER, why, rate=self._slow_rate)))
        facts = {"lane": self._lane, "why": why, "calls_per_second": f"{self._slow_rate:.3g}"}
        logger.warning("lane-slow", extra=facts)

    async def _release(self, why: str) -> None:
        self._set(await release_lane(self._client, self._lane, actor=WORKER, reason=why))
        logger.info("lane-free", extra={"lane": self._lane, "why": why})

    def _set(self, limit: Limit) -> None:
        self._outdated = self._limit
        self._follow(limit)
