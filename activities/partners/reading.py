"""Reading partners' JSON: an object, and what is where in it; everything else is `Unreadable`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from activities import strict_json
from activities.partners.partner import Unreadable


def read_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object; raises `Unreadable`."""
    try:
        value = strict_json.loads(body)
    except strict_json.NotStrictJSON as error:
        raise Unreadable(str(error)) from error
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return value


def text_at(value: Any, *path: str) -> str:
    """The text at `path`; raises `Unreadable`, naming the path, if there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        raise Unreadable(f"no text at {'.'.join(path)}")
    return value


def text_or_empty(value: Any, *path: str) -> str:
    """The text at `path`, or "" if there is none."""
    try:
        return text_at(value, *path)
    except Unreadable:
        return ""
