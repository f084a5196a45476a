"""Guarded reading of recorded values: signals' arguments and activities' results.

If a workflow raises while it reads its history, its run blocks for ever, and a newer version of a partner's file cannot
change the recorded value. So every value is read here, and an unusable value becomes a described flaw instead of a
converter's exception.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.converter import value_to_type

from workflows.contract import Answer, Receipt
from workflows.nesting import MOST_LEVELS, is_deeper

T = TypeVar("T")

SOUND_RESULTS: Final = "sound-activity-results"
SHALLOW_CALLBACKS: Final = "shallow-callbacks"
"""Names of patches: an earlier version accepted NaN, lone surrogates and deeply nested data, and replays of its runs
must accept these too."""


class Broken(Exception):
    """A recorded value that cannot be used. The message names the field and does not quote the value."""


def convert(hint: type[T], value: Any) -> T:
    """Convert a decoded JSON value; raises `Broken`."""
    try:
        converted: T = value_to_type(hint, value)
    except Exception as error:
        # The converter documents TypeError, but also raises what constructors and comparisons raise.
        raise Broken(f"not a valid {hint.__name__}") from error
    return converted


def is_sound(value: Any) -> bool:
    """Whether a decoded JSON value can be encoded: NaN and lone surrogates fail in later activities and queries."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def read_receipt(result: RawValue | None) -> tuple[Receipt, str]:
    """Read the usable parts of the result of `call_partner`; return them with a description of the flaws, or "".

    Each part is read separately, so that a broken answer does not lose the reference.
    """
    try:
        value = _decoded_json(result)
    except Broken as error:
        return Receipt(), str(error)
    if not isinstance(value, Mapping):
        return Receipt(), f"expected a Receipt, got {kind(value)}"
    flaws: list[str] = []

    def part(read: Callable[[Any], T], name: str, default: T) -> T:
        try:
            return read(value.get(name, default))
        except Broken as error:
            flaws.append(str(error))
            return default

    reference = part(_recorded_reference, "reference", "")
    askable = value.get("askable") is True and not flaws  # asking needs the reference
    answer = part(_answer_if_any, "answer", None)
    note = part(_recorded_note, "note", "")
    return Receipt(reference=reference, answer=answer, askable=askable, note=note), "; ".join(flaws)


def read_answer(result: RawValue | None) -> Answer:
    """Read the result of `ask_partner`; raises `Broken`."""
    return _recorded_answer(_decoded_json(result))


def kind(value: Any) -> str:
    """The type of a value, for messages: `null`, `an int`."""
    name = type(value).__name__
    return "null" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _decoded_json(result: RawValue | None) -> Any:
    if result is None:
        return None
    try:
        return workflow.payload_converter().from_payload(result.payload)
    except Exception as error:
        raise Broken("the result is not JSON") from error


def _recorded_answer(value: Any) -> Answer:
    if not isinstance(value, Mapping):
        raise Broken(f"expected an Answer, got {kind(value)}")
    for name in ("code", "message"):
        _recorded_text(f"Answer.{name}", value.get(name, ""))
    if not isinstance(value.get("data", {}), Mapping):
        raise Broken(f"Answer.data is {kind(value['data'])}: return a JSON object")
    answer = convert(Answer, value)
    _check_sound("Answer", value)
    return answer


def _answer_if_any(value: Any) -> Answer | None:
    return None if value is None else _recorded_answer(value)


def _recorded_reference(value: Any) -> str:
    return _recorded_text("Receipt.reference", value)


def _recorded_note(value: Any) -> str:
    return _recorded_text("Receipt.note", value)


def _recorded_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Broken(f"{name} is {kind(value)}: return text")
    _check_sound(name, value)
    return value


def _check_sound(name: str, value: Any) -> None:
    # Call `patched` only for unsound values, so that no other history gets the patch's marker.
    if is_deeper(value, MOST_LEVELS + 1) and workflow.patched(SOUND_RESULTS):
        raise Broken(f"{name} is nested more than {MOST_LEVELS} levels deep")
    if not is_sound(value) and workflow.patched(SOUND_RESULTS):
        raise Broken(f"{name} holds NaN, infinity or a lone surrogate: return what JSON and UTF-8 can hold")
