"""Spellings: how a text can be written inside another text: plain, percent-escaped, JSON-escaped, or in base64.

Plain and escaped texts are replaced in place, and no other byte changes. A text in base64 is only found; then the whole
outer text is left out. The outer text is untrusted, so the work is bounded by its size. A text that needs more work
counts as hiding something.

Example: to find the secret `a/b`, the text `{"url": "x%2Fa%2Fb"}` is read as `{"url": "x/a/b"}`. The secret is found
there, its place is mapped back to `a%2Fb`, and the result is `{"url": "x%2F[redacted]"}`.
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Final
from urllib.parse import unquote_to_bytes

REDACTED: Final = b"[redacted]"

LEVELS: Final = 3
"""Maximum number of times that a text is unescaped: JSON within JSON, or %252F."""

TEXTS: Final = 16
"""Maximum number of texts, including the original, that unescaping makes."""

DEEPEST: Final = 2
"""Maximum depth of base64 within base64."""

PASSES: Final = 4
"""Maximum number of searches of a text: a replacement may reveal something new."""

WORK_PER_BYTE: Final = 24
LEAST_WORK: Final = 1024 * 1024
"""A text's budget is `WORK_PER_BYTE` units of work per byte plus `LEAST_WORK`. A unit takes about 40 ns."""

ESCAPE_WORK: Final = 6
RUN_WORK: Final = 48
FOUND_WORK: Final = 96
"""Units of work for an escape, a run of base64, and a found place. Reading a byte costs 1 unit."""

TOO_MUCH: Final = "more layers than are looked through"
"""Name of the find that is reported if a text exceeds its budget."""

SHORTEST_RUN: Final = 11
"""Minimum characters of a run of base64: they hold 8 bytes."""

OF_PERCENT: Final = rb"%[0-9A-Fa-f]{2}"
OF_JSON: Final = (
    rb"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
    rb'|\\u[0-9A-Fa-f]{4}|\\["\\/bfnrt]'
)
"""Matches a JSON escape; a pair of surrogates is one escape."""

PERCENT: Final = re.compile(OF_PERCENT)
JSON: Final = re.compile(OF_JSON)
BOTH: Final = re.compile(OF_PERCENT + b"|" + OF_JSON)

LETTERS: Final = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))

RUN: Final = re.compile(
    rb"(?<![A-Za-z0-9+/_-])((?:[A-Za-z0-9+/_-]{40,}+[ \t]*+\r?\n[ \t]*+(?=[A-Za-z0-9+/_-]))*+[A-Za-z0-9+/_-]++)={0,2}"
)
"""Matches a run of base64 in either alphabet; it may have several lines, as in MIME, if the lines are long."""

LINE: Final = re.compile(rb"[^ \t\r\n]+")
TO_PLAIN: Final = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True)
class Found:
    """A place in a text.

    name: what was found there.
    new: the replacement.
    hidden: a replacement at this place would not remove it.
    """

    start: int
    end: int
    name: str
    new: bytes = REDACTED
    hidden: bool = False


Look = Callable[[bytes], Iterable[Found]]
"""A function that finds places in a plain text."""


class TooMuchWork(Exception):
    """The search of a text exceeds the budget for the text's size."""


class Budget:
    """The remaining work for a text, or for several small texts.

    size: bytes of the texts, as far as they are known.
    """

    def __init__(self, size: int) -> None:
        self._left = WORK_PER_BYTE * size + LEAST_WORK

    def grant(self, size: int) -> None:
        """Add the work for a text of `size` bytes."""
        self._left += WORK_PER_BYTE * size

    def spend(self, units: int) -> None:
        """Subtract units; raises `TooMuchWork` if none are left."""
        self._left = max(0, self._left - units)
        if not self._left:
            raise TooMuchWork


def search(text: bytes, look: Look, *, deep: int = DEEPEST, budget: Budget | None = None) -> Iterator[Found]:
    """Yield what `look` finds in the text, in any spelling.

    deep: maximum depth of base64 within base64.
    budget: a budget shared with other texts; by default the text has its own.
    """
    try:
        yield from _search(text, look, deep, budget or Budget(len(text)), every_way=True)
    except TooMuchWork:
        yield Found(0, len(text), TOO_MUCH, hidden=True)


def readings(text: bytes) -> Iterator[bytes]:
    """Yield the text, then the text with all escapes resolved once, twice, and so on. Cheap: it maps no places."""
    yield text
    for _ in range(LEVELS):
        if not BOTH.search(text):
            return
        text = BOTH.sub(lambda found: _plain(found[0]), text)
        yield text


def redact_bytes(text: bytes, look: Look, *, deep: int = DEEPEST, budget: Budget | None = None) -> bytes | None:
    """Replace everything that `look` finds, so that `search` finds nothing in the returned text.

    Returns None if something found is hidden, such as in base64, and cannot be cut out, or if each of `PASSES` searches
    found something.
    """
    for _ in range(PASSES):
        found = []
        for one in search(text, look, deep=deep, budget=budget):
            if one.hidden:
                return None
            found.append(one)
        if not found:
            return text
        text = _replaced(text, found)
    return None  # each replacement revealed something new: no partner sends such a text


def _search(text: bytes, look: Look, deep: int, budget: Budget, *, every_way: bool) -> Iterator[Found]:
    seen: set[bytes] = set()
    for level, layers in _unescaped(text, budget, every_way=every_way):
        in_base64 = _search_base64(level, look, deep - 1, budget, seen) if deep else ()
        for places in (look(level), in_base64):
            for found in places:
                budget.spend(FOUND_WORK)
                for layer in reversed(layers):
                    found = layer.outward(found)
                yield found


def _unescaped(text: bytes, budget: Budget, *, every_way: bool) -> Iterator[tuple[bytes, tuple[Unescaped, ...]]]:
    """Yield the text and its readings, with escapes resolved up to `LEVELS` times, each with the layers to it."""
    budget.spend(len(text))
    seen = {text}
    level: list[tuple[bytes, tuple[Unescaped, ...]]] = [(text, ())]
    yield from level
    for _ in range(LEVELS):
        below, level = level, []
        for plain, layers in below:
            for escapes in _escapes(plain, every_way=every_way):
                budget.spend(len(plain) + ESCAPE_WORK * (plain.count(b"%") + plain.count(b"\\")))
                layer = Unescaped(plain, escapes)
                if layer.text not in seen and len(seen) < TEXTS:
                    seen.add(layer.text)
                    level.append((layer.text, (*layers, layer)))
        yield from level


def _escapes(text: bytes, *, every_way: bool) -> Sequence[re.Pattern[bytes]]:
    """The kinds of escapes to resolve: if a text has both, both together, and with `every_way` each kind alone too.

    A secret's own text in one encoding may look like an escape of the other: in `"50%25\\/x"`, JSON may escape the text
    `50%25/x`, whose `%25` is not an escape.
    """
    there = [escapes for escapes in (PERCENT, JSON) if escapes.search(text)]
    if len(there) == 1:
        return there
    return [BOTH, *(there if every_way else ())] if there else []


class Unescaped:
    """A text with its escapes of one kind resolved once."""

    def __init__(self, text: bytes, escapes: re.Pattern[bytes]) -> None:
        self._written = text
        self._kind = escapes
        if escapes is PERCENT:
            self.text = unquote_to_bytes(text)
        else:
            self.text = escapes.sub(lambda found: _plain(found[0]), text)

    def outward(self, found: Found) -> Found:
        """Map a place in the resolved text to the place in the written text."""
        return replace(found, start=self._place(found.start)[0], end=self._place(found.end - 1)[1])

    def _place(self, at: int) -> tuple[int, int]:
        """Map a byte's position in the resolved text to its start and end in the written text."""
        begins, sizes, escapes = self._places
        last = bisect_right(begins, at) - 1
        if last < 0:
            return at, at + 1
        beyond = at - begins[last] - sizes[last]
        if beyond < 0:
            return escapes[last]
        place = escapes[last][1] + beyond
        return place, place + 1

    @cached_property
    def _places(self) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        """For all escapes: the starts of their plain texts, the lengths of these, and the spans in the written text."""
        escapes = [(one.span(), len(_plain(one[0]))) for one in self._kind.finditer(self._written)]
        begins, shorter = [], 0
        for (start, end), size in escapes:
            begins.append(start - shorter)
            shorter += end - start - size
        return begins, [size for _, size in escapes], [span for span, _ in escapes]


@lru_cache(maxsize=4096)
def _plain(escape: bytes) -> bytes:
    if escape[:1] == b"%":
        return bytes.fromhex(escape[1:].decode())
    if escape[1:2] != b"u":
        return bytes([LETTERS[escape[1]]])
    return bytes.fromhex(escape.replace(b"\\u", b"").decode()).decode("utf-16-be", "replace").encode()


def _search_base64(text: bytes, look: Look, deep: int, budget: Budget, seen: set[bytes]) -> Iterator[Found]:
    """Yield what is found in the text's runs of base64.

    seen: runs that were already searched and are skipped; the runs of this text are added.
    """
    runs = [run for run in RUN.finditer(text) if len(run[1]) >= SHORTEST_RUN and run[0] not in seen]
    seen.update(run[0] for run in runs)
    budget.spend(RUN_WORK * len(runs))
    letters = [run[1].translate(TO_PLAIN, b" \t\r\n") for run in runs]
    # A run also includes letters directly before the base64, so the base64 may begin anywhere in a group of four.
    # Example: in `keyc2VjcmV0`, the base64 `c2VjcmV0` begins after 3 characters. So skip 0, 1, 2 and 3 characters.
    for skipped in range(4) if runs else ():
        pieces = [_decode(one[skipped:]) for one in letters]
        begins: list[int] = []
        told: set[tuple[int, str]] = set()
        for found in _search(b"\0".join(pieces), look, deep, budget, every_way=False):
            begins = begins or list(accumulate((len(piece) + 1 for piece in pieces), initial=0))
            number = bisect_right(begins, found.start) - 1
            if (number, found.name) not in told:  # the first place in a run is enough: `_place` walks the run
                told.add((number, found.name))
                start = _place(runs[number], skipped + (found.start - begins[number]) * 4 // 3)
                yield Found(start, runs[number].end(), found.name, hidden=True)


def _place(run: re.Match[bytes], letter: int) -> int:
    """Map a character's position in the run, not counting blanks and line ends, to its position in the text."""
    for line in LINE.finditer(run[1]):
        if letter < len(line[0]):
            return run.start() + line.start() + letter
        letter -= len(line[0])
    return run.end() - 1


def _decode(letters: bytes) -> bytes:
    whole = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _replaced(text: bytes, found: Iterable[Found]) -> bytes:
    """Return the text with each place replaced; of overlapping places, only the first is replaced."""
    pieces: list[bytes] = []
    done = 0
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if one.start >= done:
            pieces += text[done : one.start], one.new
            done = one.end
    return b"".join([*pieces, text[done:]])
