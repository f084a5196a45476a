"""Finds texts inside another text, however they are written there, and replaces them.

They may be plain, percent- or JSON-escaped, or in base64. Plain and escaped texts are replaced in place, and no other
byte changes. A text in base64 is only found; then the whole outer text is left out. The outer text is untrusted, so the
work is bounded by its size. A text that needs more work counts as hiding something.

Example: to find the secret `a/b`, the text `{"url": "x%2Fa%2Fb"}` is read as `{"url": "x/a/b"}`. The secret is found
there, its place is mapped back to `a%2Fb`, and the result is `{"url": "x%2F[redacted]"}`.
"""

from __future__ import annotations

import json
import re
import sys
from binascii import a2b_base64
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

REDACTED: Final = b"[redacted]"
TOO_MUCH: Final = "more layers than are looked through"  # the name of the find if a text exceeds its budget

MAX_ESCAPES: Final = 4
MAX_BASE64: Final = 3
"""Layers that are resolved; below each layer of base64, escapes are counted from 0. An export adds one of each."""

MAX_SEARCHES: Final = 4
"""Searches of a text: a replacement may reveal something new."""

WORK_PER_BYTE: Final = 24
LEAST_WORK: Final = 1024 * 1024
"""A text's budget: so many bytes are read per byte of the text, and `LEAST_WORK` more."""

ESCAPE: Final = re.compile(
    rb"%[0-9A-Fa-f]{2}"
    rb"|\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"  # a pair of surrogates is one escape
    rb'|\\u[0-9A-Fa-f]{4}|\\["\\/bfnrt]'
)

RUN: Final = re.compile(
    rb"(?<![A-Za-z0-9+/_-])(?=[A-Za-z0-9+/_-]{11})"
    # `(...)*` and not `(...)*+`: Python 3.11.2, that of Debian 12, finds nothing with a possessive group. It never has
    # to give back a line, because what the group looks ahead for is what follows it.
    rb"(?:[A-Za-z0-9+/_-]{40,}+[ \t]*+\r?\n[ \t]*+(?=[A-Za-z0-9+/_-]))*[A-Za-z0-9+/_-]++"
)
"""Matches base64 of 8 bytes and more, in either alphabet; it may have several lines, as in MIME, if they are long."""

LINE: Final = re.compile(rb"[^ \t\r\n]+")
TO_PLAIN: Final = bytes.maketrans(b"-_", b"+/")


class Found(NamedTuple):
    """A place in a text: what was found there, and its replacement. hidden: a replacement would not remove it."""

    start: int
    end: int
    name: str
    new: bytes = REDACTED
    hidden: bool = False


Look = Callable[[bytes], Iterable[Found]]
"""A function that finds places in a plain text."""

Place = Callable[[int], int]
"""A function that maps a position in a decoded text to the original text."""


def search(text: bytes, look: Look, *, deep: int = MAX_BASE64) -> Iterator[Found]:
    """Yield what `look` finds in the text, plain or encoded. deep: maximum layers of base64."""
    left = WORK_PER_BYTE * len(text) + LEAST_WORK
    for plain, place, hidden in _readings(text, int, deep):
        if (left := left - len(plain)) < 0:
            yield Found(0, len(text), TOO_MUCH, hidden=True)
            return
        for one in look(plain):
            yield Found(place(one.start), place(one.end), one.name, one.new, hidden)


def redact_bytes(text: bytes, look: Look, *, deep: int = MAX_BASE64) -> bytes | None:
    """Replace everything that `look` finds, so that `search` finds nothing in the returned text.

    Returns None if something found is hidden, or if each of `MAX_SEARCHES` searches found something.
    """
    for _ in range(MAX_SEARCHES):
        found = list(search(text, look, deep=deep))
        if any(one.hidden for one in found):
            return None
        if not found:
            return text
        text = _replaced(text, found)
    return None  # each replacement revealed something new: no partner sends such a text


def resolved(text: bytes) -> bytes:
    """The text with its escapes resolved once."""
    return ESCAPE.sub(lambda escape: _plain(escape[0]), text)


@lru_cache(maxsize=4096)
def _plain(escape: bytes) -> bytes:
    if escape[:1] == b"%":
        return unquote_to_bytes(escape)
    text: str = json.loads(b'"%b"' % escape)
    return text.encode("utf-8", "replace")


def _replaced(text: bytes, found: Iterable[Found]) -> bytes:
    """Return the text with each place replaced; of overlapping places, only the first is replaced."""
    pieces: list[bytes] = []
    done = 0
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if one.start >= done:
            pieces += text[done : one.start], one.new
            done = one.end
    return b"".join([*pieces, text[done:]])


def _readings(text: bytes, place: Place, deep: int, *, hidden: bool = False) -> Iterator[tuple[bytes, Place, bool]]:
    """Yield the text, and what is read in it with escapes resolved and base64 decoded. hidden: it was in base64."""
    seen: set[bytes] = set()
    for _ in range(MAX_ESCAPES + 1):
        yield text, place, hidden
        if runs := [run for run in RUN.finditer(text) if run[0] not in seen] if deep else []:
            seen.update(run[0] for run in runs)
            yield from _readings(*_decoded(runs, place), deep - 1, hidden=True)
        if not ESCAPE.search(text):
            return
        text, place = resolved(text), _unescaped(text, place)


def _unescaped(text: bytes, outer: Place) -> Place:
    def jumps() -> Iterator[tuple[int, int]]:
        shorter = 0
        for escape in ESCAPE.finditer(text):
            start, size = escape.start() - shorter, len(_plain(escape[0]))
            yield from ((start + number, escape.start()) for number in range(size))
            yield start + size, escape.end()
            shorter += len(escape[0]) - size

    return _placing(jumps, outer)


def _decoded(runs: Iterable[re.Match[bytes]], outer: Place) -> tuple[bytes, Place]:
    """Decode each run four times, because a run also includes the letters before the base64.

    Example: in `keyc2VjcmV0`, the base64 `c2VjcmV0` begins after 3 characters. NULs separate the decoded texts.
    """
    letters, lines = bytearray(), []
    for shift in range(4):
        for run in runs:
            letters += b"A" * shift
            for line in LINE.finditer(run[0]):
                lines.append((len(letters), run.start() + line.start()))
                letters += line[0]
            letters += b"A" * (8 - len(letters) % 4)
    return a2b_base64(letters.translate(TO_PLAIN)), _placing(lambda: lines, outer, fourths=4)


def _placing(jumps: Callable[[], Iterable[tuple[int, int]]], outer: Place, *, fourths: int = 3) -> Place:
    """Map positions to the original text. fourths: 4 for base64, whose four letters make three bytes; otherwise 3.

    jumps: positions, each with its position in the outer text; from there on, both grow alike.
    """
    known = cache(lambda: [(0, 0), *jumps()])

    def place(position: int) -> int:
        letter = position * fourths // 3
        start, written = known()[bisect_right(known(), (letter, sys.maxsize)) - 1]
        return outer(written + letter - start)

    return place
