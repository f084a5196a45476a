"""Check a file for known secrets before it is shared."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

from activities.known_secrets import known_secrets
from activities.redaction.secrets import look_for
from activities.redaction.text import search
from receiver.cli.delivery.selection import numbered_lines
from receiver.cli.errors import Exit
from receiver.cli.output import counted, note, print_json, say
from receiver.cli.terminal import printable

WINDOW: Final = 1024 * 1024
"""Bytes of text that are searched together. A line is searched as a whole."""

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
        self._look = look_for(secrets)
        self.lines = 0
        self.is_text = True

    def through(self, file: str) -> Iterator[tuple[int, str]]:
        """Yield each secret in the file, with the line at which it begins. A secret may be yielded twice."""
        first, text = 1, bytearray()
        for self.lines, line in numbered_lines(file):
            self.is_text = self.is_text and b"\0" not in line
            text += line
            if len(text) > WINDOW:
                yield from self._in_lines(first, bytes(text))
                first += text.count(b"\n", 0, -OVERLAP)
                del text[:-OVERLAP]
        yield from self._in_lines(first, bytes(text))

    def _in_lines(self, first: int, text: bytes) -> Iterator[tuple[int, str]]:
        ends = [end.start() for end in re.finditer(rb"\n", text)]
        for found in search(text, self._look):
            yield first + bisect_left(ends, found.start), found.name
