"""SlowGauges: gauges that cost a query of Temporal or the store. They are asked for at most once a minute.

Any number of scrapes share a result, and no scrape waits long for it: other metrics must not depend on Temporal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import Metric

logger = logging.getLogger("stagehook.metrics")


@dataclass(frozen=True)
class GaugeTiming:
    """In seconds. every: between two questions. wait: that a scrape waits for an answer. within: the limit of a
    question. lasts: how long a result is shown if no newer one follows."""

    every: float = 60.0
    wait: float = 1.0
    within: float = 10.0
    lasts: float = 180.0


DEFAULT_GAUGE_TIMING: Final = GaugeTiming()


class SlowGauges:
    """Some gauges with one source.

    source: its name in the log. ask: returns the gauges; it raises `GaugesAway` if the source cannot be asked.
    """

    def __init__(
        self, source: str, ask: Callable[[], Awaitable[Sequence[Metric]]], timing: GaugeTiming = DEFAULT_GAUGE_TIMING
    ) -> None:
        self._source = source
        self._ask = ask
        self._timing = timing
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = self._found_at = float("-inf")
        self._found: Sequence[Metric] = ()
        self._is_away = False

    async def read(self) -> Sequence[Metric]:
        """The gauges, or nothing if they are not known."""
        if self._asking is None and time.monotonic() - self._asked_at >= self._timing.every:
            self._asked_at = time.monotonic()
            self._asking = asyncio.create_task(self._find())
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=self._timing.wait)
        return self._found if time.monotonic() - self._found_at < self._timing.lasts else ()

    async def _find(self) -> None:
        try:
            async with asyncio.timeout(self._timing.within):
                self._found = await self._ask()
        except (GaugesAway, TimeoutError) as away:
            self._note_away(str(away) or f"no answer within {self._timing.within:g} s")
        except Exception:
            logger.exception("gauges-failed", extra={"source": self._source})
        else:
            self._found_at = time.monotonic()
            self._is_away = False
        finally:
            self._asking = None

    def _note_away(self, why: str) -> None:
        """Log once that the source cannot be asked, until it answers again."""
        if not self._is_away:
            logger.warning("gauges-away", extra={"source": self._source, "why": why})
        self._is_away = True


class GaugesAway(Exception):
    """The source of gauges cannot be asked. The message says why."""
