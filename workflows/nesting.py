"""How deeply a JSON value is nested: one that is too deep cannot be encoded again, and would block its run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

MOST_LEVELS: Final = 64
"""Levels of nested data, as many as the receiver takes in a callback."""


def is_deeper(value: Any, levels: int = MOST_LEVELS) -> bool:
    """Whether a value lies more than so many levels of lists and objects deep within this one."""
    # Level by level, because a function that calls itself fails on the values that this one is to find.
    within: list[Any] = [value]
    for _ in range(levels + 1):
        within = [inner for outer in within for inner in _members(outer)]
    return bool(within)


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
