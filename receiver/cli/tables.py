"""Lists and tables for people. They are drawn by rich only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.segment import Segment
from rich.text import Text

from receiver.cli.output import say
from receiver.cli.terminal import escaped, printable, unguarded

WIDE: Final = 200
"""The width in columns where no terminal has a width: enough for every table."""


class GuardedConsole(Console):
    """A rich console that escapes the given text. rich still writes its own colours and cursor movements."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render with rich, and escape the text of the segments, so that only rich's own control codes remain."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escaped(segment.text))


def console(*, stderr: bool = False) -> Console:
    """Make a console for tables and bars. Call it for each use, so that it writes to the current stdout."""
    stream = unguarded(sys.stderr if stderr else sys.stdout)
    return GuardedConsole(file=stream, highlight=False, width=None if stream.isatty() else WIDE)


def live_table(*, wanted: bool = True) -> AbstractContextManager[Live | None]:
    """Return a context with a table on the terminal that can be redrawn; None if stdout is not a terminal."""
    if wanted and sys.stdout.isatty():
        return Live(console=console(), auto_refresh=False)
    return nullcontext()


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on the terminal of stderr, if there is one; gives the function to call for each thing that is done."""
    from rich.progress import Progress

    errors = console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def print_list(titles: Sequence[str], rows: Iterable[Sequence[str]], *, below: Sequence[str]) -> None:
    """Print a list in columns, never truncated.

    below: the columns that move to their own lines, one after another, until the first line fits the terminal.
    """
    lines = [list(titles), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    room = console().width if sys.stdout.isatty() else sys.maxsize
    beside, moved = dict(enumerate(widths)), list[int]()
    for place in map(titles.index, below):
        if _width(beside) > room:
            del beside[place]
            moved.append(place)
    for number, line in enumerate(lines):
        first = "  ".join(set_cell_size(line[place], width) for place, width in beside.items()).rstrip()
        for text in (first, *(f"  {line[place]}" for place in moved if line[place])):
            if number:
                say(text)
            else:
                console().print(Text(text, style="bold"), soft_wrap=True)
        if number == 0:
            console().print(Rule(style="default"), width=min(_width(beside), room))


def _width(columns: Mapping[int, int]) -> int:
    return sum(columns.values()) + 2 * (len(columns) - 1)
