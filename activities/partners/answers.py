"""Answers: what a partner's file returns, checked before anything trusts it.

A partner's file may pass on values as its partner sent them: a number as the code, null as the message, a list as the
data. Such an answer would later be dropped, or block the run, far from the file that made it. So all code that takes an
answer from a partner's file checks it here first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from activities.partners.events import NOT_OURS, Event
from activities.partners.partner import Partner
from activities.partners.received import Part, Received, Unreadable
from activities.redaction.tokens import scrubbed_text
from workflows.contract import LARGEST_OUTCOME, Answer
from workflows.nesting import MOST_LEVELS
from workflows.stage_record import LONGEST_TEXT

STATUSES: Final = ("succeeded", "failed", "progress", "ask")


class BrokenAnswer(Exception):
    """A partner's file returned a value that cannot be recorded, or raised. The message names the field, no value."""


def read_event(partner: Partner, received: Received) -> Event | None:
    """Read a request with its partner's file; None for an event that is not ours.

    Returns a checked answer without callback tokens. Raises `Unreadable` if the file raises it. Raises `BrokenAnswer`
    for a value that cannot be recorded, and for any other exception of the file, which becomes its `__cause__`. That
    includes `SystemExit` and a panic in a Rust library, which would otherwise end the process.
    """
    try:
        event = partner.read_event(received)
        return None if event is NOT_OURS else _checked_event(event)
    except (Unreadable, BrokenAnswer, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise BrokenAnswer(f"read_event raised {type(error).__name__}") from error


def split(partner: Partner, received: Received) -> list[Part]:
    """Split a request with its partner's file; raises as `read_event` does."""
    assert partner.split is not None
    try:
        parts = list(partner.split(received))
    except (Unreadable, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise BrokenAnswer(f"split raised {type(error).__name__}") from error
    if not all(isinstance(part, Part) for part in parts):
        raise BrokenAnswer("split returned something else than parts: make each with received.part(...)")
    try:
        for part in parts:
            _ = part.raw
    except Exception as error:
        raise BrokenAnswer("split made a part of something else than bytes, text and JSON values") from error
    return parts


def _checked_event(event: Any) -> Event:
    if not isinstance(event, Event):
        raise BrokenAnswer(f"expected an Event or NOT_OURS, got {_kind(event)}")
    return Event(
        scrubbed(checked(event.answer)),
        checked_text("Event.token", event.token),
        checked_reference(event.reference, name="Event.reference"),
    )


def words_of(error: Exception) -> str:
    """Return an exception's text for an answer or a record: short, in UTF-8, without callback tokens and NUL."""
    # PostgreSQL takes no NUL.
    return scrubbed_text(str(error).encode("utf-8", "replace").decode().replace("\0", "?"))[:LONGEST_TEXT]


def checked(answer: Any) -> Answer:
    """Return a copy of the answer that a history can record; raises `BrokenAnswer` for any value that it cannot.

    The code and message are text. The data is a JSON object of plain values (text, finite numbers, booleans, null,
    lists, objects), at most 64 levels deep. All text is encodable as UTF-8. The answer has at most `LARGEST_OUTCOME`
    bytes. The copy holds plain `dict`, `list` and `str` only, even where the file used subclasses of them.
    """
    if not isinstance(answer, Answer):
        raise BrokenAnswer(f"expected an Answer, got {_kind(answer)}")
    status = next((one for one in STATUSES if isinstance(answer.status, str) and one == answer.status), None)
    if status is None:
        raise BrokenAnswer(f"unknown Answer.status: use one of {', '.join(STATUSES)}")
    if not isinstance(answer.data, Mapping):
        raise BrokenAnswer(f"Answer.data is {_kind(answer.data)}: return a JSON object")
    plain = Answer(
        status,
        data=_Data().object("Answer.data", answer.data, 0),
        code=checked_text("Answer.code", answer.code),
        message=checked_text("Answer.message", answer.message),
    )
    if plain.size > LARGEST_OUTCOME:
        raise BrokenAnswer(f"the Answer has more than {LARGEST_OUTCOME} bytes: return what matters")
    return plain


def checked_reference(reference: Any, *, name: str = "Receipt.reference") -> str:
    """Return the partner's id of the work as text: an integer as its digits, null as "". Raises `BrokenAnswer`."""
    if reference is None:
        return ""
    if type(reference) is int:
        reference = _digits(name, reference)
    return checked_text(name, reference)


def checked_text(name: str, value: Any) -> str:
    """Return text as a plain `str`; raises `BrokenAnswer`, with `name`, for other values and text invalid in UTF-8."""
    if not isinstance(value, str):
        raise BrokenAnswer(f"{name} is {_kind(value)}: return text")
    try:
        return value.encode().decode()  # makes a plain str of a StrEnum's member
    except UnicodeEncodeError:
        raise BrokenAnswer(f"{name} holds a lone surrogate: return text that UTF-8 can encode") from None


def scrubbed(answer: Answer) -> Answer:
    """Replace each callback token in a checked answer's code, message and data (keys and values) by `[removed]`."""
    return Answer(
        answer.status,
        data=_scrubbed_value(answer.data),
        code=scrubbed_text(answer.code),
        message=scrubbed_text(answer.message),
    )


def _scrubbed_value(value: Any) -> Any:
    match value:
        case str():
            return scrubbed_text(value)
        case Mapping():
            return {scrubbed_text(key): _scrubbed_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_scrubbed_value(inner) for inner in value]
    return value


class _Data:
    """Copies a JSON object. It counts the values, so that a list that contains itself is rejected, not endless."""

    def __init__(self) -> None:
        self._left = LARGEST_OUTCOME

    def object(self, name: str, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        """Copy an object; raises `BrokenAnswer`."""
        return {checked_text(f"a key of {name}", key): self._value(name, inner, depth) for key, inner in value.items()}

    def _value(self, name: str, value: Any, depth: int) -> Any:
        self._left -= 1  # each value has at least one byte as JSON
        if self._left < 0:
            raise BrokenAnswer(f"the Answer has more than {LARGEST_OUTCOME} bytes: return what matters")
        if depth >= MOST_LEVELS:
            raise BrokenAnswer(f"{name} is nested more than {MOST_LEVELS} levels deep")
        match value:
            case str():
                return checked_text(name, value)
            case Mapping():
                return self.object(name, value, depth + 1)
            case list() | tuple():
                return [self._value(name, inner, depth + 1) for inner in value]
        return _scalar(name, value)


def _scalar(name: str, value: Any) -> Any:
    match value:
        case None | True | False:
            return value
        case int():
            return int(_digits(name, value))
        case float():
            if not math.isfinite(value):
                raise BrokenAnswer(f"{name} holds NaN or Infinity: return finite numbers")
            return float(value)
    raise BrokenAnswer(f"{name} holds {_kind(value)}: return JSON values only")


def _digits(name: str, value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:  # more than 4,300 digits
        raise BrokenAnswer(f"{name} holds a number that is too long: return text") from None


def _kind(value: Any) -> str:
    """Return the value's type with an article, such as `a list` or `an int`; `null` for None."""
    kind = "null" if value is None else type(value).__name__
    return kind if value is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
