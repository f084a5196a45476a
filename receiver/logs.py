"""How the processes log: one line per event on stderr, for people or for machines.

For people, a line has the event's name and then its facts as key=value, and a traceback follows its event in indented
lines. For machines, a line is a JSON object, and a traceback is one of its fields. Untrusted text, such as the message
of an exception from a partner's file, stays within its line: it cannot forge an event or control a terminal.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, TypeAlias

from activities.redaction.tokens import scrubbed_text

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
    "temporal_log",
}

NESTED: Final = ("temporal_activity", "temporal_workflow")
"""Where Temporal's SDK puts the facts of a line: the ids of the activity or the workflow."""

RESERVED: Final = ("time", "level", "logger", "event", "traceback")
"""The fields of every line for machines. A fact with such a name gets an underscore at its end."""

FRAME: Final = re.compile(r'[ |+-]*File "[^"\n]*", line [0-9]+, in ')
TO_QUOTE: Final = re.compile("[ =\"']")
"""A character in a fact for people, because of which the fact is quoted."""

LONGEST_LINE: Final = 1_000
LONGEST_FACT: Final = 10_000
LONGEST_TRACEBACK: Final = 50_000
"""Characters."""

LONGEST_SEARCHED: Final = 16 * 1024
"""Characters of a traceback's line in which tokens are looked for: a token that begins in the part that is kept, with
each of its 4,096 characters escaped, ends here. The text of an exception may be as long as a body."""

LARGEST_NUMBER: Final = 2**53
"""Larger whole numbers are written as text: many readers of JSON would change them."""

DEEPEST: Final = 4
"""Levels of lists and objects in a fact for machines. What is deeper is written as text."""


class LineFormatter(logging.Formatter):
    """`2026-01-02T03:04:05Z INFO stagehook.callbacks callback verdict=accepted stage=2`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the event, and remove callback tokens, which a partner's file may have quoted.

        The times are in UTC. After the line comes a traceback in indented lines, each exception's text on one of them.
        """
        second = _second(int(record.created))
        words = [f"{second}Z {record.levelname} {record.name} {_printable(_message(record))}"]
        words += [f"{key}={_logfmt_value(value)}" for key, value in facts_of(record)]
        line = scrubbed_text(" ".join(words))
        if record.exc_info:
            traceback_ = "".join(f"\n    {one}" for one in _traceback_lines(record.exc_info))
            line += traceback_[:LONGEST_TRACEBACK].rstrip()
        return line


class JSONFormatter(logging.Formatter):
    """A JSON object in ASCII: `{"time": "2026-01-02T03:04:05.678Z", "level": "INFO", "logger": ..., "event": ...}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the event. Facts keep their types, and no text holds a callback token or a control character."""
        line: dict[str, Any] = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": _clean(record.name),
            "event": _clean(_message(record)),
        }
        for key, value in facts_of(record):
            name = _clean(key)
            line[f"{name}_" if name in RESERVED else name] = _plain(value)
        if record.exc_info and (lines := list(_traceback_lines(record.exc_info))):
            line["traceback"] = "\n".join(lines)[:LONGEST_TRACEBACK]
        return json.dumps(line, allow_nan=False)


def facts_of(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    """Yield the facts of an event, with those that Temporal's SDK and its core have nested."""
    for key, value in vars(record).items():
        if key in STANDARD or key.startswith("_"):
            continue
        if key in NESTED and isinstance(value, Mapping):
            yield from value.items()
        else:
            yield key, value
    if (core := getattr(record, "temporal_log", None)) is not None:
        yield "target", core.target
        yield from core.fields.items()


@lru_cache(maxsize=1)  # a busy second has hundreds of lines
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a library's arguments that do not fit its message
        return _text(record.msg)


def _plain(value: Any, deep: int = DEEPEST) -> Any:
    """A value for JSON: numbers, booleans and None as they are, and anything unknown as clean text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= LARGEST_NUMBER:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if deep and isinstance(value, Mapping):
        return {_clean(_text(key)): _plain(one, deep - 1) for key, one in value.items()}
    if deep and isinstance(value, list | tuple | set | frozenset):
        return [_plain(one, deep - 1) for one in value]
    return _clean(_text(value))


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return f"a {type(value).__name__}"


def _clean(text: str) -> str:
    """The text without callback tokens, with unprintable characters escaped, at most `LONGEST_FACT` long."""
    return scrubbed_text(_printable(text))[:LONGEST_FACT]


def _traceback_lines(ei: ExcInfo) -> Iterator[str]:
    """The lines of a traceback, each printable: the lines of a frame, or an exception's text as a single line.

    Tokens are removed before a line is cut: what a cut leaves of a token may not look like one.
    """
    if ei[0] is None:
        return
    for piece in traceback.TracebackException(*ei).format():
        lines = piece.rstrip("\n").split("\n") if FRAME.match(piece) else [piece.rstrip("\n")]
        for line in lines:
            yield scrubbed_text(_printable(line[:LONGEST_SEARCHED]))[:LONGEST_LINE]


def _printable(text: str) -> str:
    """The text with unprintable characters escaped: `\\n`, `\\x1b`, `\\u2028`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _logfmt_value(value: Any) -> str:
    text = _text(value)
    return text if text and text.isprintable() and not TO_QUOTE.search(text) else json.dumps(text)
