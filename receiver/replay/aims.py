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
"""Seconds to wait for a run to reach the next delivery's stage."""

TAKEN_WITHIN: Final = 10.0
"""Seconds after the last answer for the receiver to forward its queue."""

LOOKS_EVERY: Final = 0.1


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


@dataclass(frozen=True)
class Begun:
    """A stand-in that was begun. deliveries: the deliveries it is for. last: the number of its last stage."""

    workflow_id: str
    chain_id: str
    deliveries: Sequence[Delivery]
    last: int


class StandIns:
    """Aims at a stand-in for each captured run. A stand-in is begun when the first of its deliveries is sent.

    lasting: seconds that the replay will take; the begun runs wait longer than that.
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
        """Raise `NoStandIn` if any of these captured runs cannot be replaced."""
        for chain_id in chain_ids:
            stand_in(self._deliveries[chain_id], time.time(), self._lasting)

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims, changed to name the begun run and to expire late enough."""
        if delivery.chain_id not in self._begun:
            self._begun[delivery.chain_id] = await self._begin(self._deliveries[delivery.chain_id])
        begun = self._begun[delivery.chain_id]
        expires_at = int(time.time() + TOKEN_SLACK)
        run = begun.workflow_id
        return replace(claims_of(delivery), workflow_id=run, chain_id=begun.chain_id, expires_at=expires_at)

    def is_begun(self, chain_id: str) -> bool:
        """True: a run is begun for every captured run."""
        return True

    async def late(self, replayed: Sequence[Replayed]) -> list[str]:
        """Wait until the begun runs have taken all deliveries that were answered 2xx. Returns the late runs, left open.

        A receiver with a store answers before it signals: without waiting, the run could end before the signal.
        """
        taken = [one for one in replayed if 200 <= one.answered < 300]
        await asyncio.gather(*(self._wait_for(begun, taken) for begun in self._begun.values()))
        return self._late

    async def aclose(self) -> None:
        """Finish the begun runs that are not late, by settling their last stage."""
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
        except ProgressUnknown:  # a worker that starts later handles the signals in order
            return await self._runs.count_signals(begun.workflow_id) >= _fewest_signals(sent)
        if all(_shows(stage, begun.deliveries, sent) for stage in progress.stages):
            return True
        # A run that has ended, for example because a stage failed, takes no more signals.
        return (await self._runs.describe(begun.workflow_id)).status is not WorkflowExecutionStatus.RUNNING


def _shows(stage: StageProgress, deliveries: Sequence[Delivery], sent: Sequence[Replayed]) -> bool:
    """Whether the stage is settled, or its ledger has as many entries as callbacks were sent to it.

    If a callback that can settle the stage was sent, the stage must be settled. A receiver forwards a stage's callbacks
    in order.
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
    """The fewest signals that these give. Of a stage's successes, all but one may be duplicates or conflicts."""
    contents = {_content(one) for one in sent if one.says and one.says != "succeeded"}
    return len(contents) + len({one.delivery.stage for one in sent if one.says == "succeeded"})


def _content(one: Replayed) -> tuple[int, int, int, str, str]:
    """A key that is equal for deliveries that a receiver takes for the same callback."""
    delivery = one.delivery
    said = delivery.signed_id or delivery.body_digest
    return delivery.stage, delivery.attempt, delivery.issued_at, one.says, said


class Sorted:
    """Aims at the captured run if it exists, otherwise at a stand-in.

    there: the chain ids of the existing runs.
    """

    def __init__(self, there: Collection[str], stand_ins: StandIns) -> None:
        self._there = there
        self._stand_ins = stand_ins

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims, or the claims of the run that is begun instead."""
        return await self._stand_ins.claims(delivery) if self.is_begun(delivery.chain_id) else claims_of(delivery)

    def is_begun(self, chain_id: str) -> bool:
        """Whether the captured run does not exist, so that a run is begun in its place."""
        return chain_id not in self._there

    async def late(self, replayed: Sequence[Replayed]) -> list[str]:
        """See `StandIns.late`."""
        return await self._stand_ins.late(replayed)

    async def aclose(self) -> None:
        """See `StandIns.aclose`."""
        await self._stand_ins.aclose()
