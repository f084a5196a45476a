"""Keeps the order in which a workflow's waits end the same on every Python, so that histories replay on all of them.

Temporal's SDK waits by `asyncio.wait_for`. Python 3.12 rewrote it: a wait with a timeout ends a turn of the event loop
earlier. A run with stages beside each other then gives its commands in another order, and a worker on Python 3.12 could
not go on with the runs of a worker on 3.11.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from temporalio.worker import _workflow_instance

FIRST_REWRITTEN: Final = (3, 12)


def keep_wait_order() -> None:
    """Have the SDK's workflows wait as on Python 3.11. `tests/workflows/test_recorded.py` fails without it."""
    if sys.version_info >= FIRST_REWRITTEN:
        # Only that module's own name for asyncio: nothing else in the process waits otherwise than Python does.
        vars(_workflow_instance)["asyncio"] = _Asyncio()


class _Asyncio:
    """asyncio with the `wait_for` of Python 3.11."""

    def __getattr__(self, name: str) -> Any:
        return wait_for if name == "wait_for" else getattr(asyncio, name)


async def wait_for(future: asyncio.Future[Any], timeout: float | None) -> Any:  # noqa: ASYNC109 - the SDK's call
    """Wait for the future as `asyncio.wait_for` of Python 3.11 does: through a second future, which costs a turn."""
    if timeout is None:
        return await future
    if timeout <= 0:
        return future.result() if future.done() else await _time_out(future)
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def release(*_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = loop.call_later(timeout, release)
    future.add_done_callback(release)
    try:
        try:
            await waiter
        except asyncio.CancelledError:
            if future.done():
                return future.result()
            future.remove_done_callback(release)
            await _cancel(future)
            raise
        if future.done():
            return future.result()
        future.remove_done_callback(release)
        return await _time_out(future)
    finally:
        timer.cancel()


async def _time_out(future: asyncio.Future[Any]) -> Any:
    """Cancel the future. Raises `TimeoutError`, unless the future has a result after all."""
    await _cancel(future)
    try:
        return future.result()
    except asyncio.CancelledError as error:
        raise TimeoutError from error


async def _cancel(future: asyncio.Future[Any]) -> None:
    """Cancel the future, and wait until it has ended."""
    ended = asyncio.get_running_loop().create_future()

    def release(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    future.add_done_callback(release)
    try:
        future.cancel()
        await ended
    finally:
        future.remove_done_callback(release)
