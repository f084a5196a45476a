"""The terminal: the one way out for everything that a command prints.

What is printed is partly written by others: a partner's message, an id in an export, a file's name. A terminal obeys
what it reads: ESC ] 52 writes the clipboard, U+009B moves the cursor, U+202E turns text around. `guarded` replaces
stdout and stderr by streams that write such characters as `\\x1b`. Only rich writes past them, for its own colours, and
there `output.console` escapes the text.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, Final, TextIO, cast

CONTROLS: Final = re.compile(
    # C0 without tab and line feed, DEL and C1; marks of direction; separators of lines; halves of characters; tags.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Characters that steer a terminal, or show something else than what is there."""


def printable(text: str) -> str:
    """Text of others for one line, every character that cannot be seen in it escaped: `\\x1b`, `\\n`, `\\u202e`."""
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def escaped(text: str) -> str:
    """Text of several lines with its control characters escaped; tabs and line feeds stay."""
    return CONTROLS.sub(lambda found: _escape(found[0]), text)


def escaped_json(document: str) -> str:
    """A JSON document that means the same, without control characters: JSON's `\\u009b` in their place."""
    return CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f"), document)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Guard:
    """A text stream without control characters. stream: where it writes; its `buffer` takes bytes as they are."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text, escaped; returns the number of its characters."""
        self.stream.write(escaped(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def unguarded(stream: TextIO) -> TextIO:
    """The stream behind a guard, for what escapes by itself."""
    return stream.stream if isinstance(stream, Guard) else stream


@contextmanager
def guarded() -> Iterator[None]:
    """Let nothing reach stdout and stderr but through a `Guard`."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(cast(TextIO, Guard(sys.stdout))))
        stack.enter_context(redirect_stderr(cast(TextIO, Guard(sys.stderr))))
        yield


def write_bytes(content: bytes) -> None:
    """Write bytes to stdout: as they are, or, on a terminal, as text with what is no text and no line escaped."""
    if sys.stdout.isatty():
        sys.stdout.write(content.decode("utf-8", "backslashreplace"))
    else:
        sys.stdout.buffer.write(content)
