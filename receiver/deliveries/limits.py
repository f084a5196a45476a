"""RecordBudget: how much of what needs no action is recorded, so that nobody can fill the store with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

PER_MINUTE: Final = 60
"""Requests of one verdict and partner that are recorded in a minute, in one process: enough to see what is wrong."""

LARGEST_BODY: Final = 64 * 1024
"""Bytes of such a request's body that are kept; of a longer one only size and digest."""


class RecordBudget:
    """Which refused requests, duplicates and conflicts are recorded.

    now: a clock that never goes back, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._minute = 0
        self._recorded: Counter[tuple[str, str]] = Counter()

    def allows(self, verdict: str, partner: str) -> bool:
        """Whether this one is; then it is counted."""
        if (minute := int(self._now() // 60)) != self._minute:
            self._minute = minute
            self._recorded.clear()
        self._recorded[verdict, partner] += 1
        return self._recorded[verdict, partner] <= PER_MINUTE
