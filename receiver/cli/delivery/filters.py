"""The filters that choose deliveries: every command with filters has the same options."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from receiver.cli.durations import read_moment
from receiver.cli.names import PARTNER, PIPELINE, RUN_ID, VERDICT

T = TypeVar("T")

OPTIONS = (
    click.option(
        "--verdict",
        multiple=True,
        type=VERDICT,
        metavar="VERDICT",
        help="Once or more: accepted, duplicate, conflict, gone, ignored, unmatched, unproven, unreadable, ...",
    ),
    click.option("--refused", is_flag=True, help="What was answered 4xx or 5xx."),
    click.option("--partner", default="", type=PARTNER, help="Of this partner."),
    click.option("--pipeline", default="", type=PIPELINE, help="Of runs of this pipeline."),
    click.option("--fate", type=click.Choice(["pending", "taken", "refused", "parked"]), help="What became of it."),
    click.option(
        "--since", default="", metavar="TIME", help="Received at or after: 2h for two hours ago, or ISO 8601."
    ),
    click.option("--until", default="", metavar="TIME", help="Received before."),
)


def filter_options(run_by: str = "--") -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Add the filter options to a command, which gets them as the argument `filters`.

    run_by: the prefix of the options for run and stage, if `--workflow` and `--stage` have another meaning there.
    """
    # Every command also accepts the longer names.
    workflow, stage = ({f"{begin}{name}" for begin in (run_by, "--of-")} for name in ("workflow", "stage"))
    of_run = (
        click.option(*sorted(workflow), "of_workflow", default="", type=RUN_ID, metavar="ID", help="Of this run."),
        click.option(*sorted(stage), "of_stage", type=click.IntRange(1, 1000), help="Of this stage."),
    )

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        @wraps(command)
        def run(*args: Any, since: str, until: str, of_workflow: str, of_stage: int | None, **others: Any) -> T:
            from activities.environment import is_text
            from receiver.deliveries.filters import Filters

            names = ("partner", "pipeline", "fate")
            texts: dict[str, Any] = {name: others.pop(name) or "" for name in names}
            for given in (*texts.values(), of_workflow):
                if not is_text(given):
                    raise click.UsageError(f"{given!r} is not UTF-8")
            filters = Filters(
                **texts,
                verdicts=tuple(others.pop("verdict")),
                refused=others.pop("refused"),
                workflow=of_workflow,
                stage=of_stage or 0,
                since=read_moment("--since", since) if since else None,
                until=read_moment("--until", until) if until else math.inf,
            )
            return command(*args, filters=filters, **others)

        for option in reversed((*OPTIONS, *of_run)):
            run = option(run)
        return run

    return decorate
