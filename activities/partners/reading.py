"""Read partners' JSON: an object, and the values at paths in it. Unexpected JSON raises `Unreadable`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from activities import strict_json
from activities.partners.partner import Unreadable


def read_object(body: bytes) -> dict[str, Any]:
    """Parse the body as a JSON object; raises `Unreadable`."""
    try:
        value = strict_json.loads(body)
    except strict_json.NotStrictJSON as error:
        raise Unreadable(str(error)) from error
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return value


def text_at(value: Any, *path: str) -> str:
    """Return the text at `path`, or an integer as its digits; for anything else raises `Unreadable`, with the path."""
    value = _at(value, path)
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise Unreadable(f"no text at {'.'.join(path)}")
    return value


def text_or_empty(value: Any, *path: str) -> str:
    """Return the text at `path`, or an integer as its digits; "" for anything else."""
    try:
        return text_at(value, *path)
    except Unreadable:
        return ""


def object_or_empty(value: Any, *path: str) -> dict[str, Any]:
    """Return the object at `path`, {} if missing or null; for anything else raises `Unreadable`, with the path."""
    value = _at(value, path)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unreadable(f"no object at {'.'.join(path)}")
    return value


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
