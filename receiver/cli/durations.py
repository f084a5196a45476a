"""Durations on the command line: a number and a unit, such as 90s or 2h."""

from __future__ import annotations

import re
from typing import Final

import click

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def read_duration(text: str, what: str = "duration", example: str = "90s or 2h") -> float:
    """Return the seconds of a duration such as 30d; raises a usage error for anything else. what: names it there."""
    if not (found := re.fullmatch(r"([0-9]{1,6})([smhdw])", text)):
        units = ", ".join(UNITS)
        raise click.BadParameter(f"invalid {what} {text!r}: use a number and one of {units}, such as {example}")
    return float(int(found[1]) * UNITS[found[2]])
