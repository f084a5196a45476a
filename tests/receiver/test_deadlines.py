"""Deadlines: over in time, but not because this process stood still."""

from __future__ import annotations

import asyncio
import time

import pytest

from receiver.deadlines import LATE_SECONDS, Deadline, deadline
from tests.support import SOON


def stand_still() -> None:
    """As if the process had been stopped: no timer fires, nothing is read."""
    time.sleep(0.05 + 2 * LATE_SECONDS)


async def test_a_deadline_ends_the_block() -> None:
    async with asyncio.timeout(SOON):
        with pytest.raises(TimeoutError):
            async with deadline(0.05):
                await asyncio.Event().wait()


async def test_what_came_while_the_process_stood_still_is_in_time() -> None:
    came = asyncio.Event()
    async with deadline(0.05):
        stand_still()
        asyncio.get_running_loop().call_later(0.05, came.set)
        await came.wait()


async def test_a_process_that_stood_still_waits_no_second_time() -> None:
    expired = asyncio.Event()
    Deadline(0.05, expired.set)
    stand_still()
    await asyncio.sleep(0)
    assert not expired.is_set()
    async with asyncio.timeout(SOON):
        await expired.wait()


async def test_a_deadline_that_was_cancelled_never_expires() -> None:
    expired = asyncio.Event()
    one = Deadline(0.01, expired.set)
    stand_still()
    await asyncio.sleep(0)
    one.cancel()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(expired.wait(), 1.5)
