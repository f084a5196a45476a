"""Stand-ins: a run that takes the place of the one a delivery was captured from, for a webhook replay.

It begins where the delivery found the captured run: the stages before are advanced past, those that deliveries were
captured for wait for their callbacks, and no partner is called. A last stage of its own keeps it open, so that what
came late is late again, until the replay ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from receiver.deliveries.delivery import Delivery
from workflows.contract import Carried, Pipeline, Stage
from workflows.mailbox import Mailbox
from workflows.pipelines import PIPELINES

LAST_STAGE: Final = "end-of-replay"
HOUR: Final = 3600.0


def stand_in(deliveries: Sequence[Delivery], at: float) -> tuple[Pipeline, Carried]:
    """The definition of a stand-in for the one run that these deliveries are for, and the state it begins in."""
    last = max(delivery.stage for delivery in deliveries)
    stages = [*_stages(deliveries, last), Stage(last + 1, LAST_STAGE, deliveries[-1].partner, HOUR, on_timeout="skip")]
    mailbox = Mailbox("", last_stage=last + 1)
    for stage in stages:
        record = mailbox.record(stage.number)
        calls = [delivery for delivery in deliveries if delivery.stage == stage.number]
        # The latest call is the current one; a failure that answers an earlier one is kept in the ledger only.
        call = max(calls, key=lambda delivery: (delivery.attempt, delivery.issued_at), default=None)
        record.open(at=at)
        record.begin(attempt=call.attempt if call else 1, issued_at=call.issued_at if call else int(at), at=at)
        record.returned(at=at)
        if call or stage.name == LAST_STAGE:
            record.wait(at=at, timeout=stage.timeout, cap=stage.wait_cap)
        else:
            record.settle("advanced", "operator", at=at)
    name = deliveries[0].pipeline or "unknown"
    return Pipeline(name, stages, description=f"stand-in for {deliveries[0].workflow_id}"), mailbox.carry()


def _stages(deliveries: Sequence[Delivery], last: int) -> list[Stage]:
    """The stages up to the last: the pipeline's where it is known here, by number and partner where it is not."""
    known = PIPELINES.get(deliveries[0].pipeline)
    named = {stage.number: stage for stage in known.stages} if known else {}
    partners = {delivery.stage: delivery.partner for delivery in deliveries}
    stages = []
    for number in range(1, last + 1):
        stage = named.get(number, Stage(number, f"stage-{number}", partners.get(number, "unknown"), HOUR))
        partner = partners.get(number, stage.partner)
        # Nobody is called, so nothing is needed; and no replay lasts longer than an hour.
        stages.append(replace(stage, partner=partner, timeout=HOUR, on_timeout="fail", attempts=1, needs={}))
    return stages
