"""WorkerHealth: whether the worker polls Temporal, for its probe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError

PING_EVERY: Final = 10.0
PING_WITHIN: Final = 5.0
AWAY_AFTER: Final = 60.0
"""Seconds without an answer of Temporal after which the worker counts as unhealthy. A short outage needs no restart."""


class WorkerHealth:
    """What the worker knows of itself.

    ping_every: seconds between two requests to Temporal, while it polls. away_after: see `AWAY_AFTER`.
    """

    def __init__(self, *, ping_every: float = PING_EVERY, away_after: float = AWAY_AFTER) -> None:
        self._ping_every = ping_every
        self._away_after = away_after
        self._stopped = "it has not reached Temporal yet"
        self._answered_at = float("-inf")

    @property
    def finding(self) -> str:
        """Why the worker is not healthy, or ""."""
        if self._stopped:
            return self._stopped
        silence = time.monotonic() - self._answered_at
        return f"Temporal has not answered for {silence:.0f} s" if silence > self._away_after else ""

    def stopped(self, why: str) -> None:
        """Record that the worker does not poll."""
        self._stopped = why

    @asynccontextmanager
    async def polling(self, client: Client) -> AsyncIterator[None]:
        """Record that the worker polls while the block runs, and ask Temporal now and then whether it is there."""
        self._stopped, self._answered_at = "", time.monotonic()
        pinging = asyncio.create_task(self._ping_for_ever(client))
        try:
            yield
        finally:
            pinging.cancel()
            self._stopped = "the worker has stopped"

    async def _ping_for_ever(self, client: Client) -> None:
        while True:
            await asyncio.sleep(self._ping_every)
            try:
                async with asyncio.timeout(PING_WITHIN):
                    # Every client may ask this; the SDK does when it connects.
                    request, limit = GetSystemInfoRequest(), timedelta(seconds=PING_WITHIN)
                    await client.workflow_service.get_system_info(request, timeout=limit)
            except (RPCError, RuntimeError, TimeoutError):
                continue
            self._answered_at = time.monotonic()
