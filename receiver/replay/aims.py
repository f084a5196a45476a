"""Aims at runs that exist: which run and stage each delivery of a webhook replay is sent to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from activities.callback_urls import Claims
from activities.run_errors import NoSuchStage
from activities.runs import Runs
from receiver.deliveries.delivery import Delivery
from receiver.replay.sending import Replayed, claims_of

STAGE_OPENS_WITHIN: Final = 10.0
"""Seconds to wait for a run to reach the next delivery's stage."""


class CapturedClaims:
    """Aims at the captured run, by the captured claims."""

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims."""
        return claims_of(delivery)

    def is_begun(self, chain_id: str) -> bool:
        """False: nothing is begun."""
        return False

    async def late(self, replayed: Sequence[Replayed]) -> list[str]:
        """Return an empty list: nothing was begun."""
        return []

    async def aclose(self) -> None:
        """Do nothing: nothing was begun."""


class NamedRun(CapturedClaims):
    """Aims at a named run, by the claims of its open stage.

    stage: replaces the delivery's stage; 0 keeps it.
    """

    def __init__(self, runs: Runs, workflow_id: str, stage: int = 0) -> None:
        self._runs = runs
        self._workflow_id = workflow_id
        self._stage = stage
        self._known: dict[int, Claims] = {}

    async def claims(self, delivery: Delivery) -> Claims:
        """The open stage's claims. Raises `NoSuchStage` if the run does not reach the stage in time."""
        stage = self._stage or delivery.stage
        deadline = time.monotonic() + STAGE_OPENS_WITHIN
        while stage not in self._known:
            try:
                self._known[stage] = await self._runs.open_claims(self._workflow_id, stage)
            except NoSuchStage:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
        return self._known[stage]
