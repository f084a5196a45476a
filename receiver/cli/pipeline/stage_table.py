"""A run's stages for people: a table on terminals, a line per change elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich import box
from rich.markup import escape
from rich.table import Table

from receiver.cli.terminal import printable
from receiver.telling.moments import utc_text
from receiver.telling.stages import state_text
from workflows.contract import Progress, StageProgress
from workflows.durations import DAY

COLOURS = {"succeeded": "green", "failed": "red", "skipped": "yellow", "advanced": "yellow"}


def stage_table(progress: Progress, title: str = "") -> Table:
    """Make a table of the stages with their states, times and deadlines."""
    # Narrow enough for 80 columns; longer text is wrapped, never truncated.
    table = Table(
        title=escape(printable(title or progress.pipeline)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for heading in ("", "stage", "partner", "state", "calls", "call →\ncallback", "deadline"):
        table.add_column(heading, justify="right" if heading in {"", "calls"} else "left", overflow="fold")
    for stage in progress.stages:
        table.add_row(
            str(stage.number),
            escape(printable(stage.name)),
            escape(printable(stage.partner)),
            f"[{COLOURS.get(stage.outcome or '', 'default')}]{escape(printable(state_text(stage)))}[/]",
            str(stage.attempts or ""),
            _took(stage),
            _due(stage),
        )
    return table


def changes(before: Progress | None, after: Progress) -> Iterator[str]:
    """Yield a line for every stage whose state changed."""
    known = {stage.number: _line(stage) for stage in before.stages} if before else {}
    for stage in after.stages:
        line = _line(stage)
        if stage.state != "pending" and known.get(stage.number) != line:
            yield printable(line)


def _line(stage: StageProgress) -> str:
    line = f"stage {stage.number} {stage.name} ({stage.partner}): {state_text(stage)}, call {stage.attempts}"
    if stage.outcome:
        return f"{line}, {_took(stage)}"
    return f"{line}, until {utc_text(stage.deadline)} UTC" if stage.deadline else line


def _took(stage: StageProgress) -> str:
    if stage.called_at is None or stage.settled_at is None or stage.settled_at < stage.called_at:
        return ""
    return f"{stage.settled_at - stage.called_at:.1f} s"


def _due(stage: StageProgress) -> str:
    """Return an open stage's deadline in UTC: the time if it is less than a day after the call, else date and time."""
    if stage.outcome or stage.deadline is None or stage.called_at is None:
        return ""
    soon = stage.deadline - stage.called_at < DAY
    return f"{datetime.fromtimestamp(stage.deadline, UTC):{'%H:%M:%S' if soon else '%m-%d %H:%M'}}Z"
