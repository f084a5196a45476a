"""Spellings: how a text may be written in another one: as it is, percent- or JSON-escaped, or in base64.

What is plain or escaped is replaced where it is, and no byte beside it changes. What is in base64 is only found: the
whole text is left out then. Anybody may have written the text, so the work is bounded by its size; a text that needs
more counts as one that hides something.
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
"""How often a text is unescaped: JSON within JSON, %252F."""

TEXTS: Final = 16
"""How many texts that makes at most."""

DEEPEST: Final = 2
"""How deep base64 within base64 is looked into."""

PASSES: Final = 4
"""How often a text is replaced in until nothing is found any more."""

WORK_PER_BYTE: Final = 24
LEAST_WORK: Final = 1024 * 1024
"""Units of work, of some 40 ns: a text may cost so many for each of its bytes, and these besides."""

ESCAPE_WORK: Final = 6
RUN_WORK: Final = 48
FOUND_WORK: Final = 96
"""Units for what costs more than to read a byte: an escape, a run of base64, a place that was found."""

TOO_MUCH: Final = "more layers than are looked through"
"""What is found in a text that costs too much."""

SHORTEST_RUN: Final = 11
"""Characters of base64 that hold 8 bytes."""

OF_PERCENT: Final = rb"%[0-9A-Fa-f]{2}"
OF_JSON: Final = (
    rb"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
    rb'|\\u[0-9A-Fa-f]{4}|\\["\\/bfnrt]'
)
"""JSON's escapes; of those a pair of surrogates is one."""

PERCENT: Final = re.compile(OF_PERCENT)
JSON: Final = re.compile(OF_JSON)
BOTH: Final = re.compile(OF_PERCENT + b"|" + OF_JSON)

LETTERS: Final = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))

RUN: Final = re.compile(
    rb"(?<![A-Za-z0-9+/_-])((?:[A-Za-z0-9+/_-]{40,}+[ \t]*+\r?\n[ \t]*+(?=[A-Za-z0-9+/_-]))*+[A-Za-z0-9+/_-]++)={0,2}"
)
"""Base64 in either alphabet; of several lines, as in MIME, if they are long ones."""

LINE: Final = re.compile(rb"[^ \t\r\n]+")
TO_PLAIN: Final = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True)
class Found:
    """A place in a text. name: what is there. new: what to write there. hidden: nothing written there hides it."""

    start: int
    end: int
    name: str
    new: bytes = REDACTED
    hidden: bool = False


Look = Callable[[bytes], Iterable[Found]]
"""Finds places in a plain text."""


class TooMuchWork(Exception):
    """The text costs more than a text of its size may."""


class Budget:
    """Work that is left, for one text or for several small ones. size: bytes of them, as far as they are known."""

    def __init__(self, size: int) -> None:
        self._left = WORK_PER_BYTE * size + LEAST_WORK

    def grant(self, size: int) -> None:
        """Add what a text of so many bytes may cost."""
        self._left += WORK_PER_BYTE * size

    def spend(self, units: int) -> None:
        """Take so many from it; raises `TooMuchWork` if it has fewer."""
        self._left = max(0, self._left - units)
        if not self._left:
            raise TooMuchWork


def search(text: bytes, look: Look, *, deep: int = DEEPEST, budget: Budget | None = None) -> Iterator[Found]:
    """What `look` finds in the text, however it is written there.

    deep: how often base64 is looked into. budget: what this text shares with others; one of its own, if not given.
    """
    try:
        yield from _search(text, look, deep, budget or Budget(len(text)), every_way=True)
    except TooMuchWork:
        yield Found(0, len(text), TOO_MUCH, hidden=True)


def readings(text: bytes) -> Iterator[bytes]:
    """The text, and what it is with all its escapes resolved, once or several times: cheap, and without the places."""
    yield text
    for _ in range(LEVELS):
        if not BOTH.search(text):
            return
        text = BOTH.sub(lambda found: _plain(found[0]), text)
        yield text


def redact_bytes(text: bytes, look: Look, *, deep: int = DEEPEST, budget: Budget | None = None) -> bytes | None:
    """The text without it: `search` finds nothing in what is returned. None: it is hidden, and cannot be cut out."""
    for _ in range(PASSES):
        found = []
        for one in search(text, look, deep=deep, budget=budget):
            if one.hidden:
                return None
            found.append(one)
        if not found:
            return text
        text = _replaced(text, found)
    return None  # each time something new came out of the rest: that is no text of a partner's


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
    """The text, and what it is with its escapes resolved, once or several times; with what leads there."""
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
    """What may be resolved in the text: what is a secret's own text in one encoding may look like the other."""
    there = [escapes for escapes in (PERCENT, JSON) if escapes.search(text)]
    if len(there) == 1:
        return there
    return [BOTH, *(there if every_way else ())] if there else []


class Unescaped:
    """A text with its escapes of one kind resolved, once."""

    def __init__(self, text: bytes, escapes: re.Pattern[bytes]) -> None:
        self._written = text
        self._kind = escapes
        if escapes is PERCENT:
            self.text = unquote_to_bytes(text)
        else:
            self.text = escapes.sub(lambda found: _plain(found[0]), text)

    def outward(self, found: Found) -> Found:
        """The same place in the text as it is written."""
        return replace(found, start=self._place(found.start)[0], end=self._place(found.end - 1)[1])

    def _place(self, at: int) -> tuple[int, int]:
        """Where the byte at this place of the plain text is written."""
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
        """Of each escape: where its plain text begins, how long that is, and where it is written."""
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
    """What is found in the runs of base64 in the text. seen: runs that need not be looked at, and then these too."""
    runs = [run for run in RUN.finditer(text) if len(run[1]) >= SHORTEST_RUN and run[0] not in seen]
    seen.update(run[0] for run in runs)
    budget.spend(RUN_WORK * len(runs))
    letters = [run[1].translate(TO_PLAIN, b" \t\r\n") for run in runs]
    # What is written before base64 without a sign between them belongs to the run: it may begin anywhere in a group.
    for skipped in range(4) if runs else ():
        pieces = [_decode(one[skipped:]) for one in letters]
        begins: list[int] = []
        told: set[tuple[int, str]] = set()
        for found in _search(b"\0".join(pieces), look, deep, budget, every_way=False):
            begins = begins or list(accumulate((len(piece) + 1 for piece in pieces), initial=0))
            number = bisect_right(begins, found.start) - 1
            if (number, found.name) not in told:  # the first place in a run is enough: to find it takes a whole look
                told.add((number, found.name))
                start = _place(runs[number], skipped + (found.start - begins[number]) * 4 // 3)
                yield Found(start, runs[number].end(), found.name, hidden=True)


def _place(run: re.Match[bytes], letter: int) -> int:
    """Where that character of the run is in the text, blanks and ends of lines not counted."""
    for line in LINE.finditer(run[1]):
        if letter < len(line[0]):
            return run.start() + line.start() + letter
        letter -= len(line[0])
    return run.end() - 1


def _decode(letters: bytes) -> bytes:
    whole = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _replaced(text: bytes, found: Iterable[Found]) -> bytes:
    """The text with what is new in each place; of places that overlap the first one counts."""
    pieces: list[bytes] = []
    done = 0
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if one.start >= done:
            pieces += text[done : one.start], one.new
            done = one.end
    return b"".join([*pieces, text[done:]])
