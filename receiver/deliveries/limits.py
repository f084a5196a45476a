"""RecordBudget: how much of what needs no action is recorded, so that nobody can fill the store with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

PER_MINUTE: Final = 60
"""Requests of one verdict and partner that are recorded in a minute, in one process: enough to see what is wrong."""

BYTES_PER_MINUTE: Final = 512 * 1024
"""Of these, in headers and bodies: whoever writes long ones is seen with fewer of them."""

LARGEST_KEPT: Final = 64 * 1024
"""Bytes of such a request's body that are kept; of a longer one only size and digest."""


def kept_size(headers: Sequence[tuple[str, str]], target: str, body_size: int, *, whole: bool = False) -> int:
    """Bytes that are kept of such a request. whole: its body is kept however long it is."""
    head = len(target) + sum(len(name) + len(value) for name, value in headers)
    return head + (body_size if whole or body_size <= LARGEST_KEPT else 0)


class RecordBudget:
    """Which refused requests, duplicates and conflicts are recorded.

    now: a clock that never goes back, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._minute = 0
        self._recorded: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()

    def allows(self, verdict: str, partner: str, size: int) -> bool:
        """Whether this one is, of so many bytes as `kept_size` gives; then it is counted."""
        if (minute := int(self._now() // 60)) != self._minute:
            self._minute = minute
            self._recorded.clear()
            self._bytes.clear()
        kind = (verdict, partner)
        # The first of a minute always fits: a body that is kept whole may be longer than the budget.
        if self._recorded[kind] >= PER_MINUTE or (self._recorded[kind] and self._bytes[kind] + size > BYTES_PER_MINUTE):
            return False
        self._recorded[kind] += 1
        self._bytes[kind] += size
        return True
