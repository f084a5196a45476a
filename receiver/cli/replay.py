"""`stagehook delivery replay`: send captured deliveries again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
import httpx
from rich.console import Console
from rich.progress import Progress

from activities.callback_urls import CallbackURLs
from activities.client import connect, connect_config
from activities.environment import is_loopback
from activities.runs import Runs
from activities.settings import Settings
from receiver.cli.db import need_store
from receiver.cli.errors import CommandError, Exit
from receiver.cli.numbers import NumberRange
from receiver.cli.output import confirm, counted, json_option, note, print_json, print_list, run_async, shown
from receiver.cli.selection import filter_options, read_file
from receiver.deliveries.archive import ANY, Archive, Filters
from receiver.deliveries.delivery import Delivery
from receiver.replay import UNPROVEN, Aim, Mode, Replay, Replayed, select
from receiver.replay_aims import CapturedClaims, NamedRun, Sorted, StandIns
from receiver.signals import definition_digest
from workflows.pipelines import PIPELINES

SPEEDS: Final = {"1": 1.0, "10": 10.0, "max": 0.0}
ANSWER_WITHIN: Final = 10.0
SHOWN: Final = 200
"""Lines of the table at the end; a difference is always shown."""


@dataclass(frozen=True)
class Wish:
    """What the command was told to do."""

    to: str
    allow_remote: bool
    mode: Mode
    start: bool
    workflow: str
    stage: int
    speed: float
    rate: float


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options(run_by="--of-")
@click.option("--from", "file", default="", metavar="FILE|-", help="From an export, in place of the store.")
@click.option("--to", default="", metavar="URL", help="The receiver to send to; PUBLIC_URL if not given.")
@click.option("--allow-remote", is_flag=True, help="Let --to be another machine.")
@click.option("--mode", default="resign", show_default=True, type=click.Choice(["resign", "verbatim"]))
@click.option("--start", is_flag=True, help="Into stand-ins of the captured runs, even if those are there.")
@click.option("--workflow", default="", metavar="ID", help="Into this run.")
@click.option("--stage", type=click.IntRange(1, 1000), help="With --workflow: into this stage of it.")
@click.option("--speed", default="max", show_default=True, type=click.Choice(list(SPEEDS)), help="Times as captured.")
@click.option("--rate", default=0.0, type=NumberRange(0, 1000), help="At most so many a second.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--expect", is_flag=True, help="Exit 1 if an answer differs from the one at capture.")
@click.option("--yes", is_flag=True, help="With --allow-remote: do not ask.")
@json_option
@run_async
async def replay(
    ids: tuple[str, ...],
    filters: Filters,
    file: str,
    to: str,
    allow_remote: bool,
    mode: Mode,
    start: bool,
    workflow: str,
    stage: int | None,
    speed: str,
    rate: float,
    dry_run: bool,
    expect: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Send captured deliveries again, in the order of capture.

    \b
    resign    a new token for the run that they are sent to,
              and a new body signature by the local secret
    verbatim  a new token with the captured claims, and nothing else changed

    A delivery whose captured run is not on the Temporal at hand is sent to a stand-in: a run of the captured pipeline
    that begins at the delivery's stage and calls no partner.
    """
    if (start and workflow) or (mode == "verbatim" and (start or workflow)) or (stage and not workflow):
        raise click.UsageError("--start, --workflow [--stage] and --mode verbatim each say where to: give one of them")
    settings = Settings.from_env(os.environ)
    to = to.rstrip("/") or settings.public_url
    wish = Wish(to, allow_remote, mode, start, workflow, stage or 0, SPEEDS[speed], rate)
    if not is_loopback(wish.to) and not allow_remote:
        what = f"{wish.to} is not this machine"
        raise CommandError(what, "give --to a loopback URL, or say --allow-remote if you mean it", Exit.USAGE)
    meant = mode == "verbatim" or bool(ids) or filters.verdict == UNPROVEN
    chosen, left = select(_choose(ids, filters, file), unproven=meant)
    for delivery, why in left:
        note(f"left out: {shown(delivery.id)}, {why}")
    if not chosen:
        source = "export` writes what --from takes" if file else "list` shows what there is"
        raise CommandError("no delivery to replay", f"`stagehook delivery {source}", Exit.NOT_FOUND)
    replaying = Replay(
        httpx.AsyncClient(timeout=ANSWER_WITHIN, trust_env=False),
        CallbackURLs(wish.to, settings.callback_keys),
        settings.partners,
        mode=mode,
        speed=wish.speed,
        rate=rate,
    )
    replaying.check(chosen)
    aim = await _aim(wish, chosen, settings)
    _tell(wish, chosen, aim, left_out=len(left), as_json=dry_run and as_json)
    if dry_run:
        return Exit.OK
    if allow_remote and not yes:
        if not sys.stdin.isatty():
            raise CommandError("nobody is there to confirm a replay to another machine", "say --yes", Exit.USAGE)
        confirm()
    try:
        replayed = await _send(replaying, chosen, aim)
    finally:
        await replaying.http.aclose()
        await aim.aclose()
    _report(replayed, as_json=as_json)
    if unanswered := replayed[-1].error:
        what = f"{wish.to} did not answer ({unanswered}); {len(chosen) - len(replayed)} were not sent"
        raise CommandError(what, "start the receiver, and check --to and PUBLIC_URL")
    return Exit.FAILED if expect and not all(one.same for one in replayed) else Exit.OK


def _choose(ids: Sequence[str], filters: Filters, file: str) -> list[Delivery]:
    if sum([bool(ids), bool(file)]) > 1:
        raise click.UsageError("give IDs, or --from a file, not both")
    if file:
        return [delivery for delivery in read_file(file) if filters.matches(delivery)]
    if ids:
        archive = Archive(need_store())
        return [archive.get(id_) for id_ in ids]
    if filters == ANY:
        raise click.UsageError("say which: IDs, --from FILE, or filters such as --since 2h")
    return list(Archive(need_store()).every(filters))


async def _aim(wish: Wish, deliveries: Sequence[Delivery], settings: Settings) -> Aim:
    if wish.mode == "verbatim":
        return CapturedClaims()
    where = connect_config(os.environ)
    address = str(where["target_host"])
    if not is_loopback(f"http://{address}") and not wish.allow_remote:
        what = f"Temporal at {address} is not on this machine, and runs would be begun or answered there"
        raise CommandError(what, "set TEMPORAL_ADDRESS to a local one, or say --allow-remote", Exit.USAGE)
    note(f"Temporal at {address}, namespace {where.get('namespace', 'default')}")
    runs = Runs(await connect(os.environ))
    if wish.workflow:
        return NamedRun(runs, wish.workflow, wish.stage)
    stand_ins = StandIns(runs, deliveries, settings.task_queue)
    if wish.start:
        return stand_ins
    chains = {delivery.chain_id: delivery.workflow_id for delivery in deliveries}
    return Sorted({chain for chain, run in chains.items() if await runs.has(run, chain)}, stand_ins)


def _tell(wish: Wish, deliveries: Sequence[Delivery], aim: Aim, *, left_out: int, as_json: bool) -> None:
    for line in _plan(wish, deliveries, aim):
        note(shown(line))
    if as_json:
        print_json(_planned(wish, deliveries, aim, left_out=left_out))


def _plan(wish: Wish, deliveries: Sequence[Delivery], aim: Aim) -> list[str]:
    """What will be done, in a few lines."""
    runs = {delivery.chain_id: delivery for delivery in deliveries}
    lines = [f"{counted(deliveries, 'delivery', 'deliveries')} of {counted(runs, 'run')}, to {wish.to}, {wish.mode}"]
    begun = [delivery for chain, delivery in runs.items() if aim.is_begun(chain)]
    if wish.workflow:
        lines.append(f"  into the run {wish.workflow}" + (f", stage {wish.stage}" if wish.stage else ""))
    elif wish.mode == "verbatim":
        lines.append("  by the captured claims, whether the runs are here or not")
    elif len(begun) < len(runs):
        lines.append(f"  {len(runs) - len(begun)} into the captured runs")
    if begun:
        of = "" if wish.start else " of runs that are not here"
        lines.append(f"  {len(begun)} into stand-ins{of}; no partner is called")
    lines += sorted({line for delivery in begun if (line := _difference(delivery))})
    return lines


def _planned(wish: Wish, deliveries: Sequence[Delivery], aim: Aim, *, left_out: int) -> dict[str, Any]:
    """The same for programs."""
    runs: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        runs.setdefault(delivery.chain_id, []).append(delivery)
    return {
        "matching": len(deliveries),
        "left_out": left_out,
        "to": wish.to,
        "mode": wish.mode,
        "runs": [_planned_run(wish, those, aim) for those in runs.values()],
    }


def _planned_run(wish: Wish, deliveries: Sequence[Delivery], aim: Aim) -> dict[str, Any]:
    """What will be done with one run's deliveries. into: a run's id, None for a stand-in, which has none yet."""
    last = deliveries[-1]
    begun = aim.is_begun(last.chain_id)
    return {
        "workflow_id": last.workflow_id,
        "into": None if begun else wish.workflow or last.workflow_id,
        "deliveries": [{"id": one.id, "partner": one.partner, "stage": wish.stage or one.stage} for one in deliveries],
        "difference": _difference(last).strip() if begun else "",
    }


def _difference(delivery: Delivery) -> str:
    """What is different about the pipeline here, if it is."""
    known = PIPELINES.get(delivery.pipeline)
    if known is None:
        return f"  pipeline {delivery.pipeline or 'unknown'} is not known here: stages by number"
    if delivery.definition and delivery.definition != definition_digest(known):
        return f"  pipeline {delivery.pipeline} has another definition here than at capture"
    return ""


async def _send(replaying: Replay, deliveries: Sequence[Delivery], aim: Aim) -> list[Replayed]:
    replayed: list[Replayed] = []
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("replaying", total=len(deliveries))
        try:
            async for one in replaying.send_all(deliveries, aim):
                replayed.append(one)
                bar.advance(task)
                if one.error:
                    break
        except asyncio.CancelledError:
            note(f"stopped: {len(replayed)} of {counted(deliveries, 'delivery', 'deliveries')} had been answered")
            raise
    return replayed


def _report(replayed: Sequence[Replayed], *, as_json: bool) -> None:
    same = sum(one.same for one in replayed)
    if as_json:
        print_json({"sent": len(replayed), "same": same, "deliveries": [_line(one) for one in replayed]})
        return
    shown = [one for place, one in enumerate(replayed) if place < SHOWN or not one.same]
    titles = ("id", "partner", "stage", "into", "at capture", "now", "same")
    print_list(titles, map(_cells, shown), below=("into", "partner"))
    answered = sum(bool(one.answered) for one in replayed)
    note(f"{len(replayed)} sent, {answered} answered, {same} as at capture")


def _cells(one: Replayed) -> tuple[str, ...]:
    delivery = one.delivery
    now = str(one.answered) if one.answered else one.error
    stage = f"{delivery.stage}/{delivery.attempt}"
    same = "yes" if one.same else "NO"
    return delivery.id, delivery.partner, stage, one.workflow_id, str(delivery.status), now, same


def _line(one: Replayed) -> dict[str, Any]:
    return {
        "id": one.delivery.id,
        "partner": one.delivery.partner,
        "workflow_id": one.workflow_id,
        "stage": one.delivery.stage,
        "captured": one.delivery.status,
        "answered": one.answered,
        "error": one.error,
        "same": one.same,
    }
