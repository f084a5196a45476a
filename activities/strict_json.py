"""JSON readers: a strict one, which refuses JSON that two readers could understand differently, and a lenient one."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Final, NoReturn

from workflows.nesting import MOST_LEVELS


class NotStrictJSON(ValueError):
    """The bytes are not JSON, or JSON that readers disagree on. The message says which, and never quotes the bytes."""


def loads(body: bytes) -> Any:
    """Read UTF-8 JSON; raises `NotStrictJSON`, also for repeated keys, NaN, lone surrogates or more than 64 levels."""
    try:
        text = body.decode("utf-8")
        value = _STRICT.decode(text)
        _check_depth(value, 0)
        if "\\u" in text:
            # An escaped lone surrogate can be parsed, but fails wherever it is encoded.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except NotStrictJSON:
        raise
    except UnicodeDecodeError as error:
        raise NotStrictJSON("not UTF-8") from error
    except UnicodeEncodeError as error:
        raise NotStrictJSON("a lone surrogate") from error
    except RecursionError as error:
        raise NotStrictJSON("nested too deeply") from error
    except ValueError as error:
        # JSONDecodeError, or a ValueError of int for more than 4,300 digits.
        raise NotStrictJSON("not JSON") from error
    return value


def loads_lenient(text: str) -> Any:
    """Read JSON that only some readers accept; raises `NotStrictJSON`, also for more than 64 levels.

    NaN, infinite numbers and lone surrogates are kept. The value of a repeated key is `REPEATED`.
    """
    try:
        value = json.loads(text, object_pairs_hook=_marked)
        _check_depth(value, 0)
    except NotStrictJSON:
        raise
    except RecursionError as error:
        raise NotStrictJSON("nested too deeply") from error
    except ValueError as error:
        raise NotStrictJSON("not JSON") from error
    return value


class Repeated(Enum):
    """Takes the place of the values of a key that an object has twice: two readers would pick different values."""

    REPEATED = "a repeated key"


REPEATED: Final = Repeated.REPEATED


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        members[key] = REPEATED if key in members else value
    return members


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrictJSON("a repeated key")
    return members


def _reject_constant(constant: str) -> NoReturn:
    raise NotStrictJSON("NaN or Infinity")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise NotStrictJSON("a number out of range")
    return number


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_reject_constant, parse_float=_finite)


def _check_depth(value: Any, depth: int) -> None:
    if depth > MOST_LEVELS:
        raise NotStrictJSON("nested too deeply")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        _check_depth(child, depth + 1)
