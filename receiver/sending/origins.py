"""Origins: which pipeline each run was started with. Asks Temporal once per run, a few at a time, and remembers it."""

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
"""Runs that may wait for their history. The pipeline of further runs stays unknown until their next delivery."""

MOST_AT_ONCE: Final = 4
"""Histories that are read at once. Few, because signals come first: the pipeline is only shown to people."""


class Origins:
    """The known origins of runs, by chain. Temporal is not asked while it is away."""

    def __init__(self, signals: Signals, watch: Watch) -> None:
        self._signals = signals
        self._watch = watch
        self._known: OrderedDict[str, Origin] = OrderedDict()
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._stopped = False

    def known(self, claims: Claims) -> Origin:
        """The origin, if it is known already; otherwise an empty one."""
        return self._known.get(claims.chain_id, Origin())

    async def ask(self, claims: Claims) -> Origin:
        """The origin, asked of Temporal if it is unknown; an empty origin if it cannot be found out now."""
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
        """Stop asking Temporal. Current and later callers of `ask` get what is known."""
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
