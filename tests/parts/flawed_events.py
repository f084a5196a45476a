"""Events that a partner's file cannot read, and a file that splits requests."""

from __future__ import annotations

from typing import Any

from activities.partners.events import Event, NotOurs
from activities.partners.received import Received, Unreadable
from tests.parts.webhooks import (
    read_event,
    split,
)


def read_or_fail(received: Received) -> Event | NotOurs:
    """A file that cannot read some events, and is wrong about others."""
    match received.json():
        case {"bad": "unreadable"}:
            raise Unreadable("there is no reference")
        case {"bad": "broken"}:
            raise KeyError("reference")
    return read_event(received)


UNREADABLE, BROKEN = {"bad": "unreadable"}, {"bad": "broken"}
SPLITTING: dict[str, Any] = {"split": split, "read_event": read_or_fail}
