"""Stand-ins: runs that take the place of captured runs in a webhook replay.

A stand-in begins where the delivery found the captured run. Earlier stages are advanced, stages with captured
deliveries wait for their callbacks, and no partner is called. An extra last stage keeps it open until the replay ends
it, so that a late callback is late again. After stage 50 there is no room for it: stage 50 ends the run.
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
from workflows.durations import HOUR
from workflows.mailbox import Mailbox
from workflows.pipelines import PIPELINES

LAST_STAGE: Final = "end-of-replay"
LONGEST_WORKFLOW_ID: Final = 200
"""Characters of a stand-in's workflow id, which is part of its tokens."""

OWN_ID: Final = re.compile(r"replay-[0-9a-f]{8}-")


class NoStandIn(Exception):
    """A captured run cannot have a stand-in. The message says why."""


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
    if last < MOST_STAGES:
        last += 1
        stages.append(Stage(last, LAST_STAGE, deliveries[-1].partner, timeout, on_timeout="skip"))
    # For other workflows, `pipeline` is the workflow's type, which may not be a valid name of a pipeline.
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
    """A delivery of the stage's latest call, or None. A failure of an earlier call would only reach the ledger."""
    calls = [delivery for delivery in deliveries if delivery.stage == stage]
    return max(calls, key=lambda delivery: (delivery.attempt, delivery.issued_at), default=None)


def _stages(deliveries: Sequence[Delivery], last: int, timeout: float) -> list[Stage]:
    """The stages up to `last`: from the pipeline's definition if it is known here, otherwise by number and partner."""
    known = PIPELINES.get(deliveries[0].pipeline)
    named = {stage.number: stage for stage in known.stages} if known else {}
    partners = {delivery.stage: delivery.partner for delivery in deliveries}
    stages = []
    for number in range(1, last + 1):
        stage = named.get(number, Stage(number, f"stage-{number}", partners.get(number, "unknown"), timeout))
        partner = partners.get(number, stage.partner)
        # No partner is called, so the stage needs no data.
        stages.append(replace(stage, partner=partner, timeout=timeout, on_timeout="fail", attempts=1, needs={}))
    return stages
