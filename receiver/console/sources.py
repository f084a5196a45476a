"""Sources: what the console's pages read from, and act on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from temporalio.client import Client

from activities.partners.partner import Partner
from activities.runs import Runs
from activities.store.errors import NoStore
from activities.store.store import Store
from receiver.console.page_store import PageStore


@dataclass
class Sources:
    """Temporal, the store and the settings.

    connect: connects to Temporal; raises `TemporalUnreachable`. store: where deliveries are kept, or None.
    partners: the enabled partners by name. callback_keys: for their fingerprints.
    """

    connect: Callable[[], Awaitable[Client]]
    store: Store | None = None
    partners: Mapping[str, Partner] = field(default_factory=dict)
    callback_keys: Sequence[str] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        self._runs: Runs | None = None
        self._connecting = asyncio.Lock()
        self._page_store = PageStore(self.store.database) if self.store else None

    def need_deliveries(self) -> PageStore:
        """The kept deliveries; raises `NoStore`."""
        if self._page_store is None:
            raise NoStore
        return self._page_store

    async def runs(self) -> Runs:
        """The runs of Temporal, by a connection of the console's own; raises `TemporalUnreachable`."""
        async with self._connecting:
            if self._runs is None:
                self._runs = Runs(await self.connect())
            return self._runs
