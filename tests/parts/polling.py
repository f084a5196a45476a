"""Waiting for what other processes do, which can only be polled, with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

WITHIN: Final = 90.0
"""Seconds for anything that is waited for: the machine may be busy."""


async def until(
    holds: Callable[[], Awaitable[object] | object],
    what: str,
    missing: Callable[[], object] = lambda: "",
    *,
    within: float = WITHIN,
    pause: float = 0.05,
) -> Any:
    """What the function returns, or awaits, as soon as that is true. missing: what is told of it if it never is."""
    deadline = time.monotonic() + within
    while True:
        found = holds()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within:g} s: {what} {missing()}"
        await asyncio.sleep(pause)
