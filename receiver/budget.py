"""Budgets: how many callbacks a URL and a partner may send, and how much of them is recorded.

Temporal takes at most 10,000 signals per execution; after that it refuses even an operator's signal. A run continues as
new long before that, but only while a worker runs. Until then `SignalBudget` limits a URL, and `RateBudget` a partner.
`RecordBudget` and `UrlBudget` keep requests from filling the store. Each process counts for itself: several processes
allow several times as much, and a restart starts the counts again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from activities.callback_urls import Claims
from workflows.durations import DAY, HOUR, MINUTE

BURST: Final = 100
SECONDS_PER_CALLBACK: Final = 5.0
"""After a burst, seconds until each further callback is allowed."""

MOST_CALLBACKS_PER_URL: Final = 2_000
"""Different callbacks that a URL may bring in total."""

RESERVE: Final = 20
"""The part of the burst and of the total that is reserved for callbacks that can settle the stage: progress reports
must never shut out the result that they announce."""

MOST_URLS: Final = 2_000
"""URLs that are remembered. The least recently used is forgotten first."""


@dataclass
class _Account:
    left: float
    counted_at: float
    altogether: int = 0
    known: OrderedDict[str, None] = field(default_factory=OrderedDict)


class SignalBudget:
    """Limits the callbacks of each callback URL. A URL is identified by its call: chain, stage and attempt.

    now: a monotonic clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._accounts: OrderedDict[tuple[str, int, int], _Account] = OrderedDict()

    def seconds_to_wait(self, claims: Claims, request_id: str, *, settles: bool) -> float:
        """Count the callback and return 0.0 if it may be forwarded; otherwise return the seconds to wait.

        A repeated content is not counted: Temporal recognizes it by its request id. settles: whether it can settle the
        stage, so neither progress nor "ask me".

        Example: a URL brings 80 different progress reports at once. They are allowed. The next report has to wait 5 s,
        but a result is still allowed.
        """
        account = self._account(claims)
        if request_id in account.known:
            account.known.move_to_end(request_id)
            return 0.0
        kept = 0 if settles else RESERVE
        if account.altogether >= MOST_CALLBACKS_PER_URL - kept:
            return HOUR
        if account.left < 1 + kept:
            return (1 + kept - account.left) * SECONDS_PER_CALLBACK
        account.left -= 1
        account.altogether += 1
        account.known[request_id] = None
        if len(account.known) > BURST:
            account.known.popitem(last=False)
        return 0.0

    def refund(self, claims: Claims, request_id: str) -> None:
        """Undo the count of a callback that could not be forwarded: our outage must not use up the partner's budget."""
        account = self._account(claims)
        if request_id in account.known:
            del account.known[request_id]
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
"""The number of requests that a rate allows in this time may come at once."""


class RateBudget:
    """Limits the requests of each partner by a rate, so that a flood from one partner does not affect the others.

    Instead of partners, it may limit addresses: the least recently seen of `MOST_URLS` names is forgotten first.
    now: a monotonic clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, partner: str, rate: float) -> float:
        """Count a request and return 0.0 if it may be taken; otherwise return the seconds to wait. rate: per second."""
        now = self._now()
        spent, counted_at = self._spent.get(partner, (0.0, now))
        spent = max(0.0, spent - (now - counted_at) * rate)
        over = max(0.0, spent + 1 - max(1.0, BURST_SECONDS * rate))
        self._spent[partner] = (spent if over else spent + 1, now)
        self._spent.move_to_end(partner)
        if len(self._spent) > MOST_URLS:
            self._spent.popitem(last=False)
        return over / rate


PER_MINUTE: Final = 60
"""Recorded requests per minute, for each verdict and partner, in each process: enough to see what is wrong."""

BYTES_PER_MINUTE: Final = 512 * 1024
"""Stored bytes of these requests: fewer are recorded if they are long."""

BYTES_PER_DAY: Final = 16 * 1024 * 1024
ALL_BYTES_PER_DAY: Final = 192 * 1024 * 1024

URL_BYTES: Final = 2 * 1024 * 1024
URL_RESULT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a callback URL's deliveries that are kept whole: for progress and "ask me", and for settling results."""


class RecordBudget:
    """Decides which refused requests, duplicates and conflicts are recorded. Thread-safe.

    now: a monotonic clock, in seconds. on_unrecorded: called with the verdict and partner of each request that is not
    recorded.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.on_unrecorded: Callable[[str, str], None] = lambda verdict, partner: None
        self._now = now
        self._lock = threading.Lock()
        self._minute = _Window(MINUTE)
        self._day = _Window(DAY)

    def allows(self, verdict: str, partner: str, size: int) -> bool:
        """Whether to record a request; if so, count it. size: its bytes, as given by `stored_size`."""
        with self._lock:
            fits = self._fits((verdict, partner), size)
            if fits:
                for window in (self._minute, self._day):
                    window.add((verdict, partner), size)
        if not fits:
            self.on_unrecorded(verdict, partner)
        return fits

    def may_allow(self, verdict: str, partner: str, at_least: int) -> bool:
        """Whether a request of at least `at_least` bytes could be recorded. If not, it is counted as unrecorded."""
        with self._lock:
            fits = self._fits((verdict, partner), at_least)
        if not fits:
            self.on_unrecorded(verdict, partner)
        return fits

    def _fits(self, kind: tuple[str, str], size: int) -> bool:
        now = self._now()
        minute, day = self._minute.at(now), self._day.at(now)
        # The first request of a minute always fits: a body that is kept whole may be longer than the minute's budget.
        return (
            minute.number[kind] < PER_MINUTE
            and (minute.number[kind] == 0 or minute.size[kind] + size <= BYTES_PER_MINUTE)
            and day.size[kind] + size <= BYTES_PER_DAY
            and day.size.total() + size <= ALL_BYTES_PER_DAY
        )


class _Window:
    """Counts of what was recorded, by kind, in the clock's current minute or day."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._current = -1
        self.number: Counter[tuple[str, str]] = Counter()
        self.size: Counter[tuple[str, str]] = Counter()

    def at(self, now: float) -> _Window:
        """This window, emptied if a new minute or day has begun."""
        if (current := int(now // self._seconds)) != self._current:
            self._current = current
            self.number.clear()
            self.size.clear()
        return self

    def add(self, kind: tuple[str, str], size: int) -> None:
        self.number[kind] += 1
        self.size[kind] += size


class UrlBudget:
    """Decides which accepted deliveries are kept whole, by a number of bytes for each callback URL.

    A delivery beyond that is still kept and signalled, but without its body and headers.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, int, bool], int] = OrderedDict()

    def allows(self, claims: Claims, size: int, *, settles: bool) -> bool:
        """Whether to keep `size` bytes; if so, count them. settles: neither progress nor "ask me"."""
        key = (claims.chain_id, claims.stage, claims.attempt, settles)
        kept = self._kept.pop(key, 0)
        fits = kept + size <= (URL_RESULT_BYTES if settles else URL_BYTES)
        self._kept[key] = kept + size if fits else kept
        if len(self._kept) > MOST_URLS:
            self._kept.popitem(last=False)
        return fits
