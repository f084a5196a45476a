"""SignalBudget: how many different callbacks one callback URL may bring.

Temporal takes 10,000 signals per execution and then no more, not even an operator's. A run continues as new long before
that, but only while a worker is there; this bounds what one URL can do meanwhile. It is kept in the process, so that
several processes allow several times as much; all of them together stay far below the limit.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from activities.callback_urls import Claims

BURST: Final = 100
SECONDS_PER_CALLBACK: Final = 30.0
"""After a burst one more is allowed every so many seconds: 2,880 a day."""

MOST_URLS: Final = 10_000
"""URLs remembered; the one that was used longest ago is forgotten first."""


@dataclass
class _Account:
    left: float
    counted_at: float
    known: set[str] = field(default_factory=set)


class SignalBudget:
    """One account per callback URL.

    now: a clock that never goes back, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._accounts: OrderedDict[tuple[str, int, int], _Account] = OrderedDict()

    def seconds_to_wait(self, claims: Claims, signal_id: str) -> float:
        """0.0 if the callback may be forwarded, and then it is counted; otherwise how long to wait.

        The same content again costs nothing: Temporal knows it by its request id.
        """
        account = self._account(claims)
        if signal_id in account.known:
            return 0.0
        if account.left < 1:
            return (1 - account.left) * SECONDS_PER_CALLBACK
        account.left -= 1
        if len(account.known) < BURST:
            account.known.add(signal_id)
        return 0.0

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
