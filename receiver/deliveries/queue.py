"""Queue: the deliveries that wait for Temporal, the results of their tries, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from activities.callback_urls import Claims
from receiver.deliveries.delivery import Fate
from workflows.contract import Callback

NO_STAGE: Final = ("", 0)


@dataclass(frozen=True)
class Queued:
    """A delivery that waits for Temporal.

    callback: the signal's argument, as JSON. tries: tries that failed through the delivery's own fault.
    fate: TAKEN if Temporal has taken it before, and it is sent again. since: when it was queued, in unix seconds.
    earlier_id: see `content.earlier_request_id`; known only while the delivery is being received, otherwise "".
    at_hand: the callback itself, while the delivery is being received; None if it has to be read from its JSON.
    """

    id: str
    claims: Claims
    callback: str
    request_id: str
    tries: int = 0
    fate: Fate = Fate.PENDING
    since: float = 0.0
    earlier_id: str = ""
    at_hand: Callback | None = None

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
    stage: where further deliveries may have waited for this one, as chain id and number; NO_STAGE for none.
    call: the call to look up, if it is not known yet which pipeline the delivery is for; or None.
    settled_at: when its result came, in unix seconds, or 0.0; see `Concluded`.
    """

    id: str
    fate: Fate
    reason: str = ""
    tries: int = 0
    due_at: float | None = None
    verdict: str = ""
    status: int = 0
    if_promised: Fate = Fate.REFUSED
    stage: tuple[str, int] = NO_STAGE
    call: Claims | None = None
    settled_at: float = 0.0

    @property
    def told(self) -> bool:
        """Whether its partner was told that the run takes it no more."""
        return self.fate is Fate.REFUSED and self.verdict != ""


@dataclass(frozen=True)
class Concluded:
    """What was found out while results were recorded.

    next: deliveries of the same stages that were leased at once, to be sent now. has_next: whether there are stages of
    which others are queued, and none was leased. call_times: for results of calls that are known, the partner and the
    seconds from call to result.
    """

    has_next: bool
    next: Sequence[Queued] = ()
    call_times: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Depth:
    """The length of the queue: pending deliveries, when the oldest was queued (unix seconds, 0.0 if none), and parked.

    Counts stop at `statements.MOST_COUNTED`; the oldest is searched among the first `OLDEST_AMONG` of the queue.
    """

    pending: int
    oldest: float
    parked: int
