"""Outages: says once in the log that Temporal cannot be used and why, and once that it can be used again."""

from __future__ import annotations

import logging

from activities.connection_errors import NO_ANSWER_IN_TIME, OTHER
from receiver.sending.signals import SignalRefused, TemporalAway

logger = logging.getLogger("stagehook.watch")


class Outages:
    """What is known of the present outage of Temporal, in this process."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._cause = ""

    @property
    def cause(self) -> str:
        """The word for the cause of the present outage; "" if Temporal can be used, or the cause is not known."""
        return self._cause

    def begin(self, error: Exception) -> None:
        """Log an error of a check, unless this outage has been logged with this cause."""
        facts = error.facts if isinstance(error, TemporalAway) else {"why": f"{type(error).__name__}: {error}"}
        self._cause = facts.get("cause", "")
        # Each cause once: while Temporal's host comes and goes, the causes alternate.
        if not self._said or (self._cause not in self._said and _is_sure(error)):
            logger.warning("temporal-away", extra=facts)
        self._said.add(self._cause)

    def note(self, error: TemporalAway) -> None:
        """Log an error of a signal, if it tells more than that this signal failed."""
        if not isinstance(error, SignalRefused) and _is_sure(error):
            self.begin(error)

    def end(self) -> None:
        """Log that Temporal can be used again, after an outage."""
        if self._said:
            logger.warning("temporal-back")
            self._said.clear()
        self._cause = ""


def _is_sure(error: Exception) -> bool:
    """Whether the error has a cause of its own, and is not only a request without an answer."""
    fault = error.fault if isinstance(error, TemporalAway) else None
    return fault is not None and fault.cause not in {NO_ANSWER_IN_TIME, OTHER}
