"""Buckets of histograms, in seconds."""

from __future__ import annotations

from typing import Final

from workflows.durations import DAY, HOUR

LATENCIES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Callbacks are answered within 2.5 s."""

CALL_TIMES: Final = (1.0, 10.0, 60.0, 600.0, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 30 * DAY)
"""Partners answer at once, or after weeks."""
