"""Nesting of JSON values: a value that is nested too deeply cannot be encoded again, and would block its run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

MOST_LEVELS: Final = 64
"""Maximum levels of nested data: of a callback's body, of an answer, and of what a run keeps."""

LEAVES: Final = frozenset({str, int, float, bool, type(None)})
"""The types of JSON values without members. Most values are such, and `isinstance` is slow in a workflow's sandbox."""


def is_deeper(value: Any, levels: int = MOST_LEVELS) -> bool:
    """Whether the value has more than `levels` levels of nested lists and objects."""
    # Iterative: a recursive function would fail on exactly the values that it should find.
    within: list[Any] = [value]
    for _ in range(levels + 1):
        within = [inner for outer in within for inner in _members(outer)]
    return bool(within)


def _members(value: Any) -> Iterable[Any]:
    if type(value) in LEAVES:
        return ()
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
