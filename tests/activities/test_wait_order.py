"""Workflows' waits end in one order on every Python. `tests/workflows/test_recorded.py` replays what 3.11 recorded."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.worker import _workflow_instance

from activities.wait_order import wait_for
from activities.worker import workflow_runner

Wait = Callable[[asyncio.Future[Any], float | None], Awaitable[Any]]
WAITS: list[Wait] = [wait_for] if sys.version_info >= (3, 12) else [wait_for, asyncio.wait_for]
"""On Python 3.11, asyncio's own must do the same."""


async def turns_until_over(wait: Wait) -> int:
    """The turns of the event loop from the future's result to the end of the wait."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting, turns = asyncio.ensure_future(wait(future, 60.0)), 0
    await asyncio.sleep(0)
    future.set_result(1)
    while not waiting.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


@pytest.mark.parametrize("wait", WAITS)
async def test_a_wait_with_a_timeout_ends_after_two_turns(wait: Wait) -> None:
    assert await turns_until_over(wait) == 2


@pytest.mark.parametrize("wait", WAITS)
async def test_a_wait_ends_by_its_result_its_timeout_or_a_cancellation(wait: Wait) -> None:
    loop = asyncio.get_running_loop()
    for timeout in (None, 60.0):
        done: asyncio.Future[int] = loop.create_future()
        loop.call_soon(done.set_result, 1)
        assert await wait(done, timeout) == 1
    for timeout in (0.001, 0.0):
        late: asyncio.Future[int] = loop.create_future()
        with pytest.raises(TimeoutError):
            await wait(late, timeout)
        assert late.cancelled()
    never: asyncio.Future[int] = loop.create_future()
    waiting = asyncio.ensure_future(wait(never, 60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert never.cancelled()


def test_workers_and_replays_wait_so() -> None:
    workflow_runner()
    waits_by = vars(_workflow_instance)["asyncio"].wait_for
    assert waits_by is (wait_for if sys.version_info >= (3, 12) else asyncio.wait_for)
    assert vars(_workflow_instance)["asyncio"].sleep is asyncio.sleep
