"""Finding: where a captured callback names its events, the work's status, the work itself and our callback URL.

The names are guesses by what partners use. The command prints what it found, for the user to correct.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from activities.environment import is_text
from activities.redaction.tokens import tokens
from receiver.cli.partner.forms import FieldPath, at
from receiver.cli.signature.captured import PLACEHOLDER

STATUS_NAMES: Final = (
    *("status", "state", "result", "type", "event", "eventtype", "action", "eventcode", "webhookcode", "changetype"),
    *("eventname", "outcome"),
)
"""Names of a status, the likeliest first, in lower case and without `-` and `_`."""

EVENT_LISTS: Final = ("events", "notifications", "notificationitems")
"""Names of a list of events, even in a body that has a status of its own."""

OTHERS: Final = ("account", "config", "customer", "delivery", "event", "merchant", "request", "user", "webhook")
"""In a name such as `account_id`: the id is not that of the work."""


@dataclass(frozen=True)
class FoundPaths:
    """What was found in a body. Paths lead from an event.

    events: the path of the list of events, or None for a body that is an event itself. event: the first event.
    status: the path of the status, or of any text if `names_status` is false. seen: the text there.
    reference: the path of the work's id, or () if there is none. token: the path of our callback URL, or ().
    """

    events: FieldPath | None
    event: Any
    status: FieldPath
    seen: str
    names_status: bool = True
    reference: FieldPath = ()
    token: FieldPath = ()


def find(body: Any) -> FoundPaths | None:
    """Find these paths in a body, as its form reads it; None for a body without any text, or with an empty list."""
    events = _events_in(body)
    event = body if events is None else at(body, events)[0]
    texts = list(_texts(event))
    if not texts:
        return None
    status = min((one for one in texts if _status_rank(one[0]) is not None), key=_status_key, default=None)
    path, seen = status or texts[0]
    reference = _reference_in(texts, path if status else ())
    token = next((path for path, text in texts if _is_token(text)), ())
    return FoundPaths(events, event, path, seen, names_status=status is not None, reference=reference, token=token)


def _events_in(body: Any) -> FieldPath | None:
    """The path of a list of events: the body itself, or a list with a telling name, or one while nothing else fits."""
    if isinstance(body, list):
        return () if _is_list_of_objects(body) else None
    lists = [
        path for path, value in _levels(body) if isinstance(value, list) and value and isinstance(value[0], Mapping)
    ]
    named = [path for path in lists if _plain(path[-1]) in EVENT_LISTS]
    if named:
        return named[0]
    has_status = any(_status_rank(path) is not None for path, _ in _texts(body))
    return None if has_status or not lists else lists[0]


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _levels(value: Any) -> Iterator[tuple[FieldPath, Any]]:
    """Yield every value in objects within objects, with its path, level by level."""
    level: list[tuple[FieldPath, Any]] = [((), value)]
    while level:
        yield from level
        level = [
            ((*path, name), inner)
            for path, outer in level
            if isinstance(outer, Mapping)
            for name, inner in outer.items()
            if isinstance(name, str) and is_text(name)
        ]


def _texts(value: Any) -> Iterator[tuple[FieldPath, str]]:
    for path, inner in _levels(value):
        if path and isinstance(inner, str) and is_text(inner):
            yield path, inner
        elif path and type(inner) is int:
            yield path, str(inner)


def _plain(name: str) -> str:
    return re.sub("[-_]", "", name).lower()


def _status_rank(path: FieldPath) -> int | None:
    name = _plain(path[-1])
    if name in STATUS_NAMES:
        return STATUS_NAMES.index(name)
    return len(STATUS_NAMES) if name.endswith(("status", "state")) else None


def _status_key(found: tuple[FieldPath, str]) -> tuple[int, int]:
    return len(found[0]), _status_rank(found[0]) or 0


def _reference_in(texts: list[tuple[FieldPath, str]], status: FieldPath) -> FieldPath:
    """The path of the likeliest id of the work: the deepest `id`, else a name that ends so. The status is none."""
    found = [path for path, text in texts if text and path != status and _id_rank(path) is not None]
    return min(found, key=lambda path: (_id_rank(path) or 0, -len(path)), default=())


def _id_rank(path: FieldPath) -> int | None:
    name = _plain(path[-1])
    if name == "id":
        return 0
    if not name.endswith(("id", "reference", "sid")):
        return None
    return 2 if any(word in name for word in OTHERS) else 1


def _is_token(text: str) -> bool:
    return bool(PLACEHOLDER.search(text.encode())) or any(True for _ in tokens(text.encode()))
