"""The terminal: every text that a command prints passes through here.

Some of the printed text is untrusted: a partner's message, an id in an export, a file's name. A terminal obeys control
characters: ESC ] 52 writes to the clipboard, U+009B moves the cursor, U+202E reverses text. `guarded` replaces stdout
and stderr with streams that write such characters as `\\x1b`. Only rich bypasses them, for its own colours; there
`tables.console` escapes the text.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, Final, TextIO, cast

CONTROLS: Final = re.compile(
    # C0 except tab and line feed, DEL and C1; direction marks; line separators; lone surrogates; tags.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Characters that control a terminal, or make it show something other than the text."""


def printable(text: str) -> str:
    """Escape every invisible character of an untrusted text, for a single line: `\\x1b`, `\\n`, `\\u202e`."""
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def escaped(text: str) -> str:
    """Escape the control characters of a text of several lines; tabs and line feeds stay."""
    return CONTROLS.sub(lambda found: _escape(found[0]), text)


def escaped_json(document: str) -> str:
    """Replace control characters in a JSON document by JSON escapes such as `\\u009b`; its meaning stays the same."""
    return CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f"), document)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Guard:
    """A text stream that escapes control characters. stream: where it writes; its `buffer` writes bytes unchanged."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text, escaped; returns the number of characters in `text`."""
        self.stream.write(escaped(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def unguarded(stream: TextIO) -> TextIO:
    """Return the stream inside a guard, for a writer that escapes text itself."""
    return stream.stream if isinstance(stream, Guard) else stream


@contextmanager
def guarded() -> Iterator[None]:
    """Replace stdout and stderr with a `Guard` inside the `with` block."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(cast(TextIO, Guard(sys.stdout))))
        stack.enter_context(redirect_stderr(cast(TextIO, Guard(sys.stderr))))
        yield


def write_bytes(content: bytes) -> None:
    """Write bytes to stdout: unchanged, or on a terminal as text, with invalid UTF-8 and control characters escaped."""
    if sys.stdout.isatty():
        sys.stdout.write(content.decode("utf-8", "backslashreplace"))
    else:
        sys.stdout.buffer.write(content)
