"""Following: what is recorded, as it comes in, each delivery once."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery

LATE_SECONDS: Final = 30.0
"""How long a transaction may take. Its positions are given when it writes, and are seen when it commits: what others
have recorded meanwhile stands behind them."""

OVERLAP: Final = 200
"""Positions that are looked at once more at least."""

MOST_OVERLAP: Final = 10_000
"""And at most."""


class Following:
    """Looks for what is new in a store. since: unix seconds; 0.0: from now on."""

    def __init__(self, archive: Archive, since: float = 0.0) -> None:
        self._archive = archive
        self._seen: dict[str, None] = {}
        self._position = archive.before(since) if since else self._begin()
        begin = self._position if since else min(self._position, archive.before(time.time() - LATE_SECONDS))
        self._looks = deque([(time.monotonic(), begin)])

    def _begin(self) -> int:
        seen, position = self._archive.newest(MOST_OVERLAP)
        self._seen.update(dict.fromkeys(seen))
        return position

    def more(self) -> list[Delivery]:
        """What has been recorded since the last look, a page of it, without bodies; none: that was all."""
        found, position = self._archive.since(self._position)
        # Of a long past there is more behind these.
        late = [] if found else self._archive.behind(self._overlap(), self._position, self._seen)
        self._position = position
        new = [one for one in (*late, *found) if one.id not in self._seen]
        self._seen.update(dict.fromkeys(one.id for one in new))
        while len(self._seen) > 2 * MOST_OVERLAP:
            del self._seen[next(iter(self._seen))]
        return new

    def _overlap(self) -> int:
        """The position from which on something may still appear."""
        now = time.monotonic()
        self._looks.append((now, self._position))
        while self._looks[1][0] < now - LATE_SECONDS:
            self._looks.popleft()
        begin = min(self._looks[0][1], self._position - OVERLAP)
        return max(begin, self._position - MOST_OVERLAP, 0)
