"""Lines of several processes on one terminal, each behind the name of its process."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from receiver.cli.tables import console

PROCESS_COLOURS: Final = {"temporal": "blue", "partner": "magenta", "web": "green", "worker": "cyan"}
"""The colour of each process's name, on a terminal without NO_COLOR."""

NAME_WIDTH: Final = max(map(len, PROCESS_COLOURS))


class Lines:
    """Prints lines to stdout. Several threads may print at the same time."""

    def __init__(self) -> None:
        self._console = console()

    def show(self, name: str, line: str) -> None:
        """Print a line of the process with this name."""
        begin = Text(f"{name:{NAME_WIDTH}} | ", style=PROCESS_COLOURS[name])
        self._console.print(begin + Text(line, style="default"), soft_wrap=True)
