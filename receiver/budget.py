"""Budgets: how many callbacks one URL and one partner may bring, and how much of them is recorded.

Temporal takes 10,000 signals per execution and then no more, not even an operator's. A run continues as new long before
that, but only while a worker is there; `SignalBudget` bounds what one URL can do meanwhile, and `RateBudget` one
partner. `RecordBudget` and `UrlBudget` keep requests from filling the store. All are kept in the process: several
processes allow several times as much, and a restart allows it again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from activities.callback_urls import Claims

BURST: Final = 100
SECONDS_PER_CALLBACK: Final = 5.0
"""After a burst one more is allowed every so many seconds."""

MOST: Final = 2_000
"""Different callbacks that one URL may bring altogether."""

RESERVE: Final = 20
"""Of the burst and of the whole, what is kept for callbacks that can settle the stage: no number of progress reports
may shut out the answer that they announce."""

MOST_URLS: Final = 2_000
"""URLs remembered; the one that was used longest ago is forgotten first."""


@dataclass
class _Account:
    left: float
    counted_at: float
    altogether: int = 0
    known: OrderedDict[str, None] = field(default_factory=OrderedDict)


class SignalBudget:
    """One account per callback URL.

    now: a clock that never goes back, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._accounts: OrderedDict[tuple[str, int, int], _Account] = OrderedDict()

    def seconds_to_wait(self, claims: Claims, signal_id: str, *, settles: bool) -> float:
        """0.0 if the callback may be forwarded, and then it is counted; otherwise how long to wait.

        The same content again costs nothing: Temporal knows it by its request id. settles: neither progress
        nor "ask me".
        """
        account = self._account(claims)
        if signal_id in account.known:
            account.known.move_to_end(signal_id)
            return 0.0
        kept = 0 if settles else RESERVE
        if account.altogether >= MOST - kept:
            return 3600.0
        if account.left < 1 + kept:
            return (1 + kept - account.left) * SECONDS_PER_CALLBACK
        account.left -= 1
        account.altogether += 1
        account.known[signal_id] = None
        if len(account.known) > BURST:
            account.known.popitem(last=False)
        return 0.0

    def refund(self, claims: Claims, signal_id: str) -> None:
        """Uncount a callback that could not be forwarded: an outage of ours is not the partner's number."""
        account = self._account(claims)
        if signal_id in account.known:
            del account.known[signal_id]
            account.left += 1
            account.altogether -= 1

    def _account(self, claims: Claims) -> _Account:
        key = (claims.chain_id, claims.stage, claims.attempt)
        now = self._now()
        account = self._accounts.setdefault(key, _Account(BURST, now))
        account.left = min(BURST, account.left + (now - account.counted_at) / SECONDS_PER_CALLBACK)
        account.counted_at = now
        self._accounts.move_to_end(key)
        if len(self._accounts) > MOST_URLS:
            self._accounts.popitem(last=False)
        return account


BURST_SECONDS: Final = 10.0
"""What a rate allows in so many seconds may come at once."""


class RateBudget:
    """How many requests each partner may bring, by a rate: so that one partner's flood is not everybody's.

    now: a clock that never goes back, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._spent: dict[str, tuple[float, float]] = {}

    def seconds_to_wait(self, partner: str, rate: float) -> float:
        """0.0 if one more may be taken, and then it is counted; otherwise how long to wait. rate: per second."""
        now = self._now()
        spent, counted_at = self._spent.get(partner, (0.0, now))
        spent = max(0.0, spent - (now - counted_at) * rate)
        over = max(0.0, spent + 1 - max(1.0, BURST_SECONDS * rate))
        self._spent[partner] = (spent if over else spent + 1, now)
        return over / rate


PER_MINUTE: Final = 60
"""Requests of one verdict and partner that are recorded in a minute, in one process: enough to see what is wrong."""

BYTES_PER_MINUTE: Final = 512 * 1024
"""Of these, as they are stored: of long requests fewer are recorded."""

BYTES_PER_DAY: Final = 16 * 1024 * 1024
ALL_BYTES_PER_DAY: Final = 192 * 1024 * 1024
DAY: Final = 86400
MINUTE: Final = 60

URL_BYTES: Final = 2 * 1024 * 1024
URL_RESULT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one callback URL that are kept whole: of progress and "ask me", and of results that settle its stage."""


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
