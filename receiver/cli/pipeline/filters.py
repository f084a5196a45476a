"""The filters that choose runs: every command with filters has the same options."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, TypeVar

import click

from activities.run_words import RUN_STATUSES
from receiver.cli.names import PARTNER, PIPELINE
from receiver.durations import date_of

T = TypeVar("T")

STATES: Final = ("needs_person", "calling", "waiting")

RUN_OPTIONS: Final = (
    click.option("--waiting", is_flag=True, help="Open runs that wait for a partner or for a person."),
    click.option("--needs-person", is_flag=True, help="Open runs with a stage that waits for a person."),
    click.option("--state", type=click.Choice(STATES), help="Open runs with a stage in this state."),
    click.option("--overdue", is_flag=True, help="Open runs with a stage past its deadline."),
    click.option("--due", default="", metavar="TIME", help="... whose deadline comes within 2h, or before a time."),
    click.option("--partner", default="", type=PARTNER, help="Open runs with an open stage of this partner."),
    click.option("--stage", default="", metavar="NAME", help="Open runs with an open stage of this name."),
    click.option("--pipeline", default="", type=PIPELINE, help="Runs of this pipeline."),
    click.option("--status", type=click.Choice(tuple(RUN_STATUSES)), help="Runs of this status."),
    click.option("--since", default="", metavar="TIME", help="Started since: 2h for two hours ago, or ISO 8601."),
    click.option(
        "--failed-with",
        default="",
        metavar="TEXT",
        help="Runs that failed --since, with TEXT in their failure; alone with --since.",
    ),
)

FILTER_NAMES: Final = (
    "waiting",
    "needs_person",
    "state",
    "overdue",
    "due",
    "partner",
    "stage",
    "pipeline",
    "status",
    "since",
    "failed_with",
)
"""The options' names as arguments of a function."""


def run_filter_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add the filter options to a command.

    It gets them as the arguments `where`, a `RunFilter`, and `failed`, the text and the moment of `--failed-with`, or
    None.
    """

    @wraps(command)
    def run(
        *,
        waiting: bool,
        needs_person: bool,
        state: str | None,
        overdue: bool,
        due: str,
        since: str,
        failed_with: str,
        **others: Any,
    ) -> T:
        from activities.environment import is_text
        from activities.finding import RunFilter

        if needs_person and state not in {None, "needs_person"}:
            raise click.UsageError(f"a stage that needs a person is not in the state {state}: give one of the two")
        given = {name: others.pop(name) or "" for name in ("partner", "stage", "pipeline", "status")}
        for text in (*given.values(), failed_with):
            if not is_text(text):
                raise click.UsageError(f"{text!r} is not UTF-8")
        moments = [_moment("--due", due, ahead=True)] if due else []
        where = RunFilter(
            **given,
            state="needs_person" if needs_person else state or "",
            waiting=waiting,
            due=min([*moments, *([datetime.now(UTC)] if overdue else [])], default=None),
            since=_moment("--since", since) if since else None,
        )
        return command(where=where, failed=_failed(where, failed_with), **others)

    for option in reversed(RUN_OPTIONS):
        run = option(run)
    return run


def _failed(where: Any, text: str) -> tuple[str, datetime] | None:
    from activities.finding import RunFilter

    if not text:
        return None
    if where.since is None:
        raise click.UsageError("--failed-with reads the failure of every run that failed --since: give --since 1d")
    if where != RunFilter(since=where.since):
        raise click.UsageError("--failed-with takes no other filter than --since")
    return text, where.since


def _moment(option: str, text: str, *, ahead: bool = False) -> datetime:
    try:
        return date_of(option, text, ahead=ahead)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
