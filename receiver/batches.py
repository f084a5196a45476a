"""Batches: requests that carry several events. All are committed together, and the request is answered once.

Each event finds its stage by itself. An event without a known call waits for it; an event that the partner's file
cannot read is parked, to be read again once the file is mended. Such a flaw of a sole event is answered like that of a
request without parts.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

from activities.callback_urls import Claims
from activities.partners.events import Event
from activities.partners.partner import Partner
from activities.partners.received import Received
from receiver.answers import Refused, Verdict
from receiver.budget import SignalBudget
from receiver.deliveries.batch import Batch
from receiver.deliveries.capture import Capture
from receiver.deliveries.delivery import Delivery, Fate, digest, new_id
from receiver.deliveries.judging import Keep
from receiver.deliveries.queue import Queued
from receiver.deliveries.rows import UNREAD_CALLBACK, to_row
from receiver.reading import Read, read_parts
from receiver.sending.forwarder import Forwarder
from receiver.sending.signal import Signal
from receiver.sending.unmatched import unmatched_row
from receiver.stages import StageOrVerdict, Stages

logger = logging.getLogger("stagehook.callbacks")


@dataclass
class _Sorted:
    """The events of a request, by what becomes of them. gone: how many are for stages that must be over."""

    keeps: list[Keep] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    gone: int = 0


class Batches:
    """Receives requests with several events. budget: shared with requests that carry one event."""

    def __init__(self, stages: Stages, forwarder: Forwarder, budget: SignalBudget) -> None:
        self._stages = stages
        self._forwarder = forwarder
        self._budget = budget

    async def receive(
        self, capture: Capture, partner: Partner, received: Received, claims: Claims | None = None
    ) -> Verdict:
        """Keep the events, and return the verdict of the request. Raises `Refused` and `Unavailable`.

        claims: those of the callback URL that the request came to; None at the partner's one webhook URL.
        """
        reads = await read_parts(partner, received)
        if len(reads) == 1 and reads[0].flaw:
            raise reads[0].flaw
        if not any(read.event or read.flaw for read in reads):
            if claims is None:
                await self._stages.check_not_ours(partner, received.body)
            raise Refused(Verdict.IGNORED)
        events = [read.event for read in reads if read.event]
        stages = iter([claims] * len(events) if claims else await self._stages.find(partner, events))
        whole = capture.delivery(Verdict.ACCEPTED)
        sorted_ = _Sorted()
        for read in reads:
            if read.flaw:
                sorted_.rows.append(_parked_row(whole, read, read.flaw))
            elif read.event:
                self._add(sorted_, whole, read, read.event, next(stages))
        if not sorted_.keeps and not sorted_.rows:
            raise Refused(Verdict.GONE if sorted_.gone else Verdict.IGNORED)
        batch = Batch(whole, sorted_.keeps, sorted_.rows)
        await self._forwarder.keep_batch(batch)
        return Verdict.ACCEPTED if batch.is_new else Verdict.DUPLICATE

    def _add(self, sorted_: _Sorted, whole: Delivery, read: Read, event: Event, found: StageOrVerdict) -> None:
        part = replace(_part(whole, read), says=event.answer.status, reference=event.reference)
        if isinstance(found, Claims):
            sorted_.keeps.append(self._keep(replace(part, **vars(found)), found, read, event))
        elif found is Verdict.UNMATCHED:
            waiting = replace(part, verdict=found.name.lower(), status=found.status)
            sorted_.rows.append(unmatched_row(waiting, event.answer))
        elif found is Verdict.GONE:
            sorted_.gone += 1

    def _keep(self, part: Delivery, claims: Claims, read: Read, event: Event) -> Keep:
        answer = event.answer
        # Two equal reports of progress in one request are two events; the same result twice is one.
        signed_id = f"{part.signed_id}/{read.number}" if part.signed_id and not answer.settles else part.signed_id
        signal = Signal.of(claims, answer, read.part.raw, signed_id)
        queued = Queued(part.id, claims, signal.text, signal.request_id)
        later = self._budget.seconds_to_wait(claims, signal.request_id, settles=answer.settles)
        return Keep(part, queued, lease=False, later=later)


def _part(whole: Delivery, read: Read) -> Delivery:
    """The record of an event: what the request and the event have in common, and the event's own content."""
    raw = read.part.raw
    return replace(
        whole,
        id=new_id(whole.received_at),
        headers=(),
        body=None,
        body_size=len(raw),
        body_digest=digest(raw),
        part_of=whole.id,
        part=read.number,
    )


def _parked_row(whole: Delivery, read: Read, flaw: Refused) -> dict[str, Any]:
    """The row of an event that the file cannot read. It is read again when it is released."""
    part = replace(
        _part(whole, read),
        verdict=flaw.verdict.name.lower(),
        reason=flaw.detail,
        fate=Fate.PARKED,
        fate_reason=f"part {read.number} of {whole.id} cannot be read: {flaw.detail}",
        fate_at=whole.received_at,
    )
    logger.error("delivery-parked", extra={"delivery": part.id, "why": part.fate_reason})
    return to_row(part) | {"callback": UNREAD_CALLBACK}
