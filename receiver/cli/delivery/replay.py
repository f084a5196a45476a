"""`stagehook delivery replay`: send captured deliveries again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Final

import click
import httpx
from rich.progress import Progress

from activities.callback_urls import CallbackURLs
from activities.client import connect, connect_config
from activities.environment import Environment, is_loopback
from activities.runs import Runs
from activities.settings import Settings
from receiver.cli.db import need_store
from receiver.cli.delivery.replay_plan import Plan, Wish
from receiver.cli.delivery.replay_report import report
from receiver.cli.delivery.selection import filter_options, read_file, refuse_both
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import NumberRange, cancel_on_signals, confirm, console, counted, json_option, note, run_async
from receiver.cli.terminal import printable
from receiver.deliveries.archive import ANY, Archive, Filters
from receiver.deliveries.delivery import Delivery
from receiver.replay.aims import TAKEN_WITHIN, CapturedClaims, NamedRun, Sorted, StandIns
from receiver.replay.sending import MISSIGNED, UNPROVEN, Aim, Mode, Replay, Replayed, select
from receiver.replay.stand_ins import is_stand_in

SPEEDS: Final = {"1": 1.0, "10": 10.0, "max": 0.0}
ANSWER_WITHIN: Final = 10.0
DAY: Final = 24 * 3600.0
LONGEST_DAYS: Final = 30
"""Of a replay. The stand-ins' timers and tokens last longer."""


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
    wish = Wish(_receiver(to, settings, allow_remote=allow_remote), allow_remote, mode, start, workflow, stage or 0)
    chosen, left_out = _select(_choose(ids, filters, file), ids, filters, mode, file)
    replaying = Replay(
        httpx.AsyncClient(timeout=ANSWER_WITHIN, trust_env=False),
        CallbackURLs(wish.to, settings.callback_keys),
        settings.partners,
        mode=mode,
        speed=SPEEDS[speed],
        rate=rate,
    )
    seconds = replaying.seconds(chosen)
    if seconds > LONGEST_DAYS * DAY:
        what = f"the replay would take more than {LONGEST_DAYS} days"
        raise CommandError(what, "give a greater --rate or --speed, or fewer deliveries", Exit.USAGE)
    replaying.check(chosen)
    aim = await _aim(wish, chosen, settings, seconds)
    Plan(wish, chosen, aim, left_out, seconds).tell(as_json=dry_run and as_json)
    if dry_run:
        return Exit.OK
    if not yes and _is_remote(wish):
        if not sys.stdin.isatty():
            raise CommandError(
                "stdin is not a terminal, so a replay to another machine cannot be confirmed", "say --yes", Exit.USAGE
            )
        confirm()
    cancel_on_signals()
    replayed: list[Replayed] = []
    try:
        try:
            await _send(replaying, chosen, aim, replayed)
        finally:  # whatever has happened, this was sent
            report(replayed, of=len(chosen), left_out=left_out, as_json=as_json)
        late = await aim.late(replayed)
        for run in late:
            note(f"{printable(run)} is left open: not all that was answered 2xx came to it within {TAKEN_WITHIN:g} s")
    finally:
        await replaying.http.aclose()
        await aim.aclose()
    _check_answers(wish, replayed, not_sent=len(chosen) - len(replayed))
    if late:
        what = f"{counted(late, 'stand-in')} lack what was answered 2xx, and stay open for it"
        advice = "`stagehook delivery list --fate pending` shows what waits; `stagehook pipeline cancel` ends the run"
        raise CommandError(what, advice)
    return Exit.FAILED if expect and not all(one.same for one in replayed) else Exit.OK


def _receiver(to: str, settings: Settings, *, allow_remote: bool) -> str:
    """The base URL to send to."""
    given = Environment({"--to": to or settings.public_url})
    url = given.url("--to", fix="give the receiver's base URL, such as http://127.0.0.1:8000; https for other machines")
    for fault in given.faults:
        raise CommandError(f"{fault.name} {fault.problem}", fault.fix, Exit.USAGE)
    if not is_loopback(url) and not allow_remote:
        what = f"{url} is not this machine"
        raise CommandError(what, "give --to a loopback URL, or say --allow-remote if you mean it", Exit.USAGE)
    return url


def _is_remote(wish: Wish) -> bool:
    """Whether anything but this machine is sent to."""
    return not is_loopback(wish.to) or (wish.mode != "verbatim" and not is_loopback(f"http://{_temporal_address()}"))


def _temporal_address() -> str:
    return str(connect_config(os.environ)["target_host"])


def _choose(ids: Sequence[str], filters: Filters, file: str) -> list[Delivery]:
    if ids and file:
        raise CommandError("IDs and --from each say which deliveries", "give IDs, or a file", Exit.USAGE)
    refuse_both(ids, filters)
    if file:
        return [delivery for delivery in read_file(file) if filters.matches(delivery)]
    if ids:
        return Archive(need_store()).named(ids)
    if filters == ANY:
        raise click.UsageError("say which: IDs, --from FILE, or filters such as --since 2h")
    return list(Archive(need_store()).every(filters))


def _select(
    found: Sequence[Delivery], ids: Sequence[str], filters: Filters, mode: Mode, file: str
) -> tuple[list[Delivery], int]:
    """Those that are sent, in the order of capture, and how many are left out; says which, and why."""
    named = bool(ids or file or filters.workflow)
    meant = [delivery for delivery in found if named or not is_stand_in(delivery.workflow_id)]
    unproven = mode == "verbatim" or bool(ids) or filters.verdict == UNPROVEN
    chosen, left = select(meant, unproven=unproven)
    for delivery, why in left:
        note(f"left out: {printable(delivery.id)}, {why}")
    if replays := len(found) - len(meant):
        what = counted(replays, "delivery", "deliveries")
        note(f"left out: {what} of earlier replays to stand-ins; to send them, give IDs or --of-workflow")
    if not chosen:
        source = "export` writes what --from takes" if file else "list` shows what there is"
        advice = f"`stagehook delivery {source}"
        if left and all(why == MISSIGNED for _, why in left):
            advice = "say --verdict unproven to have them signed anew, or --mode verbatim to send them as they are"
        raise CommandError("no delivery to replay", advice, Exit.NOT_FOUND)
    return chosen, len(found) - len(chosen)


async def _aim(wish: Wish, deliveries: Sequence[Delivery], settings: Settings, seconds: float) -> Aim:
    if wish.mode == "verbatim":
        return CapturedClaims()
    address = _temporal_address()
    if not is_loopback(f"http://{address}") and not wish.allow_remote:
        what = f"Temporal at {address} is not on this machine, and runs would be begun or answered there"
        raise CommandError(what, "set TEMPORAL_ADDRESS to a local one, or say --allow-remote", Exit.USAGE)
    note(f"Temporal at {address}, namespace {connect_config(os.environ).get('namespace', 'default')}")
    runs = Runs(await connect(os.environ))
    if wish.workflow:
        await runs.describe(wish.workflow)
        return NamedRun(runs, wish.workflow, wish.stage)
    lasting = seconds + len(deliveries) * ANSWER_WITHIN
    stand_ins = StandIns(runs, deliveries, settings.task_queue, lasting=lasting)
    chains = {delivery.chain_id: delivery.workflow_id for delivery in deliveries}
    there = set() if wish.start else {chain for chain, run in chains.items() if await runs.has(run, chain)}
    stand_ins.check(chains.keys() - there)
    return stand_ins if wish.start else Sorted(there, stand_ins)


async def _send(replaying: Replay, deliveries: Sequence[Delivery], aim: Aim, replayed: list[Replayed]) -> None:
    """Send them, and add each to `replayed` as it is answered."""
    errors = console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("replaying", total=len(deliveries))
        try:
            async for one in replaying.send_all(deliveries, aim):
                replayed.append(one)
                bar.advance(task)
        except asyncio.CancelledError:
            note(f"stopped: {len(replayed)} of {counted(deliveries, 'delivery', 'deliveries')} had been answered")
            raise


def _check_answers(wish: Wish, replayed: Sequence[Replayed], *, not_sent: int) -> None:
    unanswered = [one for one in replayed if one.error]
    if not unanswered:
        return
    if unanswered[-1].nobody:
        what = f"{wish.to} did not answer ({unanswered[-1].error}); {not_sent} were not sent"
        raise CommandError(what, "start the receiver, and check --to and PUBLIC_URL")
    what = f"{len(unanswered)} of {counted(replayed, 'delivery', 'deliveries')} got no answer that can be read"
    raise CommandError(what, "look at the receiver's log; the lines above say what happened")
