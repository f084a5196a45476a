"""What a partner's file returns, checked before anything trusts it.

A partner's file reads what its partner sends, and hands on what stands there: a number for a code, null for a reason, a
list for data. Such an answer would be dropped, or would stick the run, far from the file that made it. Every border
that takes an answer from a file checks it here first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from workflows.contract import LARGEST_OUTCOME, Answer

STATUSES: Final = ("succeeded", "failed", "progress", "ask")
MAX_DEPTH: Final = 64
"""Levels of nested data, as many as `activities.strict_json` reads."""


class BrokenAnswer(Exception):
    """A partner's file returned a value that cannot travel. The message names the field, and quotes no value."""


def checked(answer: Any) -> Answer:
    """Return an answer that can travel into a history; raises `BrokenAnswer` for any other value.

    Its code and message are text. Its data is a JSON object of plain values (text, finite numbers, booleans, null,
    lists, objects) at most 64 levels deep. All text is encodable as UTF-8, and it has at most `LARGEST_OUTCOME` bytes.
    """
    if not isinstance(answer, Answer):
        raise BrokenAnswer(f"expected an Answer, got {type(answer).__name__}")
    if answer.status not in STATUSES:
        raise BrokenAnswer(f"unknown status: use one of {', '.join(STATUSES)}")
    for name in ("code", "message"):
        checked_text(f"Answer.{name}", getattr(answer, name))
    if not isinstance(answer.data, Mapping):
        raise BrokenAnswer(f"Answer.data is {_kind(answer.data)}: return a JSON object")
    _check_value("Answer.data", answer.data, 0)
    if answer.size > LARGEST_OUTCOME:
        raise BrokenAnswer(f"the answer has {answer.size} bytes: pick at most {LARGEST_OUTCOME} bytes of what matters")
    return answer


def checked_reference(reference: Any) -> str:
    """Return the partner's id of the work as text: a whole number as its digits, null as ""; raises `BrokenAnswer`."""
    if reference is None:
        return ""
    if type(reference) is int:
        reference = str(reference)
    return checked_text("Receipt.reference", reference)


def checked_text(name: str, value: Any) -> str:
    """Return the value if it is text that UTF-8 can encode; raises `BrokenAnswer`, which calls it by that name."""
    if not isinstance(value, str):
        raise BrokenAnswer(f"{name} is {_kind(value)}: return text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BrokenAnswer(f"{name} holds a lone surrogate: return text that UTF-8 can encode") from error
    return value


def _check_value(name: str, value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BrokenAnswer(f"{name} is nested more than {MAX_DEPTH} levels deep")
    match value:
        case str():
            checked_text(name, value)
        case Mapping():
            for key, inner in value.items():
                checked_text(f"a key of {name}", key)
                _check_value(name, inner, depth + 1)
        case list() | tuple():
            for inner in value:
                _check_value(name, inner, depth + 1)
        case _:
            _check_scalar(name, value)


def _check_scalar(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, bool | int | float):
        raise BrokenAnswer(f"{name} holds a {type(value).__name__}: return JSON values only")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError as error:  # NaN, infinity, or an integer of more than 4,300 digits
        raise BrokenAnswer(f"{name} holds a number that JSON cannot have") from error


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
