"""The terminal: every text that a command prints passes through here.

Some of the printed text is untrusted: a partner's message, an id in an export, a file's name. A terminal obeys control
characters: ESC ] 52 writes to the clipboard, U+009B moves the cursor, U+202E reverses text. `guarded` replaces stdout
and stderr with streams that write such characters as `\\x1b`. Only rich bypasses them, for its own colours; there
`tables.console` escapes the text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

# What commands print passes through here, so the other modules of the command line import these from here.
from receiver.escaping import CONTROLS as CONTROLS
from receiver.escaping import escaped as escaped
from receiver.escaping import escaped_json as escaped_json
from receiver.escaping import printable as printable


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
