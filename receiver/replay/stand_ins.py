"""Stand-ins: a run that takes the place of the one a delivery was captured from, for a webhook replay.

It begins where the delivery found the captured run: the stages before are advanced past, those that deliveries were
captured for wait for their callbacks, and no partner is called. A last stage of its own keeps it open, so that what
came late is late again, until the replay ends it. Behind stage 50 there is no room for one: that stage ends the run.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from receiver.deliveries.delivery import Delivery
from workflows.checking import MOST_STAGES, NAME, InvalidRun, pipeline_faults
from workflows.contract import Carried, Pipeline, Stage
from workflows.mailbox import Mailbox
from workflows.pipelines import PIPELINES

LAST_STAGE: Final = "end-of-replay"
HOUR: Final = 3600.0
"""Seconds that a stand-in waits beyond the time that the replay is to take."""

LONGEST_ID: Final = 200
"""Characters of a stand-in's workflow id; they are all in its tokens."""

OWN_ID: Final = re.compile(r"replay-[0-9a-f]{8}-")


class NoStandIn(Exception):
    """A captured run that no run of ours can stand in for. The message says why."""


def new_stand_in_id(workflow_id: str) -> str:
    """A workflow id for a stand-in of this run."""
    return f"replay-{uuid.uuid4().hex[:8]}-{workflow_id}"[:LONGEST_ID]


def is_stand_in(workflow_id: str) -> bool:
    """Whether the id is one that a stand-in was given."""
    return bool(OWN_ID.match(workflow_id))


def stand_in(deliveries: Sequence[Delivery], at: float, lasting: float = 0.0) -> tuple[Pipeline, Carried]:
    """The definition of a stand-in for the one run that these deliveries are for, and the state it begins in.

    lasting: seconds that the replay is to take. Raises `NoStandIn`.
    """
    last = max(delivery.stage for delivery in deliveries)
    if last > MOST_STAGES:
        raise NoStandIn(f"{deliveries[0].workflow_id} has a stage {last}, and a stand-in {MOST_STAGES} at most")
    timeout = HOUR + lasting
    stages = _stages(deliveries, last, timeout)
    if last < MOST_STAGES:
        last += 1
        stages.append(Stage(last, LAST_STAGE, deliveries[-1].partner, timeout, on_timeout="skip"))
    # That of a workflow class is the class's name.
    name = deliveries[0].pipeline if NAME.fullmatch(deliveries[0].pipeline) else "unknown"
    pipeline = Pipeline(name, stages, description=f"stand-in for {deliveries[0].workflow_id}")
    if faults := list(pipeline_faults(pipeline)):
        raise NoStandIn(f"{deliveries[0].workflow_id}: {InvalidRun(faults)}")
    return pipeline, _beginning(stages, deliveries, at)


def _beginning(stages: Sequence[Stage], deliveries: Sequence[Delivery], at: float) -> Carried:
    mailbox = Mailbox("", last_stage=len(stages))
    for stage in stages:
        record = mailbox.record(stage.number)
        call = latest_call(deliveries, stage.number)
        record.open(at=at)
        record.begin(attempt=call.attempt if call else 1, issued_at=call.issued_at if call else int(at), at=at)
        record.returned(at=at)
        if call or stage.name == LAST_STAGE:
            record.wait(at=at, timeout=stage.timeout, cap=stage.wait_cap)
        else:
            record.settle("advanced", "operator", at=at)
    return mailbox.carry()


def latest_call(deliveries: Sequence[Delivery], stage: int) -> Delivery | None:
    """A delivery of the stage's current call: a failure that answers an earlier one is kept in the ledger only."""
    calls = [delivery for delivery in deliveries if delivery.stage == stage]
    return max(calls, key=lambda delivery: (delivery.attempt, delivery.issued_at), default=None)


def _stages(deliveries: Sequence[Delivery], last: int, timeout: float) -> list[Stage]:
    """The stages up to the last: the pipeline's where it is known here, by number and partner where it is not."""
    known = PIPELINES.get(deliveries[0].pipeline)
    named = {stage.number: stage for stage in known.stages} if known else {}
    partners = {delivery.stage: delivery.partner for delivery in deliveries}
    stages = []
    for number in range(1, last + 1):
        stage = named.get(number, Stage(number, f"stage-{number}", partners.get(number, "unknown"), timeout))
        partner = partners.get(number, stage.partner)
        # Nobody is called, so nothing is needed.
        stages.append(replace(stage, partner=partner, timeout=timeout, on_timeout="fail", attempts=1, needs={}))
    return stages
