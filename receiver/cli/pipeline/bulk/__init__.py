"""`stagehook pipeline bulk`: one operator's action for all the runs that filters choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from receiver.cli.output import NumberRange, json_option, run_async, yes_option
from receiver.cli.pipeline.filters import FILTER_NAMES, run_filter_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from activities.finding import RunFilter

T = TypeVar("T")

BulkAction = Literal["extend", "call-again", "skip", "fail", "resume", "cancel"]
STAGE_ACTIONS: Final = ("extend", "call-again", "skip", "fail")
"""Commands for a stage, which the run itself judges."""

CAREFUL_RATE: Final = 10.0
"""Runs a second: a fifth of what a small Temporal server can do, so that callbacks go on being taken, and no more new
calls than a partner that has just come back can take."""

MOST_BULK_RUNS: Final = 5_000
"""At most, so that their list comes within 15 s."""

BULK_OPTIONS: Final = (
    click.option("--reason", default="", help="Why, for each run's records. Needed, except with --resume."),
    click.option("--actor", default="", show_default="the OS user", help="Who does this, for the run's records."),
    click.option(
        "--limit", default=MOST_BULK_RUNS, show_default=True, type=click.IntRange(1, MOST_BULK_RUNS), help="Runs."
    ),
    click.option(
        "--rate", default=CAREFUL_RATE, show_default=True, type=NumberRange(0.01, 1000), help="Runs a second."
    ),
    click.option("--dry-run", is_flag=True, help="List the runs, and do nothing."),
    yes_option,
    click.option(
        "--state-file", "file", default="", metavar="FILE", help="A new file for the state; named by the time."
    ),
    click.option("--resume", "begun", default="", metavar="FILE", help="Go on with what this state file has left."),
    json_option,
)


@dataclass(frozen=True)
class BulkOptions:
    """The typed options.

    filters: the filters as they were typed. duration: of `extend`, else "". stage: of `resume`, else 0. file, begun:
    the new state file and the one to go on with, or "". actor: "" for the OS user, or who began.
    """

    action: BulkAction
    where: RunFilter
    failed: tuple[str, datetime] | None
    reason: str
    actor: str
    limit: int
    rate: float
    dry_run: bool
    yes: bool
    file: str
    begun: str
    as_json: bool
    duration: str = ""
    stage: int = 0
    filters: Mapping[str, Any] = field(default_factory=dict)


def _bulk_options(command: Callable[..., T]) -> Callable[..., T]:
    decorated = run_filter_options(command)
    for option in reversed(BULK_OPTIONS):
        decorated = option(decorated)
    return decorated


@click.group()
def bulk() -> None:
    """Act on all runs that filters choose.

    Lists the runs, asks, and then acts on one after another. A stage that has gone on since it was listed is passed
    over. What was asked, the listed runs and each result are lines of JSON in a state file; after a stop, the same
    command goes on with --resume FILE, and no run is acted on twice.

    The filters are those of `stagehook pipeline list`. Here --state tells `calling` from `waiting`. Exits 1 if a run
    failed, 7 if Temporal or the workers cannot be reached, 8 if it is not known whether a run was acted on.
    """


@bulk.command()
@click.argument("duration", metavar="DURATION", default="")
@_bulk_options
def extend(duration: str, **given: Any) -> int:
    """Put off the deadlines of the matching stages by DURATION, such as 90s, 2h or 3d."""
    return _act("extend", duration=duration, **given)


@bulk.command("call-again")
@_bulk_options
def call_again(**given: Any) -> int:
    """Call the partners of the matching stages again now, with new callback URLs."""
    return _act("call-again", **given)


@bulk.command()
@_bulk_options
def skip(**given: Any) -> int:
    """Settle the matching stages as skipped: their runs go on without the stages' data.

    A later stage that needs a field of a skipped stage ends its run.
    """
    return _act("skip", **given)


@bulk.command()
@_bulk_options
def fail(**given: Any) -> int:
    """Settle the matching stages as failed, which ends their runs."""
    return _act("fail", **given)


@bulk.command()
@click.argument("number", metavar="STAGE", type=click.IntRange(1), required=False)
@_bulk_options
def resume(number: int | None, **given: Any) -> int:
    """Go on with matching runs that have failed or were cancelled, from before the call of stage number STAGE.

    Without STAGE, from the stage that failed. The filters are --status, --since, --pipeline and --failed-with.
    """
    return _act("resume", stage=number or 0, **given)


@bulk.command()
@_bulk_options
def cancel(**given: Any) -> int:
    """Cancel the matching runs. With filters of stages: only while one of the listed stages is still open."""
    return _act("cancel", **given)


def _act(action: BulkAction, **given: Any) -> int:
    typed = click.get_current_context().params
    filters = {name: typed[name] for name in FILTER_NAMES if typed[name]}
    options = BulkOptions(action, filters=filters, **given)
    if options.begun:
        return _run(options)
    if not filters:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in FILTER_NAMES)
        raise click.UsageError(f"say which runs, by one or more of {names}")
    if not options.reason.strip():
        raise click.UsageError("say why, with --reason")
    if action == "extend" and not options.duration:
        raise click.UsageError("say by how much, with DURATION, such as 2h")
    return _run(options)


@run_async
async def _run(options: BulkOptions) -> int:
    from receiver.cli.pipeline.bulk.running import act_on_many

    return await act_on_many(options)
