"""Stand-ins: runs that take the place of captured runs in a webhook replay.

A stand-in begins where the delivery found the captured run. Earlier stages are advanced, stages with captured
deliveries wait for their callbacks, and no partner is called. An extra last stage keeps it open until the replay ends
it, so that a late callback is late again. After stage 50 there is no room for it: stage 50 ends the run.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from temporalio.client import WorkflowExecutionStatus

from activities.callback_urls import Claims
from activities.run_errors import ProgressUnknown
from activities.runs import Runs
from receiver.deliveries.delivery import Delivery
from receiver.replay.errors import NoStandIn
from receiver.replay.sending import Replayed, claims_of
from workflows.beginning import waiting_state
from workflows.checking import MOST_STAGES, NAME, InvalidRun, pipeline_faults
from workflows.contract import TOKEN_SLACK, Carried, Pipeline, Stage, StageProgress
from workflows.durations import HOUR
from workflows.pipelines import PIPELINES

LAST_STAGE: Final = "end-of-replay"
LONGEST_WORKFLOW_ID: Final = 200
"""Characters of a stand-in's workflow id, which is part of its tokens."""

TAKEN_WITHIN: Final = 10.0
"""Seconds after the last answer for the receiver to forward its queue."""

LOOKS_EVERY: Final = 0.1

OWN_ID: Final = re.compile(r"replay-[0-9a-f]{8}-")


@dataclass(frozen=True)
class Begun:
    """A stand-in that was begun. deliveries: the deliveries it is for. last: the number of its last stage."""

    workflow_id: str
    chain_id: str
    deliveries: Sequence[Delivery]
    last: int


class StandIns:
    """Aims at the captured runs that exist, and at a stand-in for each of the others.

    A stand-in is begun when the first of its deliveries is sent.
    lasting: seconds that the replay will take; the begun runs wait longer than that.
    there: the chain ids of the captured runs that exist and are aimed at.
    """

    def __init__(
        self,
        runs: Runs,
        deliveries: Sequence[Delivery],
        task_queue: str,
        *,
        lasting: float = 0.0,
        there: Collection[str] = (),
    ) -> None:
        self._runs = runs
        self._deliveries: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            self._deliveries.setdefault(delivery.chain_id, []).append(delivery)
        self._task_queue = task_queue
        self._lasting = lasting
        self._there = there
        self._begun: dict[str, Begun] = {}
        self._late: list[str] = []

    def check(self) -> None:
        """Raise `NoStandIn` if a captured run does not exist and cannot be replaced."""
        for chain_id, deliveries in self._deliveries.items():
            if self.is_begun(chain_id):
                stand_in(deliveries, time.time(), self._lasting)

    async def claims(self, delivery: Delivery) -> Claims:
        """The captured claims; for a begun run, changed to name it and to expire late enough."""
        if not self.is_begun(delivery.chain_id):
            return claims_of(delivery)
        if delivery.chain_id not in self._begun:
            self._begun[delivery.chain_id] = await self._begin(self._deliveries[delivery.chain_id])
        begun = self._begun[delivery.chain_id]
        expires_at = int(time.time() + TOKEN_SLACK)
        run = begun.workflow_id
        return replace(claims_of(delivery), workflow_id=run, chain_id=begun.chain_id, expires_at=expires_at)

    def is_begun(self, chain_id: str) -> bool:
        """Whether the captured run does not exist, so that a run is begun in its place."""
        return chain_id not in self._there

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


def new_stand_in_id(workflow_id: str) -> str:
    """Make a workflow id for a stand-in of this run."""
    return f"replay-{uuid.uuid4().hex[:8]}-{workflow_id}"[:LONGEST_WORKFLOW_ID]


def is_stand_in(workflow_id: str) -> bool:
    """Whether the workflow id belongs to a stand-in."""
    return bool(OWN_ID.match(workflow_id))


def stand_in(deliveries: Sequence[Delivery], at: float, lasting: float = 0.0) -> tuple[Pipeline, Carried]:
    """The definition and the initial state of a stand-in. The deliveries are all for the same captured run.

    at: unix seconds, now. lasting: seconds that the replay will take. Raises `NoStandIn`.
    """
    last = max(delivery.stage for delivery in deliveries)
    if last > MOST_STAGES:
        raise NoStandIn(f"{deliveries[0].workflow_id} has a stage {last}, and a stand-in {MOST_STAGES} at most")
    timeout = lasting + HOUR  # a margin: the replay may take longer than planned
    stages = _stages(deliveries, last, timeout)
    latest = {stage.number: latest_call(deliveries, stage.number) for stage in stages}
    calls = {number: (call.attempt, call.issued_at) for number, call in latest.items() if call}
    if last < MOST_STAGES:
        last += 1
        stages.append(Stage(last, LAST_STAGE, deliveries[-1].partner, timeout, on_timeout="skip"))
        calls[last] = (1, int(at))
    # For other workflows, `pipeline` is the workflow's type, which may not be a valid name of a pipeline.
    name = deliveries[0].pipeline if NAME.fullmatch(deliveries[0].pipeline) else "unknown"
    pipeline = Pipeline(name, stages, description=f"stand-in for {deliveries[0].workflow_id}")
    if faults := list(pipeline_faults(pipeline)):
        raise NoStandIn(f"{deliveries[0].workflow_id}: {InvalidRun(faults)}")
    return pipeline, waiting_state(stages, calls, at=at)


def latest_call(deliveries: Sequence[Delivery], stage: int) -> Delivery | None:
    """A delivery of the stage's latest call, or None. A failure of an earlier call would only reach the ledger."""
    calls = [delivery for delivery in deliveries if delivery.stage == stage]
    return max(calls, key=lambda delivery: (delivery.attempt, delivery.issued_at), default=None)


def _stages(deliveries: Sequence[Delivery], last: int, timeout: float) -> list[Stage]:
    """The stages up to `last`: from the pipeline's definition if it is known here, otherwise by number and partner."""
    known = PIPELINES.get(deliveries[0].pipeline)
    named = {stage.number: stage for stage in known.stages} if known else {}
    partners = {number: stage.partner for number, stage in named.items()}
    partners |= {delivery.stage: delivery.partner for delivery in deliveries}
    stages = []
    for number in range(1, last + 1):
        name = named[number].name if number in named else f"stage-{number}"
        # No partner is called, so the stage needs no data, and a failure ends the run, whatever the policy says.
        stages.append(Stage(number, name, partners.get(number, "unknown"), timeout))
    return stages


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
