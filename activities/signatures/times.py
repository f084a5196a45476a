"""Times: the spellings of a timestamp in a signed request.

Every spelling has a beginning and an end of its own, or is stale once a digit is added or removed. So a forger cannot
move characters between a timestamp and the text beside it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

NAMES: Final = {"s": "unix seconds", "ms": "unix milliseconds", "iso": "ISO 8601 with a time zone"}
TIME_UNITS: Final = tuple(NAMES)

MS_DIGITS: Final = re.compile(r"[0-9]{1,15}")
S_DIGITS: Final = re.compile(r"[0-9]{1,12}")
ISO: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
LOOKS_LIKE_MS: Final = re.compile(r"[0-9]{13}")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

EXPECTED: Final = {
    "s": "use 1 to 12 decimal digits",
    "ms": "use 1 to 15 decimal digits, which are milliseconds",
    "iso": "use ISO 8601 with a time zone, such as 2027-01-15T08:00:00Z",
}


def read_milliseconds(text: str, unit: str) -> int:
    """Return the unix time in milliseconds; raises ValueError, which says what is expected."""
    if unit == "s" and S_DIGITS.fullmatch(text):
        return int(text) * 1000
    if unit == "ms" and MS_DIGITS.fullmatch(text):
        return int(text)
    if unit == "iso" and ISO.fullmatch(text):
        return _read_iso(text)
    raise ValueError(f"{EXPECTED[unit]}{_hint(text, unit)}")


def write_time(now: float, unit: str) -> str:
    """Write the time, to sign with it."""
    if unit == "iso":
        return (EPOCH + timedelta(seconds=int(now))).isoformat().replace("+00:00", "Z")
    return str(int(now * 1000) if unit == "ms" else int(now))


def looks_like(text: str) -> str:
    """Return the unit of a current timestamp, or ""."""
    if LOOKS_LIKE_MS.fullmatch(text):
        return "ms"
    if ISO.fullmatch(text):
        return "iso"
    return "s" if re.fullmatch(r"[0-9]{10}", text) else ""


def _read_iso(text: str) -> int:
    try:
        return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise ValueError("invalid date or time: use one that exists, such as 2027-01-15T08:00:00Z") from error


def _hint(text: str, unit: str) -> str:
    names = {"ms": "these are milliseconds", "iso": "this is ISO 8601", "s": "these are seconds"}
    found = looks_like(text)
    return f'; {names[found]}: time_unit="{found}"' if found and found != unit else ""
