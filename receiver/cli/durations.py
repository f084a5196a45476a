"""Durations and moments on the command line: a number and a unit, such as 90s or 2h, or a time in ISO 8601."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

import click

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def read_duration(text: str, what: str = "duration", example: str = "90s or 2h") -> float:
    """Return the seconds of a duration such as 30d; raises a usage error for anything else. what: names it there."""
    if not (found := re.fullmatch(r"([0-9]{1,6})([smhdw])", text)):
        units = ", ".join(UNITS)
        raise click.BadParameter(f"invalid {what} {text!r}: use a number and one of {units}, such as {example}")
    return float(int(found[1]) * UNITS[found[2]])


def read_moment(option: str, text: str, *, ahead: bool = False) -> float:
    """Return the unix seconds of `2h`, or of an ISO 8601 time, which is UTC if it names no zone.

    ahead: `2h` is in two hours; otherwise it was two hours ago. option: names it in the usage error.
    """
    if re.fullmatch(r"[0-9]+[smhdw]", text):
        return time.time() + (1 if ahead else -1) * read_duration(text)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        what = "a duration" if ahead else "an age"
        raise click.BadParameter(
            f"invalid {option} {text!r}: use {what} such as 2h, or a time such as 2026-01-31T12:00"
        ) from error


def short_duration(seconds: float | None) -> str:
    """Return a duration in three digits and the largest fitting unit, such as `850ms`, `3.25m` or `6h`; "" for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{round(1000 * seconds)}ms"
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds >= UNITS[unit])
    return f"{float(f'{seconds / UNITS[unit]:.3g}'):g}{unit}"
