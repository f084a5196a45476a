"""Timing: how long the receiver waits for the store and for Temporal, and when it tries again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Timing:
    """The timing of the inbox, of the sender and of the checks whether Temporal is reachable. In seconds."""

    # --- the inbox

    commit_timeout: float = 0.7
    """How long a partner's request waits for its commit, before Temporal is signalled directly."""

    query_timeout: float = 0.7
    """How long a probe or a scrape waits for the store."""

    taken_pause: float = 0.5
    """Between two attempts to write the deliveries that Temporal took while the store was away."""

    lease: float = 10.0
    """How long a delivery belongs to the process that sends it. A try takes 2.2 s at most."""

    resend_pause: float = 1.0
    """Between two signals for a repeated content: a partner that repeats it without a pause costs a signal a second."""

    refusal_lasts: float = 5.0
    """How long a content that Temporal refused gets the same refusal, before Temporal is asked again. This gives
    repeats that arrive at the same time the same answer."""

    # --- the sender

    fate_wait: float = 0.2
    """How long an answer waits to learn whether it should be 410 or 404. The delivery is committed: 202 is safe."""

    longest_retry_pause: float = 300.0
    """The longest pause between two tries of a delivery. The pauses begin at 2 s and double."""

    most_tries: int = 16
    """A number: a delivery is parked after this many failed tries while Temporal took others, after some 40 minutes."""

    undecided_pause: float = 10.0
    """To the next try while Temporal answers but takes nothing: it may be able to read and unable to write."""

    settled_after: float = 3600.0
    """Seconds after an outage in which no delivery is parked for its age: Temporal has a backlog to take first."""

    # --- checks

    first_check_pause: float = 0.5
    """Between the first two checks whether Temporal is reachable again. The pauses double."""

    longest_check_pause: float = 10.0
    """The longest of these pauses. During an outage the checks are all that Temporal is sent."""

    finding_lasts: float = 3.0
    """How long /readyz reuses a result, so that a busy load balancer asks the store or Temporal only once in it."""


DEFAULT_TIMING: Final = Timing()
