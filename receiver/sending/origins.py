"""Origins: which pipeline each run was started with. Asks once per run, a few at a time, and remembers it.

The table of calls says it, where the worker has recorded the call; otherwise the run's history does. The store shows it
with each delivery. It is found out in the background: no callback and no signal waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from activities.callback_urls import Claims
from activities.store.errors import StoreAway
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.inbox import Inbox
from receiver.deliveries.queue import Queued
from receiver.sending.signals import BUDGET_SECONDS, Origin, Signals, TemporalAway
from receiver.sending.watch import Watch

logger = logging.getLogger("stagehook.origins")

MOST_ORIGINS: Final = 10_000
MOST_RUNS_WAITING: Final = 200
"""Runs that may wait for their history. The pipeline of further runs stays unknown until their next delivery."""

MOST_HISTORIES_AT_ONCE: Final = 4
"""Histories that are read at once. Few, because signals come first: the pipeline is only shown to people."""


class Origins:
    """The known origins of runs, by chain. Temporal is not asked while it is away.

    inbox: where calls are looked up, and the origins of deliveries are recorded.
    """

    def __init__(self, signals: Signals, watch: Watch, inbox: Inbox) -> None:
        self._signals = signals
        self._watch = watch
        self._inbox = inbox
        self._known: OrderedDict[str, Origin] = OrderedDict()
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._notes: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(MOST_HISTORIES_AT_ONCE)
        self._stopped = False

    # --- the deliveries' origins

    def described(self, delivery: Delivery) -> Delivery:
        """The delivery with the pipeline it is for, if that is known already."""
        return _described(delivery, self.known(delivery.claims) if delivery.claims else Origin())

    def add(self, queued: Queued) -> None:
        """Find out and record, in the background, which pipeline a kept delivery is for, unless it is recorded."""
        if not queued.pipeline:
            self._in_background(self._add(queued))

    def note(self, delivery: Delivery) -> None:
        """Record, in the background, a delivery that is not sent, with the pipeline it is for."""
        self._in_background(self._note(delivery))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """At the end of the block, finish recording. Call `stop` before, or this waits for Temporal."""
        try:
            yield
        finally:
            if self._notes:
                await asyncio.wait(self._notes, timeout=BUDGET_SECONDS)

    def stop(self) -> None:
        """Stop asking Temporal. Current and later callers of `ask` get what is known."""
        self._stopped = True
        for task in self._asked.values():
            task.cancel()

    async def _add(self, queued: Queued) -> None:
        origin = await self.ask(queued.claims)
        if origin.pipeline:
            self._inbox.note_origin(queued.id, origin.pipeline, origin.definition)

    async def _note(self, delivery: Delivery) -> None:
        origin = await self.ask(delivery.claims) if delivery.claims else Origin()
        self._inbox.note(_described(delivery, origin))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    # --- the runs' origins

    def known(self, claims: Claims) -> Origin:
        """The origin, if it is known already; otherwise an empty one."""
        return self._known.get(claims.chain_id, Origin())

    async def ask(self, claims: Claims) -> Origin:
        """The origin, asked for if it is unknown; an empty origin if it cannot be found out now."""
        chain = claims.chain_id
        if chain in self._known or self._stopped:
            return self.known(claims)
        if chain not in self._asked:
            if len(self._asked) >= MOST_RUNS_WAITING:
                return Origin()
            task = self._asked[chain] = asyncio.create_task(self._read(claims))
            task.add_done_callback(lambda _: self._asked.pop(chain))
        await asyncio.wait([self._asked[chain]])
        return self.known(claims)

    async def _read(self, claims: Claims) -> None:
        try:
            async with self._turns:
                origin = await self._recorded(claims)
                if not origin.pipeline and not self._watch.is_away:
                    origin = await self._signals.origin(claims)
                if origin.pipeline:
                    self._known[claims.chain_id] = origin
        except TemporalAway:
            return
        except Exception:
            logger.exception("origin-failed", extra={"workflow_id": claims.workflow_id})
        if len(self._known) > MOST_ORIGINS:
            self._known.popitem(last=False)

    async def _recorded(self, claims: Claims) -> Origin:
        """The origin by the table of calls; an empty origin if the call is not in it."""
        try:
            found = await self._inbox.find_origin(claims)
        except StoreAway:
            found = None
        return Origin(found.pipeline, found.definition) if found else Origin()


def _described(delivery: Delivery, origin: Origin) -> Delivery:
    return replace(delivery, pipeline=origin.pipeline, definition=origin.definition)
