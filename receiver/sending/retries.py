"""Retries: whose fault it is that Temporal did not take a delivery, when it is tried again, and when it is parked."""

from __future__ import annotations

import time
from typing import Final

from receiver.deliveries.delivery import Fate
from receiver.deliveries.statements import Conclusion, Queued
from receiver.sending.signals import SignalRefused, TemporalAway
from receiver.sending.watch import Watch

MOST_TRIES: Final = 16
"""A delivery is parked after this many failed tries while Temporal took others: after some 40 minutes."""

LONGEST_PAUSE: Final = 300.0
UNDECIDED_PAUSE: Final = 10.0
"""Seconds to the next try while Temporal answers but takes nothing: it may be able to read and unable to write."""

UNDECIDED_FOR: Final = 24 * 3600.0
"""Seconds after which such a delivery is parked too: it is unknown whose fault it is, so an operator must look."""

SETTLED_AFTER: Final = 3600.0
"""Nothing is parked for its age for this many seconds after an outage of any length: Temporal has a backlog to take."""


class Retries:
    """Decides what becomes of a delivery after a failed try.

    most_tries: failed tries after which a delivery is parked; see `MOST_TRIES`.
    """

    def __init__(self, watch: Watch, *, most_tries: int = MOST_TRIES) -> None:
        self._watch = watch
        self._most_tries = most_tries
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
        own_fault = isinstance(error, SignalRefused) or self._taken_at > began - UNDECIDED_PAUSE
        return await self._put_off(queued, str(error), own_fault=own_fault)

    async def _put_off(self, queued: Queued, why: str, *, own_fault: bool) -> Conclusion:
        """Schedule the next try. Count the failure against the delivery only if Temporal is reachable.

        own_fault: whether Temporal refused this delivery, or has taken another delivery since the last try.

        Example: Temporal is down, and the signal fails: the try is not counted, however often that happens. Temporal is
        up and takes other deliveries: the try is counted, and the next is due in 2, 4, 8, ... up to 300 seconds.
        """
        is_there, now = await self._watch.is_there(), time.time()
        for_long = queued.since and now - queued.since > UNDECIDED_FOR and self._watch.there_for > SETTLED_AFTER
        if not (is_there and (own_fault or for_long)):
            due_at = now + (UNDECIDED_PAUSE if is_there else self._watch.seconds_left)
            return Conclusion(queued.id, queued.fate, why, queued.tries, due_at=due_at)
        tries = queued.tries + 1
        if own_fault and tries < self._most_tries:
            due_at = time.time() + min(LONGEST_PAUSE, 2.0**tries)
            return Conclusion(queued.id, queued.fate, why, tries, due_at=due_at)
        if queued.fate is Fate.TAKEN:
            return Conclusion(queued.id, Fate.TAKEN, why, tries)
        return Conclusion(queued.id, Fate.PARKED, f"{why}, in {tries} tries", queued.tries)
