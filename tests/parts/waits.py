"""Waiting for a condition, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support import RUN_TIMEOUT


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(RUN_TIMEOUT):
        while not holds():
            await asyncio.sleep(0.02)
