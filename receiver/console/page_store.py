"""PageStore: the store as pages use it, on threads and connections that the receiver does not use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import sqlalchemy as sa

from activities.store.calls import Calls
from activities.store.database import Database
from activities.store.errors import StoreSlow
from activities.store.read_only import READERS_AT_ONCE, ReadOnlyDatabase
from receiver.deliveries.archive import Archive

T = TypeVar("T")

QUERY_LIMIT: Final = 2.0
"""Seconds of a page's query."""

CHANGE_LIMIT: Final = 5.0
"""Seconds of a change that an operator makes."""


class PageStore:
    """Asks the store, and changes it where an operator says so. Both raise `StoreAway`, and its subclass `StoreSlow`.

    database: the store of the receiver; this one makes connections of its own. limit: seconds of a query, and of
    waiting for its turn. refer: records the partner's id of a call, as `Calls.refer` does.
    """

    def __init__(self, database: Database, *, limit: float = QUERY_LIMIT) -> None:
        self._limit = limit
        self._reader = ReadOnlyDatabase(database.url, seconds=limit)
        self._read = Archive(self._reader)
        written = Database(database.url, query_seconds=CHANGE_LIMIT)
        self._written = Archive(written)
        self.refer = Calls(written).refer
        # Threads of its own: the event loop's own few are those that keep callbacks.
        self._threads = ThreadPoolExecutor(READERS_AT_ONCE, thread_name_prefix="console")

    async def ask(self, question: Callable[[Archive], T]) -> T:
        """Answer a question in a thread; nothing can be written through the archive that it gets."""
        return await self._do(question, self._read)

    async def count(self, question: Callable[[sa.Connection], T]) -> T:
        """Answer a question on a connection, in a thread; nothing can be written through it."""

        def ask(archive: Archive) -> T:
            with self._reader.begin() as connection:
                return question(connection)

        return await self._do(ask, self._read)

    async def change(self, change: Callable[[Archive], T]) -> T:
        """Do what an operator has confirmed, in a thread."""
        return await self._do(change, self._written)

    async def _do(self, work: Callable[[Archive], T], archive: Archive) -> T:
        begun, loop = asyncio.Event(), asyncio.get_running_loop()

        def do() -> T:
            loop.call_soon_threadsafe(begun.set)
            return work(archive)

        done = loop.run_in_executor(self._threads, do)
        try:
            await asyncio.wait_for(begun.wait(), self._limit)
        except TimeoutError:
            done.cancel()
            raise StoreSlow(f"other pages have asked the store for {self._limit:g} s") from None
        return await done
