"""Origins: which pipeline each run was started with, asked of Temporal once, few at a time, and remembered."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Final

from activities.callback_urls import Claims
from receiver.sending.signals import Origin, Signals, TemporalAway
from receiver.sending.watch import Watch

logger = logging.getLogger("stagehook.origins")

MOST_ORIGINS: Final = 10_000
MOST_WAITING: Final = 200
"""Runs that are waited for; of more the pipeline stays unknown, until their next delivery."""

MOST_AT_ONCE: Final = 4
"""Histories that are read at once: they are for people to look at, and signals come first."""


class Origins:
    """What is known of the runs that deliveries were for, by chain. Nobody is asked while Temporal is away."""

    def __init__(self, signals: Signals, watch: Watch) -> None:
        self._signals = signals
        self._watch = watch
        self._known: OrderedDict[str, Origin] = OrderedDict()
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._stopped = False

    def known(self, claims: Claims) -> Origin:
        """What has been found out; an empty origin if nothing has."""
        return self._known.get(claims.chain_id, Origin())

    async def ask(self, claims: Claims) -> Origin:
        """The same, asked for if it is not known; an empty one if that is not to be had now."""
        chain = claims.chain_id
        if chain in self._known or self._watch.is_away or self._stopped:
            return self.known(claims)
        if chain not in self._asked:
            if len(self._asked) >= MOST_WAITING:
                return Origin()
            task = self._asked[chain] = asyncio.create_task(self._read(claims))
            task.add_done_callback(lambda _: self._asked.pop(chain))
        await asyncio.wait([self._asked[chain]])
        return self.known(claims)

    def stop(self) -> None:
        """Ask no more: who waits, or comes later, goes on with what is known."""
        self._stopped = True
        for task in self._asked.values():
            task.cancel()

    async def _read(self, claims: Claims) -> None:
        try:
            async with self._turns:
                if not self._watch.is_away and (origin := await self._signals.origin(claims)).pipeline:
                    self._known[claims.chain_id] = origin
        except TemporalAway:
            return
        except Exception:
            logger.exception("origin-failed", extra={"workflow_id": claims.workflow_id})
        if len(self._known) > MOST_ORIGINS:
            self._known.popitem(last=False)
