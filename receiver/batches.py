"""Batches: requests that carry several events. All are committed together, and the request is answered once.

Each event finds its stage by itself. An event without a known call waits for it; an event that the partner's file
cannot read is parked, to be read again once the file is mended. Such a flaw of a sole event is answered like that of a
request without parts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from receiver.deliveries.delivery import Delivery, Fate, digest
from receiver.deliveries.judging import Keep
from receiver.deliveries.queue import Queued
from receiver.deliveries.rows import UNREAD_CALLBACK, to_row
from receiver.reading import Read, read_parts
from receiver.sending.forwarder import Forwarder, Unavailable
from receiver.sending.signal import Signal
from receiver.sending.unmatched import unmatched_row
from receiver.stages import StageOrVerdict, Stages, can_be_ours, overlooked

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
        if claims is None:
            reads = await self._without_overlooked(partner, received, reads)
        if len(reads) == 1 and reads[0].flaw:
            raise reads[0].flaw
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
        await self._commit(batch)
        _log_parked(batch)
        return Verdict[batch.verdict.upper()]

    async def _without_overlooked(self, partner: Partner, received: Received, reads: Sequence[Read]) -> list[Read]:
        """The events, with a flaw for each that is ours and that the file takes for not ours.

        If no event is ours, the whole body is checked; raises `Refused`.
        """
        not_ours = [read for read in reads if not read.event and not read.flaw]
        if len(not_ours) == len(reads):
            await self._stages.check_not_ours(partner, received.body)
        elif not_ours:
            are_ours = await self._stages.hold_ours(partner, [read.part.raw for read in not_ours])
            mistaken = {read.number for read, is_ours in zip(not_ours, are_ours, strict=True) if is_ours}
            if mistaken:
                flaw = overlooked(partner)
                return [replace(read, flaw=flaw) if read.number in mistaken else read for read in reads]
        return list(reads)

    async def _commit(self, batch: Batch) -> None:
        try:
            await self._forwarder.keep_batch(batch)
        except Unavailable:
            for keep in batch.keeps:
                self._budget.refund(keep.queued.claims, keep.queued.request_id)
            raise

    def _add(self, sorted_: _Sorted, whole: Delivery, read: Read, event: Event, found: StageOrVerdict) -> None:
        reference = event.reference if can_be_ours(event.reference) else ""
        says = {"says": event.answer.status, "reference": reference}
        if isinstance(found, Claims):
            sorted_.keeps.append(self._keep(_part(whole, read, **says, **vars(found)), found, read, event))
        elif found is Verdict.UNMATCHED:
            waiting = _part(whole, read, **says, verdict=found.name.lower(), status=found.status)
            sorted_.rows.append(unmatched_row(waiting, event.answer))
        elif found is Verdict.GONE:
            sorted_.gone += 1

    def _keep(self, part: Delivery, claims: Claims, read: Read, event: Event) -> Keep:
        answer = event.answer
        signal = Signal.of(claims, answer, read.part.raw, part.signed_id, part=read.number)
        queued = Queued(part.id, claims, signal.text, signal.request_id)
        later = self._budget.seconds_to_wait(claims, signal.request_id, settles=answer.settles)
        return Keep(part, queued, lease=False, later=later)


def _log_parked(batch: Batch) -> None:
    """Log one line for the events that were parked: a request may bring a thousand."""
    if parked := [row for row in batch.rows if row["fate"] == Fate.PARKED.value]:
        what = {"delivery": parked[0]["id"], "why": parked[0]["fate_reason"], "parts": len(parked)}
        logger.error("delivery-parked", extra=what)


def _part(whole: Delivery, read: Read, **own: Any) -> Delivery:
    """The record of an event: what the request and the event have in common, and the event's own content."""
    raw = read.part.raw
    return replace(
        whole,
        # Not random: two of a thousand ids of one millisecond might be equal.
        id=f"{whole.id}-{read.number:04}",
        headers=(),
        body=None,
        body_size=len(raw),
        body_digest=digest(raw),
        part_of=whole.id,
        part=read.number,
        **own,
    )


def _parked_row(whole: Delivery, read: Read, flaw: Refused) -> dict[str, Any]:
    """The row of an event that the file cannot read. It is read again when it is released."""
    part = _part(
        whole,
        read,
        verdict=flaw.verdict.name.lower(),
        reason=flaw.detail,
        fate=Fate.PARKED,
        fate_reason=f"part {read.number} of {whole.id} cannot be read: {flaw.detail}",
        fate_at=whole.received_at,
    )
    return to_row(part) | {"callback": UNREAD_CALLBACK}
