"""Durations in seconds."""

from typing import Final

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def describe(seconds: float) -> str:
    """The duration in words, in the largest unit of which it is a whole number: `30 days`, `90 s`."""
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        count, rest = divmod(seconds, unit)
        if count and not rest:
            return f"{count:g} {name}" + ("s" if count > 1 else "")
    return f"{seconds:.15g} s"
