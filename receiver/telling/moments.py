"""Moments and durations in words."""

from __future__ import annotations

from datetime import UTC, datetime

from workflows.durations import DAY, HOUR, MINUTE


def utc_text(at: float | None) -> str:
    """Return a moment in UTC, to the second; the unix seconds for a year that no date has; "" for None."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # as another client or an earlier version may have written it
        return f"{at:.0f}"


def deadline_text(at: float | None, now: float) -> str:
    """How far a deadline is, such as `in 2h 5m` or `5m overdue`; "" for None. Unix seconds."""
    if at is None:
        return ""
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} overdue"


def span(seconds: float) -> str:
    """A duration in its two largest units: `2d 3h`, `5m 10s`, `42s`."""
    rest, parts = max(0, int(seconds)), list[str]()
    for unit, sign in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (1, "s")):
        count, rest = divmod(rest, int(unit))
        if count or parts:
            parts.append(f"{count}{sign}")
    return " ".join(part for part in parts[:2] if not part.startswith("0")) or "0s"
