"""Limits: how much is recorded of what needs no action, and kept of one URL, so that nothing fills the store.

The amounts hold for one process. In a day it records at most `BYTES_PER_DAY` of one verdict and partner, and at most
`ALL_BYTES_PER_DAY` altogether, in bytes as the store keeps them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from activities.callback_urls import Claims

PER_MINUTE: Final = 60
"""Requests of one verdict and partner that are recorded in a minute, in one process: enough to see what is wrong."""

BYTES_PER_MINUTE: Final = 512 * 1024
"""Of these, as they are stored: of long requests fewer are recorded."""

BYTES_PER_DAY: Final = 16 * 1024 * 1024
ALL_BYTES_PER_DAY: Final = 192 * 1024 * 1024
DAY: Final = 86400
MINUTE: Final = 60

LARGEST_KEPT: Final = 64 * 1024
"""Bytes of such a request's body that are kept; of a longer one only size and digest."""

ROW_OVERHEAD: Final = 512
"""Bytes of a row beyond its texts and its body: its numbers, and its places in the indexes."""

URL_BYTES: Final = 2 * 1024 * 1024
URL_RESULT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one callback URL that are kept whole: of progress and "ask me", and of results that settle its stage."""

MOST_URLS: Final = 2_000


def stored_size(row: Mapping[str, Any]) -> int:
    """Bytes that a row of the store takes."""
    texts = sum(len(value.encode("utf-8", "surrogatepass")) for value in row.values() if isinstance(value, str))
    return ROW_OVERHEAD + texts + len(row["body"] or b"")


class RecordBudget:
    """Which refused requests, duplicates and conflicts are recorded. Threads may share it.

    now: a clock that never goes back, in seconds. on_unrecorded: is called with the verdict and partner of each request
    that is not recorded.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.on_unrecorded: Callable[[str, str], None] = lambda verdict, partner: None
        self._now = now
        self._lock = threading.Lock()
        self._minute = _Window(MINUTE)
        self._day = _Window(DAY)

    def allows(self, verdict: str, partner: str, size: int) -> bool:
        """Whether a request is recorded, of so many bytes as `stored_size` gives; then it is counted."""
        with self._lock:
            fits = self._fits((verdict, partner), size)
            if fits:
                for window in (self._minute, self._day):
                    window.add((verdict, partner), size)
        if not fits:
            self.on_unrecorded(verdict, partner)
        return fits

    def may_allow(self, verdict: str, partner: str, at_least: int) -> bool:
        """Whether a request of at least so many bytes could be recorded; counted only if it could not."""
        with self._lock:
            fits = self._fits((verdict, partner), at_least)
        if not fits:
            self.on_unrecorded(verdict, partner)
        return fits

    def _fits(self, kind: tuple[str, str], size: int) -> bool:
        now = self._now()
        minute, day = self._minute.at(now), self._day.at(now)
        # The first of a minute always fits: a body that is kept whole may be longer than that budget.
        return (
            minute.number[kind] < PER_MINUTE
            and (minute.number[kind] == 0 or minute.size[kind] + size <= BYTES_PER_MINUTE)
            and day.size[kind] + size <= BYTES_PER_DAY
            and day.size.total() + size <= ALL_BYTES_PER_DAY
        )


class _Window:
    """What was recorded, by kind, since the last full minute or day of the clock."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._current = -1
        self.number: Counter[tuple[str, str]] = Counter()
        self.size: Counter[tuple[str, str]] = Counter()

    def at(self, now: float) -> _Window:
        """The window, emptied if another one has begun."""
        if (current := int(now // self._seconds)) != self._current:
            self._current = current
            self.number.clear()
            self.size.clear()
        return self

    def add(self, kind: tuple[str, str], size: int) -> None:
        self.number[kind] += 1
        self.size[kind] += size


class UrlBudget:
    """Which accepted deliveries are kept whole: of each callback URL so many bytes.

    A delivery beyond that is kept and signalled as well, without its body and headers.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, int, bool], int] = OrderedDict()

    def allows(self, claims: Claims, size: int, *, settles: bool) -> bool:
        """Whether so many bytes are kept; then they are counted. settles: neither progress nor "ask me"."""
        key = (claims.chain_id, claims.stage, claims.attempt, settles)
        kept = self._kept.pop(key, 0)
        fits = kept + size <= (URL_RESULT_BYTES if settles else URL_BYTES)
        self._kept[key] = kept + size if fits else kept
        if len(self._kept) > MOST_URLS:
            self._kept.popitem(last=False)
        return fits
