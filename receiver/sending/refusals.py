"""Refusals: the verdict for each of Temporal's answers, and what the store records of a refusal."""

from __future__ import annotations

from typing import Final

from receiver.answers import Verdict
from receiver.deliveries.delivery import Fate
from receiver.deliveries.queue import Conclusion, Queued
from receiver.sending.signals import Reached

VERDICTS: Final = {
    Reached.TAKEN: Verdict.ACCEPTED,
    Reached.FINISHED: Verdict.GONE,
    Reached.REPLACED: Verdict.GONE,
    Reached.UNKNOWN: Verdict.UNKNOWN,
}


def refusal(queued: Queued, verdict: Verdict, why: str) -> Conclusion:
    """What to record for a delivery whose partner is told that the run no longer takes it (410 or 404).

    `Timing.refusal_lasts` seconds later the same content counts as new, because a reset may have reopened the run.
    """
    return Conclusion(
        queued.id,
        Fate.REFUSED,
        why,
        queued.tries,
        verdict=verdict.name.lower(),
        status=verdict.status,
        # The same fate as when a run turns out to be unknown after a 202; see `Sender`.
        if_promised=Fate.PARKED if verdict is Verdict.UNKNOWN else Fate.REFUSED,
    )
