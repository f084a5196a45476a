"""Following: yield each delivery once, as it is recorded."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.filters import Filters

COMMIT_LAG_SECONDS: Final = 30.0
"""Seconds that a transaction may take. It gets its positions when it writes, but they become visible when it commits.

For example, process A writes position 5, B writes and commits 6, then A commits: 5 appears after 6.
"""

OVERLAP_POSITIONS: Final = 200
"""The minimum number of positions to look at again."""

MOST_OVERLAP_POSITIONS: Final = 10_000
"""The maximum number of positions to look at again."""

TAIL_OPEN: Final = 10_000
"""Deliveries that are looked at again until their fate is final. If there are more, the oldest are dropped."""


class FilteredFollowing:
    """Looks for new deliveries that match filters, each once: at once, or as soon as it matches."""

    def __init__(self, archive: Archive, filters: Filters) -> None:
        self._archive = archive
        self._filters = filters
        self._following = Following(archive, filters.since)
        self._open: list[str] = []
        self._new: list[Delivery] | None = None

    def more(self) -> tuple[list[Delivery], bool]:
        """Return the deliveries, without bodies, that match since the last look, and whether there may be more now.

        If it raises `StoreAway`, the next look loses nothing.
        """
        if self._new is None:
            self._new = self._following.more()
        changed, still_open = self._archive.later(self._open, self._filters)
        new, self._new = self._new, None
        waiting = [one.id for one in new if self._filters.may_match(one) and not self._filters.matches(one)]
        self._open = [*still_open, *waiting][-TAIL_OPEN:]
        return [*changed, *filter(self._filters.matches, new)], bool(new)


class Following:
    """Looks for new deliveries in a store. since: unix seconds; None means from now on."""

    def __init__(self, archive: Archive, since: float | None = None) -> None:
        self._archive = archive
        self._seen: dict[str, None] = {}
        self._position = self._begin() if since is None else archive.before(since)
        begin = (
            self._position
            if since is not None
            else min(self._position, archive.before(time.time() - COMMIT_LAG_SECONDS))
        )
        self._looks = deque([(time.monotonic(), begin)])

    def _begin(self) -> int:
        seen, position = self._archive.newest(MOST_OVERLAP_POSITIONS)
        self._seen.update(dict.fromkeys(seen))
        return position

    def more(self) -> list[Delivery]:
        """Return a page of the deliveries recorded since the last look, without bodies; [] if there are no more."""
        found, position = self._archive.since(self._position)
        # After a page there may be more pages. Look for late deliveries only after the last page.
        late = [] if found else self._archive.behind(self._overlap(), self._position, self._seen)
        self._position = position
        new = [one for one in (*late, *found) if one.id not in self._seen]
        self._seen.update(dict.fromkeys(one.id for one in new))
        while len(self._seen) > 2 * MOST_OVERLAP_POSITIONS:
            del self._seen[next(iter(self._seen))]
        return new

    def _overlap(self) -> int:
        """Return the first position at which a delivery may still appear."""
        now = time.monotonic()
        self._looks.append((now, self._position))
        while self._looks[1][0] < now - COMMIT_LAG_SECONDS:
            self._looks.popleft()
        begin = min(self._looks[0][1], self._position - OVERLAP_POSITIONS)
        return max(begin, self._position - MOST_OVERLAP_POSITIONS, 0)
