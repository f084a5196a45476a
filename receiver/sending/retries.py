"""Retries: whose fault it is that Temporal did not take a delivery, when it is tried again, and when it is parked."""

from __future__ import annotations

import time
from typing import Final

from receiver.deliveries.delivery import Fate
from receiver.deliveries.queue import Conclusion, Queued
from receiver.sending.signals import SignalRefused, TemporalAway
from receiver.sending.watch import Watch
from receiver.timing import Timing

UNDECIDED_FOR: Final = 24 * 3600.0
"""Seconds after which a delivery is parked while Temporal answers but takes nothing: it is unknown whose fault it is,
so an operator must look."""


class Retries:
    """Decides what becomes of a delivery after a failed try."""

    def __init__(self, watch: Watch, timing: Timing) -> None:
        self._watch = watch
        self._timing = timing
        self._taken_at = float("-inf")

    def note_taken(self) -> None:
        """Remember that Temporal has taken a delivery just now."""
        self._taken_at = time.monotonic()

    async def after(self, error: Exception, queued: Queued, began: float) -> Conclusion:
        """What to record after a failed try. Asks whether Temporal is reachable.

        began: when the try began, on the monotonic clock.
        """
        if not isinstance(error, TemporalAway):
            return await self._put_off(queued, f"{type(error).__name__}: {error}", own_fault=True)
        own_fault = isinstance(error, SignalRefused) or self._taken_at > began - self._timing.undecided_pause
        return await self._put_off(queued, str(error), own_fault=own_fault)

    async def _put_off(self, queued: Queued, why: str, *, own_fault: bool) -> Conclusion:
        """Schedule the next try. Count the failure against the delivery only if Temporal is reachable.

        own_fault: whether Temporal refused this delivery, or has taken another delivery since the last try.

        Example: Temporal is down, and the signal fails: the try is not counted, however often that happens. Temporal is
        up and takes other deliveries: the try is counted, and the next is due in 2, 4, 8, ... up to 300 seconds.
        """
        is_there, now = await self._watch.is_there(), time.time()
        if not (is_there and (own_fault or self._is_overdue(queued, now))):
            due_at = now + (self._timing.undecided_pause if is_there else self._watch.seconds_left)
            return Conclusion(queued.id, queued.fate, why, queued.tries, due_at=due_at)
        tries = queued.tries + 1
        if own_fault and tries < self._timing.most_tries:
            due_at = time.time() + min(self._timing.longest_retry_pause, 2.0**tries)
            return Conclusion(queued.id, queued.fate, why, tries, due_at=due_at)
        if queued.fate is Fate.TAKEN:
            return Conclusion(queued.id, Fate.TAKEN, why, tries, stage=queued.stage)
        why = f"{why}, in {tries} tries"
        return Conclusion(queued.id, Fate.PARKED, why, queued.tries, stage=queued.stage)

    def _is_overdue(self, queued: Queued, now: float) -> bool:
        """Whether the delivery is old, and not because of an outage. now: unix seconds."""
        is_old = bool(queued.since) and now - queued.since > UNDECIDED_FOR
        return is_old and self._watch.there_for > self._timing.settled_after
