"""Aims: which run and stage each delivery of a webhook replay is sent to."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from activities.callback_urls import Claims
from activities.runs import NoSuchStage, Runs
from receiver.deliveries.delivery import Delivery
from receiver.replay import claims_of
from receiver.stand_ins import stand_in
from workflows.contract import TOKEN_SLACK

LONGEST_ID: Final = 200
"""Characters of a stand-in's workflow id; they are all in its tokens."""

STAGE_OPENS_WITHIN: Final = 10.0
"""Seconds for a run to come to the next delivery's stage."""


class CapturedClaims:
    """Aims at the run of capture, by the claims that the token had then."""

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims."""
        return claims_of(delivery)

    def is_begun(self, chain_id: str) -> bool:
        """Never."""
        return False

    async def aclose(self) -> None:
        """Nothing was begun."""


class NamedRun(CapturedClaims):
    """Aims at one run, by the claims of the stage that is open there.

    stage: in place of the delivery's own; 0 for that one.
    """

    def __init__(self, runs: Runs, workflow_id: str, stage: int = 0) -> None:
        self._runs = runs
        self._workflow_id = workflow_id
        self._stage = stage
        self._known: dict[int, Claims] = {}

    async def claims(self, delivery: Delivery) -> Claims:
        """The open stage's claims; raises `NoSuchStage` if the run does not come to the stage."""
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


class StandIns:
    """Aims at a stand-in of each captured run, begun at the first of its deliveries."""

    def __init__(self, runs: Runs, deliveries: Sequence[Delivery], task_queue: str) -> None:
        self._runs = runs
        self._deliveries = deliveries
        self._task_queue = task_queue
        self._begun: dict[str, tuple[str, str, int]] = {}

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims, but for the stand-in and with time to spare."""
        if delivery.chain_id not in self._begun:
            self._begun[delivery.chain_id] = await self._begin(delivery.chain_id)
        workflow_id, chain_id, _ = self._begun[delivery.chain_id]
        expires_at = int(time.time() + TOKEN_SLACK)
        return replace(claims_of(delivery), workflow_id=workflow_id, chain_id=chain_id, expires_at=expires_at)

    def is_begun(self, chain_id: str) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Let the stand-ins end: their last stage waits for nothing but this."""
        ends = [self._runs.finish(workflow_id, last) for workflow_id, _, last in self._begun.values()]
        for failure in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure

    async def _begin(self, chain_id: str) -> tuple[str, str, int]:
        deliveries = [delivery for delivery in self._deliveries if delivery.chain_id == chain_id]
        pipeline, carried = stand_in(deliveries, time.time())
        workflow_id = f"replay-{uuid.uuid4().hex[:8]}-{deliveries[0].workflow_id}"[:LONGEST_ID]
        handle = await self._runs.start(
            pipeline, {}, task_queue=self._task_queue, workflow_id=workflow_id, carried=carried
        )
        return handle.id, handle.first_execution_run_id or "", len(pipeline.stages)


class Sorted:
    """Aims at the captured run where it is there, at a stand-in where it is not.

    there: the chains of the runs that are there.
    """

    def __init__(self, there: Collection[str], stand_ins: StandIns) -> None:
        self._there = there
        self._stand_ins = stand_ins

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims, or those for the stand-in."""
        return await self._stand_ins.claims(delivery) if self.is_begun(delivery.chain_id) else claims_of(delivery)

    def is_begun(self, chain_id: str) -> bool:
        """Whether it is not there."""
        return chain_id not in self._there

    async def aclose(self) -> None:
        """Let the stand-ins end."""
        await self._stand_ins.aclose()
