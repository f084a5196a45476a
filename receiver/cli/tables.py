"""Lists and tables for people, drawn by rich, and by it alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
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
"""Columns of a table where no terminal tells its width: as many as it needs."""


class GuardedConsole(Console):
    """rich's console, which writes colours and moves the cursor itself, and escapes the text that it is given."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What rich makes of it; of that, its own control codes are the only ones."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escaped(segment.text))


def console(*, stderr: bool = False) -> Console:
    """A console for tables and bars; made when it is used, so that it writes to what stdout is then."""
    stream = unguarded(sys.stderr if stderr else sys.stdout)
    return GuardedConsole(file=stream, highlight=False, width=None if stream.isatty() else WIDE)


def live_table(*, wanted: bool = True) -> AbstractContextManager[Live | None]:
    """A place on the terminal that a table is drawn into again and again; None where stdout is no terminal."""
    if wanted and sys.stdout.isatty():
        return Live(console=console(), auto_refresh=False)
    return nullcontext()


def print_list(titles: Sequence[str], rows: Iterable[Sequence[str]], *, below: Sequence[str]) -> None:
    """A list in columns, of which nothing is ever cut off.

    below: the columns that go to lines of their own, one after the other, until the first line fits the terminal.
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
