"""Spellings: how a text may stand in another one: as it is, escaped, in base64, and in one of these within another.

What is found there is replaced there: escaped again, encoded again, and nothing else changed. Anybody may have written
the text, so every step reads it a bounded number of times.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

REDACTED: Final = b"[redacted]"

Look = Callable[[bytes], Iterable[tuple[int, int, str]]]
"""Finds places in a plain text: where each begins and ends, and what it is."""

LEVELS: Final = 3
"""How often a text is unescaped: JSON within JSON, %252F."""

DEEPEST: Final = 2
"""How deep base64 within base64 is looked into."""

PASSES: Final = 8
"""How often a text is replaced in until nothing is found any more."""

SHORTEST_RUN: Final = 11
"""Characters of base64 that hold 8 bytes."""

ESCAPE: Final = re.compile(
    rb"%([0-9A-Fa-f]{2})"
    rb"|\\u([dD][89abAB][0-9A-Fa-f]{2})\\u([dD][c-fC-F][0-9A-Fa-f]{2})|\\u([0-9A-Fa-f]{4})"
    rb'|\\(["\\/bfnrt])'
)
"""Percent-encoding, and JSON's escapes; of those a pair of surrogates is one."""

LETTERS: Final = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))

RUN: Final = re.compile(
    rb"(?<![A-Za-z0-9+/_-])((?:[A-Za-z0-9+/_-]{40,}+[ \t]*+\r?\n[ \t]*+(?=[A-Za-z0-9+/_-]))*+[A-Za-z0-9+/_-]++)={0,2}"
)
"""Base64 in either alphabet; of several lines, as in MIME, if they are long ones."""

BREAK: Final = re.compile(rb"[ \t]*\r?\n[ \t]*")
TO_PLAIN: Final = bytes.maketrans(b"-_", b"+/")
TO_URL: Final = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True)
class Found:
    """A place in a text. name: what is there. new: what to write there to be rid of it."""

    start: int
    end: int
    name: str
    new: bytes = REDACTED


def search(text: bytes, look: Look, *, deep: int = DEEPEST) -> Iterator[Found]:
    """What `look` finds in the text, however it is spelt there. deep: how often base64 is looked into."""
    seen: set[bytes] = set()
    layers: list[Unescaped] = []
    level = text
    while True:
        plain = (Found(*place) for place in look(level))
        for found in (*plain, *_search_base64(level, look, deep, seen)):
            for layer in reversed(layers):
                found = layer.outward(found)
            yield found
        if len(layers) == LEVELS or not ESCAPE.search(level):
            return
        layers.append(Unescaped(level))
        level = layers[-1].text


def blot(text: bytes, look: Look, *, deep: int = DEEPEST) -> bytes:
    """The text without it: `search` finds nothing in what is returned."""
    for _ in range(PASSES):
        found = list(search(text, look, deep=deep))
        if not found:
            return text
        text = _replaced(text, found)
    return REDACTED  # each time something new came out of the rest: that is no text of a partner's


class Unescaped:
    """A text with its escapes resolved, once."""

    def __init__(self, text: bytes) -> None:
        self._written = text
        self._escapes: list[tuple[int, int]] = []
        self._begins: list[int] = []
        self._sizes: list[int] = []
        pieces: list[bytes] = []
        size, done = 0, 0
        for escape in ESCAPE.finditer(text):
            before, plain = text[done : escape.start()], _plain(escape)
            done = escape.end()
            self._escapes.append(escape.span())
            self._begins.append(size + len(before))
            self._sizes.append(len(plain))
            size += len(before) + len(plain)
            pieces += before, plain
        self.text = b"".join([*pieces, text[done:]])

    def outward(self, found: Found) -> Found:
        """The same place in the text as it is written."""
        start, end = self._place(found.start)[0], self._place(found.end - 1)[1]
        return replace(found, start=start, end=end, new=_escaped(found.new, as_in=self._written[start:end]))

    def _place(self, at: int) -> tuple[int, int]:
        """Where the byte at this place of the plain text is written."""
        last = bisect_right(self._begins, at) - 1
        if last < 0:
            return at, at + 1
        beyond = at - self._begins[last] - self._sizes[last]
        if beyond < 0:
            return self._escapes[last]
        place = self._escapes[last][1] + beyond
        return place, place + 1


def _plain(escape: re.Match[bytes]) -> bytes:
    percent, high, low, unit, letter = escape.groups()
    if percent:
        return bytes.fromhex(percent.decode())
    if letter:
        return bytes([LETTERS[letter[0]]])
    units = bytes.fromhex((unit or high + low).decode())
    return units.decode("utf-16-be", "replace").encode()


def _escaped(new: bytes, *, as_in: bytes) -> bytes:
    """What base64 and its lines need to be written among such escapes."""
    if b"%" in as_in:
        return re.sub(rb"[%+/=\r\n]", lambda found: b"%%%02X" % found[0][0], new)
    if b"\\" in as_in:
        return new.replace(b"\\", b"\\\\").replace(b"\r", b"\\r").replace(b"\n", b"\\n")
    return new


def _search_base64(text: bytes, look: Look, deep: int, seen: set[bytes]) -> Iterator[Found]:
    """What is found in the runs of base64 in the text. seen: runs that need not be looked at, and then these too."""
    runs = [run for run in RUN.finditer(text) if len(run[1]) >= SHORTEST_RUN and run[0] not in seen] if deep else []
    seen.update(run[0] for run in runs)
    # What stands before base64 without a sign between them belongs to the run: it may begin at any place of a group.
    for skipped in range(4) if runs else ():
        decoded = Decoded(runs, skipped)
        yield from decoded.outward(search(decoded.text, look, deep=deep - 1))


class Decoded:
    """Runs of base64 decoded, one behind the other. skipped: characters at the beginning of each that are left."""

    def __init__(self, runs: Sequence[re.Match[bytes]], skipped: int) -> None:
        self._runs = runs
        self._skipped = skipped
        self._pieces = [_decode(run[1], skipped) for run in runs]
        self._begins = list(accumulate((len(piece) + 1 for piece in self._pieces), initial=0))
        self.text = b"\0".join(self._pieces)

    def outward(self, found: Iterable[Found]) -> Iterator[Found]:
        """The same places in the text that has the runs, each as large as its run."""
        by_run: defaultdict[int, list[Found]] = defaultdict(list)
        for one in found:
            by_run[bisect_right(self._begins, one.start) - 1].append(one)
        for place, those in by_run.items():
            run, begin = self._runs[place], self._begins[place]
            inner = [replace(one, start=one.start - begin, end=one.end - begin) for one in those]
            new = _encode(_replaced(self._pieces[place], inner), run, self._skipped)
            for name in dict.fromkeys(one.name for one in those):
                yield Found(*run.span(), name, new)


def _decode(run: bytes, skipped: int) -> bytes:
    group = _compact(run)[skipped:].translate(TO_PLAIN)
    whole = group[: len(group) - (len(group) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _encode(plain: bytes, run: re.Match[bytes], skipped: int) -> bytes:
    """In the alphabet of the run and, if it has several, in lines of its length."""
    compact = _compact(run[1])
    encoded = base64.b64encode(plain)
    if b"=" not in run[0]:
        encoded = encoded.rstrip(b"=")
    if b"-" in compact or b"_" in compact:
        encoded = encoded.translate(TO_URL)
    left = (len(compact) - skipped) % 4 == 1  # a character that was no part of a group
    text = compact[:skipped] + encoded + (compact[-1:] if left else b"")
    if not (line_break := BREAK.search(run[1])):
        return text
    width = line_break.start()
    return line_break[0].join(text[at : at + width] for at in range(0, len(text), width))


def _compact(run: bytes) -> bytes:
    return run.translate(None, b" \t\r\n")


def _replaced(text: bytes, found: Iterable[Found]) -> bytes:
    """The text with what is new in each place; of places that overlap the first one counts."""
    pieces: list[bytes] = []
    done = 0
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if one.start >= done:
            pieces += text[done : one.start], one.new
            done = one.end
    return b"".join([*pieces, text[done:]])
