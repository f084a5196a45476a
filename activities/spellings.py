"""Spellings: how a text may stand in another one: as it is, escaped, in base64, and in one of these within another.

What is found there is replaced there: escaped again, encoded again, and not a byte beside it changed. Anybody may have
written the text, so every step reads it a bounded number of times.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate, pairwise
from typing import Final

REDACTED: Final = b"[redacted]"

LEVELS: Final = 3
"""How often a text is unescaped: JSON within JSON, %252F."""

TEXTS: Final = 16
"""How many texts that makes at most."""

DEEPEST: Final = 2
"""How deep base64 within base64 is looked into."""

PASSES: Final = 8
"""How often a text is replaced in until nothing is found any more."""

SHORTEST_RUN: Final = 11
"""Characters of base64 that hold 8 bytes."""

GROUP: Final = 3
"""Bytes that four characters of base64 encode."""

MOST_FILL: Final = GROUP ** (DEEPEST + 1)
"""By how much what is new may have to be longer, for groups in base64 and in base64 around that to stay in place."""

OF_PERCENT: Final = rb"%(?P<byte>[0-9A-Fa-f]{2})"
OF_JSON: Final = (
    rb"\\u(?P<high>[dD][89abAB][0-9A-Fa-f]{2})\\u(?P<low>[dD][c-fC-F][0-9A-Fa-f]{2})"
    rb'|\\u(?P<unit>[0-9A-Fa-f]{4})|\\(?P<letter>["\\/bfnrt])'
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

BREAK: Final = re.compile(rb"[ \t]*\r?\n[ \t]*")
TO_PLAIN: Final = bytes.maketrans(b"-_", b"+/")
TO_URL: Final = bytes.maketrans(b"+/", b"-_")


def redacted(fill: int) -> bytes:
    """What stands in a secret's place, longer by so many bytes."""
    return REDACTED + b"*" * fill


@dataclass(frozen=True)
class Found:
    """A place in a text. name: what is there. write: what to write there to be rid of it, longer by so many bytes."""

    start: int
    end: int
    name: str
    write: Callable[[int], bytes] = redacted


Look = Callable[[bytes], Iterable[Found]]
"""Finds places in a plain text."""


def search(text: bytes, look: Look, *, deep: int = DEEPEST) -> Iterator[Found]:
    """What `look` finds in the text, however it is spelt there. deep: how often base64 is looked into."""
    seen: set[bytes] = set()
    for level, layers in _unescaped(text):
        for found in (*look(level), *_search_base64(level, look, deep, seen)):
            for layer in reversed(layers):
                found = layer.outward(found)
            yield found


def readings(text: bytes) -> Iterator[bytes]:
    """The text, and what it is with all its escapes resolved, once or several times: cheap, and without the places."""
    yield text
    for _ in range(LEVELS):
        if not BOTH.search(text):
            return
        text = BOTH.sub(_plain, text)
        yield text


def _unescaped(text: bytes) -> Iterator[tuple[bytes, tuple[Unescaped, ...]]]:
    """The text, and what it is with its escapes resolved, once or several times; with what leads there."""
    seen = {text}
    level: list[tuple[bytes, tuple[Unescaped, ...]]] = [(text, ())]
    yield from level
    for _ in range(LEVELS):
        below, level = level, []
        for plain, layers in below:
            for layer in (Unescaped(plain, escapes) for escapes in _escapes(plain)):
                if layer.text not in seen and len(seen) < TEXTS:
                    seen.add(layer.text)
                    level.append((layer.text, (*layers, layer)))
        yield from level


def _escapes(text: bytes) -> Sequence[re.Pattern[bytes]]:
    """What may be resolved in the text: what is a secret's own text in one encoding may look like the other."""
    there = [escapes for escapes in (PERCENT, JSON) if escapes.search(text)]
    return [BOTH, *there] if len(there) > 1 else there


def blot(text: bytes, look: Look, *, deep: int = DEEPEST) -> bytes:
    """The text without it: `search` finds nothing in what is returned."""
    for _ in range(PASSES):
        found = list(search(text, look, deep=deep))
        if not found:
            return text
        text = _replaced(text, found)
    return REDACTED  # each time something new came out of the rest: that is no text of a partner's


class Unescaped:
    """A text with its escapes of one kind resolved, once."""

    def __init__(self, text: bytes, escapes: re.Pattern[bytes]) -> None:
        self._written = text
        self._escapes: list[tuple[int, int]] = []
        self._begins: list[int] = []
        self._sizes: list[int] = []
        pieces: list[bytes] = []
        size, done = 0, 0
        for escape in escapes.finditer(text):
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
        as_in = self._written[start:end]
        return replace(found, start=start, end=end, write=lambda fill: _escaped(found.write(fill), as_in=as_in))

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
    match escape.lastgroup:
        case "byte":
            return bytes.fromhex(escape["byte"].decode())
        case "letter":
            return bytes([LETTERS[escape["letter"][0]]])
        case "unit":
            units = escape["unit"]
        case _:
            units = escape["high"] + escape["low"]
    return bytes.fromhex(units.decode()).decode("utf-16-be", "replace").encode()


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

    def __init__(self, runs: Iterable[re.Match[bytes]], skipped: int) -> None:
        self._runs = [Run(run, skipped) for run in runs]
        # Each begins at a multiple of three bytes, behind a zero at least: no group holds bytes of two of them.
        pieces = [run.plain + bytes(GROUP - len(run.plain) % GROUP) for run in self._runs]
        self._begins = list(accumulate(map(len, pieces), initial=0))
        self.text = b"".join(pieces)

    def outward(self, found: Iterable[Found]) -> Iterator[Found]:
        """The same places in the text that has the runs, each as large as the groups that encode it."""
        for those in _by_groups(found):
            place = bisect_right(self._begins, those[0].start) - 1
            yield from self._runs[place].outward([_moved(one, -self._begins[place]) for one in those])


class Run:
    """One run of base64, decoded. skipped: characters at its beginning that are left."""

    def __init__(self, run: re.Match[bytes], skipped: int) -> None:
        self._start, self._written, self._skipped = run.start(), run[1], skipped
        self._letters = run[1].translate(None, b" \t\r\n")
        self.plain = _decode(self._letters[skipped:])

    def outward(self, those: Sequence[Found]) -> Iterator[Found]:
        """Places in what it encodes as one in the text; those that overlap, or share a group."""
        first, last = those[0].start // GROUP, max(_groups(one.end) for one in those)
        begin, end = (min(self._skipped + 4 * group, len(self._letters)) for group in (first, last))
        inner = [_moved(one, -GROUP * first) for one in those]
        write = partial(self._write, begin, end, self.plain[GROUP * first : GROUP * last], inner)
        for name in dict.fromkeys(one.name for one in those):
            yield Found(self._place(begin), self._place(end - 1) + 1, name, write)

    def _write(self, begin: int, end: int, plain: bytes, inner: Sequence[Found], fill: int) -> bytes:
        """These groups with what is new in them; so much longer that the groups behind them stay where they are."""
        longer = (_replaced(plain, inner, fill=more) for more in range(fill, fill + MOST_FILL))
        new = next(one for one in longer if (len(one) - len(plain)) % GROUP == 0)
        letters = base64.b64encode(new).rstrip(b"=")
        if re.search(rb"[-_]", self._letters[begin:end]):
            letters = letters.translate(TO_URL)
        breaks = [(at - begin, text) for at, _, text in self._breaks if begin < at < end]
        bounds = [0, *(at for at, _ in breaks), len(letters)]
        parts = [letters[one:other] for one, other in pairwise(bounds)]
        return b"".join(part + text for part, text in zip(parts, [*(text for _, text in breaks), b""], strict=True))

    def _place(self, letter: int) -> int:
        """Where that character of the run stands in the text."""
        before = bisect_right(self._breaks, letter, key=lambda one: one[0])
        return self._start + letter + (self._breaks[before - 1][1] if before else 0)

    @cached_property
    def _breaks(self) -> list[tuple[int, int, bytes]]:
        """Breaks between its lines: characters before each, bytes of it and of those before, and how it is written."""
        found: list[tuple[int, int, bytes]] = []
        size = 0
        for one in BREAK.finditer(self._written):
            found.append((one.start() - size, size + len(one[0]), one[0]))
            size += len(one[0])
        return found


def _by_groups(found: Iterable[Found]) -> Iterator[list[Found]]:
    """Places by the groups of three bytes that they touch: those that share one together."""
    joined: list[Found] = []
    end = 0
    for one in sorted(found, key=lambda one: one.start):
        if joined and one.start // GROUP >= end:
            yield joined
            joined = []
        joined.append(one)
        end = max(end, _groups(one.end))
    if joined:
        yield joined


def _groups(size: int) -> int:
    return -(-size // GROUP)


def _moved(found: Found, by: int) -> Found:
    return replace(found, start=found.start + by, end=found.end + by)


def _decode(letters: bytes) -> bytes:
    whole = letters[: len(letters) - (len(letters) % 4 == 1)].translate(TO_PLAIN)
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _replaced(text: bytes, found: Iterable[Found], *, fill: int = 0) -> bytes:
    """The text with what is new in each place, the last `fill` longer; of places that overlap the first one counts."""
    counting: list[Found] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if not counting or one.start >= counting[-1].end:
            counting.append(one)
    pieces: list[bytes] = []
    done = 0
    for one in counting:
        pieces += text[done : one.start], one.write(fill if one is counting[-1] else 0)
        done = one.end
    return b"".join([*pieces, text[done:]])
