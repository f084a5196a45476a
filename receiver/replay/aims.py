"""Aims: which run and stage each delivery of a webhook replay is sent to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from temporalio.client import WorkflowExecutionStatus

from activities.callback_urls import Claims
from activities.runs import NoSuchStage, ProgressUnknown, Runs
from receiver.deliveries.delivery import Delivery
from receiver.replay.sending import Replayed, claims_of
from receiver.replay.stand_ins import latest_call, new_stand_in_id, stand_in
from workflows.contract import TOKEN_SLACK, StageProgress

STAGE_OPENS_WITHIN: Final = 10.0
"""Seconds for a run to come to the next delivery's stage."""

TAKEN_WITHIN: Final = 10.0
"""Seconds after the last answer for a receiver to forward to the stand-ins what it has kept."""

LOOKS_EVERY: Final = 0.1


class CapturedClaims:
    """Aims at the run of capture, by the claims that the token had then."""

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims."""
        return claims_of(delivery)

    def is_begun(self, chain_id: str) -> bool:
        """Never."""
        return False

    async def late(self, replayed: Sequence[Replayed]) -> list[str]:
        """Nothing was begun."""
        return []

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


@dataclass(frozen=True)
class Begun:
    """A stand-in that was begun. deliveries: those that it is for. last: its last stage."""

    workflow_id: str
    chain_id: str
    deliveries: Sequence[Delivery]
    last: int


class StandIns:
    """Aims at a stand-in of each captured run, begun at the first of its deliveries.

    lasting: seconds that the replay is to take; the stand-ins wait for longer.
    """

    def __init__(self, runs: Runs, deliveries: Sequence[Delivery], task_queue: str, *, lasting: float = 0.0) -> None:
        self._runs = runs
        self._deliveries: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            self._deliveries.setdefault(delivery.chain_id, []).append(delivery)
        self._task_queue = task_queue
        self._lasting = lasting
        self._begun: dict[str, Begun] = {}
        self._late: list[str] = []

    def check(self, chain_ids: Collection[str]) -> None:
        """Raise `NoStandIn` if there can be none for one of these captured runs."""
        for chain_id in chain_ids:
            stand_in(self._deliveries[chain_id], time.time(), self._lasting)

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims, but for the stand-in and with time to spare."""
        if delivery.chain_id not in self._begun:
            self._begun[delivery.chain_id] = await self._begin(self._deliveries[delivery.chain_id])
        begun = self._begun[delivery.chain_id]
        expires_at = int(time.time() + TOKEN_SLACK)
        run = begun.workflow_id
        return replace(claims_of(delivery), workflow_id=run, chain_id=begun.chain_id, expires_at=expires_at)

    def is_begun(self, chain_id: str) -> bool:
        """Always."""
        return True

    async def late(self, replayed: Sequence[Replayed]) -> list[str]:
        """Wait for the stand-ins to take what was answered 2xx; those that have not in time, which stay open.

        A receiver with a store answers before it has signalled: an end of the stand-in could come first.
        """
        taken = [one for one in replayed if 200 <= one.answered < 300]
        await asyncio.gather(*(self._wait_for(begun, taken) for begun in self._begun.values()))
        return self._late

    async def aclose(self) -> None:
        """Let the stand-ins end: their last stage waits for nothing but this."""
        done = [begun for begun in self._begun.values() if begun.workflow_id not in self._late]
        ends = [self._runs.finish(begun.workflow_id, begun.last) for begun in done]
        for failure in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure

    async def _begin(self, deliveries: Sequence[Delivery]) -> Begun:
        pipeline, carried = stand_in(deliveries, time.time(), self._lasting)
        workflow_id = new_stand_in_id(deliveries[0].workflow_id)
        handle = await self._runs.start(
            pipeline, {}, task_queue=self._task_queue, workflow_id=workflow_id, carried=carried
        )
        return Begun(handle.id, handle.first_execution_run_id or "", deliveries, len(pipeline.stages))

    async def _wait_for(self, begun: Begun, taken: Sequence[Replayed]) -> None:
        sent = [one for one in taken if one.workflow_id == begun.workflow_id]
        deadline = time.monotonic() + TAKEN_WITHIN
        while not await self._has_taken(begun, sent):
            if time.monotonic() > deadline:
                self._late.append(begun.workflow_id)
                return
            await asyncio.sleep(LOOKS_EVERY)

    async def _has_taken(self, begun: Begun, sent: Sequence[Replayed]) -> bool:
        try:
            progress = await self._runs.progress(begun.workflow_id)
        except ProgressUnknown:  # one that comes later finds them in their order
            return await self._runs.count_signals(begun.workflow_id) >= _fewest_signals(sent)
        if all(_shows(stage, begun.deliveries, sent) for stage in progress.stages):
            return True
        # A run that has ended, say by a stage that failed, takes nothing more.
        return (await self._runs.describe(begun.workflow_id)).status is not WorkflowExecutionStatus.RUNNING


def _shows(stage: StageProgress, deliveries: Sequence[Delivery], sent: Sequence[Replayed]) -> bool:
    """Whether a stand-in's stage is settled, or has as many entries in its ledger as callbacks were sent to it.

    Of those that can settle it one must have. A receiver forwards a stage's callbacks in order.
    """
    if stage.outcome:
        return True
    current = latest_call(deliveries, stage.number)
    entries = set()
    for one in sent:
        delivery = one.delivery
        if delivery.stage != stage.number or not one.says:
            continue
        answers_this_call = current and (delivery.attempt, delivery.issued_at) == (current.attempt, current.issued_at)
        if one.says == "succeeded" or (one.says == "failed" and answers_this_call):
            return False
        entries.add(_content(one))
    return stage.ledger_total >= len(entries)


def _fewest_signals(sent: Sequence[Replayed]) -> int:
    """How many signals these are at least: of a stage's successes one may be all, the others known or in conflict."""
    contents = {_content(one) for one in sent if one.says and one.says != "succeeded"}
    return len(contents) + len({one.delivery.stage for one in sent if one.says == "succeeded"})


def _content(one: Replayed) -> tuple[int, int, int, str, str]:
    """What is one callback to a receiver, however often it comes."""
    delivery = one.delivery
    said = delivery.signed_id or delivery.body_digest
    return delivery.stage, delivery.attempt, delivery.issued_at, one.says, said


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

    async def late(self, replayed: Sequence[Replayed]) -> list[str]:
        """Wait for the stand-ins."""
        return await self._stand_ins.late(replayed)

    async def aclose(self) -> None:
        """Let the stand-ins end."""
        await self._stand_ins.aclose()
