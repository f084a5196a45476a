"""Durations and moments as people write them: a number and a unit, such as 90s or 2h, or a time in ISO 8601."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def duration_of(text: str, what: str = "duration", example: str = "90s or 2h") -> float:
    """Return the seconds of a duration such as 30d; raises `ValueError` for anything else. what: names it there."""
    if not (found := re.fullmatch(r"([0-9]{1,6})([smhdw])", text)):
        units = ", ".join(UNITS)
        raise ValueError(f"invalid {what} {text!r}: use a number and one of {units}, such as {example}")
    return float(int(found[1]) * UNITS[found[2]])


def moment_of(what: str, text: str, *, ahead: bool = False) -> float:
    """Return the unix seconds of `2h`, or of an ISO 8601 time, which is UTC if it names no zone; raises `ValueError`.

    ahead: `2h` is in two hours; otherwise it was two hours ago. what: names it in the error.
    """
    if re.fullmatch(r"[0-9]+[smhdw]", text):
        return time.time() + (1 if ahead else -1) * duration_of(text)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        kind = "a duration" if ahead else "an age"
        raise ValueError(
            f"invalid {what} {text!r}: use {kind} such as 2h, or a time such as 2026-01-31T12:00"
        ) from error


def date_of(what: str, text: str, *, ahead: bool = False) -> datetime:
    """Return the time of `moment_of` in UTC; raises `ValueError`, also for a year that no date has."""
    at = moment_of(what, text, ahead=ahead)
    try:
        return datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"invalid {what} {text!r}: it is before the year 1 or after 9999") from error


def end_of(what: str, text: str) -> float:
    """Return the unix seconds of a moment to come; raises `ValueError`, also for one that is over."""
    end = date_of(what, text, ahead=True)
    if end.timestamp() <= time.time():
        raise ValueError(f"{what} {end:%Y-%m-%d %H:%M:%S} UTC is over: name a time to come")
    return end.timestamp()


def short_duration(seconds: float | None) -> str:
    """Return a duration in three digits and the largest fitting unit, such as `850ms`, `3.25m` or `6h`; "" for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{round(1000 * seconds)}ms"
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds >= UNITS[unit])
    return f"{float(f'{seconds / UNITS[unit]:.3g}'):g}{unit}"
