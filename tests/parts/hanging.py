"""Work that keeps the store's writer busy until the test lets it go on."""

from __future__ import annotations

import asyncio
import threading

from tests.support import SOON


class Hanging:
    """Work for the writer: it sets `begun` when it has begun, and lasts until `release`."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._released = threading.Event()

    def __call__(self, cursor: object) -> None:
        self._loop.call_soon_threadsafe(self.begun.set)
        self._released.wait(3 * SOON)

    def release(self) -> None:
        self._released.set()
