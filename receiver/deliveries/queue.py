"""Queue: the deliveries that wait for Temporal, the results of their tries, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass

from activities.callback_urls import Claims
from receiver.deliveries.delivery import Fate


@dataclass(frozen=True)
class Queued:
    """A delivery that waits for Temporal.

    callback: the signal's argument, as JSON. tries: tries that failed through the delivery's own fault.
    pipeline: "" if it is still to be asked for.
    fate: TAKEN if Temporal has taken it before, and it is sent again. since: when it was queued, in unix seconds.
    earlier_id: see `content.earlier_request_id`; known only while the delivery is being received, otherwise "".
    """

    id: str
    claims: Claims
    callback: str
    request_id: str
    tries: int = 0
    pipeline: str = ""
    fate: Fate = Fate.PENDING
    since: float = 0.0
    earlier_id: str = ""

    @property
    def stage(self) -> tuple[str, int]:
        """Its chain id and the stage's number."""
        return self.claims.chain_id, self.claims.stage


@dataclass(frozen=True)
class Conclusion:
    """The result of a try. due_at: when the next try is due, in unix seconds; None if there is no next try.

    verdict, status: the refusal that the partner is told; "" and 0 leave the recorded answer as it is.
    if_promised: the fate to record instead of a refusal, if another request with the same content was answered 2xx;
    verdict and status are then left as well.
    """

    id: str
    fate: Fate
    reason: str = ""
    tries: int = 0
    due_at: float | None = None
    verdict: str = ""
    status: int = 0
    if_promised: Fate = Fate.REFUSED

    @property
    def told(self) -> bool:
        """Whether its partner was told that the run takes it no more."""
        return self.fate is Fate.REFUSED and self.verdict != ""


@dataclass(frozen=True)
class Depth:
    """The length of the queue: pending deliveries, when the oldest was queued (unix seconds, 0.0 if none), and parked.

    Counts stop at `statements.MOST_COUNTED`; the oldest is searched among the first `OLDEST_AMONG` of the queue.
    """

    pending: int
    oldest: float
    parked: int
