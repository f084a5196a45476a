"""Read partners' JSON: an object, and the values at paths in it. Unexpected JSON raises `Unreadable`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element

import httpx

from activities.partners.received import Received, Unreadable

LONE_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
"""Half a character, which a lenient reader keeps: UTF-8 cannot encode it."""


def read_object(sent: Received | httpx.Response) -> dict[str, Any]:
    """Parse the body of a request or a response as a JSON object; raises `Unreadable`."""
    value = sent.json() if isinstance(sent, Received) else Received(sent.content).json()
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return value


def text_at(value: Any, *path: str) -> str:
    """Return the text at `path`, or an integer as its digits; for anything else raises `Unreadable`, with the path."""
    value = _at(value, path)
    if type(value) is int:
        return str(value)
    if not isinstance(value, str) or LONE_SURROGATE.search(value):
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


def items_at(value: Any, *path: str) -> list[Any]:
    """Return the list at `path`; for anything else raises `Unreadable`, with the path."""
    value = _at(value, path)
    if not isinstance(value, list):
        raise Unreadable(f"no list at {'.'.join(path)}")
    return value


def _at(value: Any, path: tuple[str, ...]) -> Any:
    """The value at the path: in JSON or a form by key, in XML by the name of an element in any namespace."""
    for name in path:
        if isinstance(value, Element):
            value = value.find(f"{{*}}{name}")
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return (value.text or "") if isinstance(value, Element) else value
