"""Budgets: how many different callbacks one URL may bring, and how many one partner.

Temporal takes 10,000 signals per execution and then no more, not even an operator's. A run continues as new long before
that, but only while a worker is there; this bounds what one URL can do meanwhile. It is kept in the process: several
processes allow several times as much, and a restart allows it again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
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

    def give_back(self, claims: Claims, signal_id: str) -> None:
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
