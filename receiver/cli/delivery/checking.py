"""Check a file for known secrets before it is shared."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

from activities.spellings import Budget
from receiver.cli.delivery.selection import documents, is_json
from receiver.cli.errors import Exit
from receiver.cli.output import counted, note, print_json, say
from receiver.cli.terminal import printable
from receiver.deliveries.secrets import find_in_json, find_in_text, known_secrets

WINDOW: Final = 1024 * 1024
"""Bytes of text that are searched together. A JSON document is searched as a whole."""

OVERLAP: Final = 64 * 1024
"""Bytes that are searched twice, in two windows. A longer encoded secret may be missed at the end of a window."""

UNKNOWN: Final = "no secret is known here: set the variables that hold them, as the receiver and the worker have them"


def check_file(file: str, *, as_json: bool) -> Exit:
    """Print which known secrets the file holds; FAILED if it holds any. Raises `CommandError` if it cannot be read."""
    secrets = known_secrets(os.environ)
    looking = Looking(secrets)
    found = [{"line": line, "holds": name} for line, name in dict.fromkeys(looking.through(file))]
    if not looking.is_text:
        note("it is not text: what is packed in it, or written in UTF-16, is not found")
    if as_json:
        print_json({"found": found, "looked_for": sorted(secrets)})
    else:
        for one in found:
            say(printable(f"line {one['line']} holds {one['holds']}"))
        sought = f"callback tokens and {counted(secrets, 'known secret')}"
        note(f"looked for {sought} in {counted(looking.lines, 'line')}: {len(found) or 'none'} found")
    if not secrets:
        note(f"warning: {UNKNOWN}")
    return Exit.FAILED if found else Exit.OK


class Looking:
    """Searches a file. Afterwards it knows how many lines the file has, and whether it is text."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets
        self._budget = Budget(0)
        self._text = bytearray()
        self._first = 1
        self.lines = 0
        self.is_text = True

    def through(self, file: str) -> Iterator[tuple[int, str]]:
        """Yield each secret in the file, with the line at which it begins. A secret may be yielded twice."""
        for number, document in documents(file):
            self.lines = number + document.count(b"\n", 0, -1)
            self.is_text = self.is_text and b"\0" not in document
            if is_json(document):
                yield from self._in_text(keep=0)
                yield from self._in_json(number, document)
                continue
            self._first = self._first if self._text else number
            self._text += document
            if len(self._text) > WINDOW:
                yield from self._in_text(keep=OVERLAP)
        yield from self._in_text(keep=0)

    def _in_json(self, number: int, document: bytes) -> Iterator[tuple[int, str]]:
        """Yield each secret in a JSON document: its line, or the document's first line if it is only in a body."""
        found = dict.fromkeys(self._in_lines(number, document))
        yield from found
        self._budget.grant(len(document))
        names = {name for _, name in found}
        yield from ((number, name) for name in find_in_json(document, self._secrets, self._budget) if name not in names)

    def _in_text(self, *, keep: int) -> Iterator[tuple[int, str]]:
        text = bytes(self._text)
        yield from self._in_lines(self._first, text)
        done = max(0, len(text) - keep)
        self._first += text.count(b"\n", 0, done)
        del self._text[:done]

    def _in_lines(self, first: int, text: bytes) -> Iterator[tuple[int, str]]:
        ends = [end.start() for end in re.finditer(rb"\n", text)]
        self._budget.grant(len(text))
        for at, name in find_in_text(text, self._secrets, self._budget):
            yield first + bisect_left(ends, at), name
