"""`stagehook delivery replay`: send captured deliveries again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.delivery.filters import filter_options
from receiver.cli.names import RUN_ID
from receiver.cli.output import NumberRange, json_option, run_async

if TYPE_CHECKING:
    from receiver.deliveries.filters import Filters
    from receiver.replay.sending import Mode

SPEEDS: Final = {"1": 1.0, "10": 10.0, "max": 0.0}


@dataclass(frozen=True)
class ReplayOptions:
    """The typed options. file, to, workflow: "" if not given. speed: a key of `SPEEDS`. rate: deliveries per second."""

    ids: tuple[str, ...]
    filters: Filters
    file: str
    to: str
    allow_remote: bool
    mode: Mode
    start: bool
    workflow: str
    stage: int | None
    speed: str
    rate: float
    dry_run: bool
    expect: bool
    yes: bool
    as_json: bool

    def aims_in_two_ways(self) -> bool:
        """Whether the options that say where to send contradict each other."""
        named = self.start or bool(self.workflow)
        return (
            (self.start and bool(self.workflow))
            or (self.mode == "verbatim" and named)
            or (bool(self.stage) and not self.workflow)
        )


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options(run_by="--of-")
@click.option("--from", "file", default="", metavar="FILE|-", help="From an export, in place of the store.")
@click.option("--to", default="", metavar="URL", help="The receiver to send to; PUBLIC_URL if not given.")
@click.option("--allow-remote", is_flag=True, help="Let --to be another machine.")
@click.option("--mode", default="resign", show_default=True, type=click.Choice(["resign", "verbatim"]))
@click.option("--start", is_flag=True, help="Into stand-ins of the captured runs, even if those are there.")
@click.option("--workflow", default="", type=RUN_ID, metavar="ID", help="Into this run.")
@click.option("--stage", type=click.IntRange(1, 1000), help="With --workflow: into this stage of it.")
@click.option("--speed", default="max", show_default=True, type=click.Choice(list(SPEEDS)), help="Times as captured.")
@click.option("--rate", default=0.0, type=NumberRange(0, 1000), help="At most so many a second.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--expect", is_flag=True, help="Exit 1 if an answer differs from the one at capture.")
@click.option("--yes", is_flag=True, help="With --allow-remote: do not ask.")
@json_option
@run_async
async def replay(**given: Any) -> int:
    """Send captured deliveries again, in the order of capture.

    \b
    resign    a new token for the run that they are sent to,
              and a new body signature by the local secret
    verbatim  a new token with the captured claims; nothing else changes

    If this Temporal does not have the captured run, the delivery is sent to a stand-in: a run of the captured pipeline
    that begins at the delivery's stage and calls no partner.
    """
    options = ReplayOptions(**given)
    if options.aims_in_two_ways():
        raise click.UsageError("--start, --workflow [--stage] and --mode verbatim each say where to: give one of them")
    from receiver.cli.delivery.replaying import replay_deliveries

    return await replay_deliveries(options)
