"""Webhook replay: choose deliveries, print the plan, send them, and report the answers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

import click
import httpx

from activities.callback_urls import CallbackURLs
from activities.client import connect, connect_config
from activities.environment import Environment, is_loopback
from activities.runs import Runs
from activities.settings import Settings
from activities.store.calls import Calls
from receiver.cli.db.store import need_archive
from receiver.cli.delivery.replay import SPEEDS, ReplayOptions
from receiver.cli.delivery.replay_plan import Plan, ReplayRequest
from receiver.cli.delivery.replay_report import print_replayed
from receiver.cli.delivery.selection import choose_from_file, refuse_both
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import ANSWER_TIMEOUT, cancel_on_signals, confirm, counted, note
from receiver.cli.tables import progress_bar
from receiver.cli.terminal import printable
from receiver.deliveries.delivery import Delivery
from receiver.deliveries.filters import ANY, Filters
from receiver.replay.aims import CapturedClaims, NamedRun
from receiver.replay.sending import MISSIGNED, UNPROVEN, Aim, Replay, Replayed, select
from receiver.replay.stand_ins import TAKEN_WITHIN, StandIns, is_stand_in
from workflows.durations import DAY

LONGEST_DAYS: Final = 30
"""The maximum duration of a replay, in days. The timers and tokens of the replay last longer."""


async def replay_deliveries(options: ReplayOptions) -> Exit:
    """Send the deliveries that the options choose; FAILED if an answer differs with `expect`. Raises `CommandError`."""
    settings = Settings.from_env(os.environ)
    request = _requested(options, settings)
    chosen, left_out = _select(_choose(options.ids, options.filters, options.file), options)
    replaying = _replay(request, settings, options)
    seconds = replaying.seconds(chosen)
    if seconds > LONGEST_DAYS * DAY:
        what = f"the replay would take more than {LONGEST_DAYS} days"
        raise CommandError(what, "give a greater --rate or --speed, or fewer deliveries", Exit.USAGE)
    replaying.check(chosen)
    aim = await _aim(request, chosen, settings, seconds)
    Plan(request, chosen, aim, left_out, seconds).tell(as_json=options.dry_run and options.as_json)
    if options.dry_run:
        return Exit.OK
    if not options.yes and is_remote(request):
        confirm_other_machine()
    replayed = await _send_and_report(replaying, chosen, aim, left_out, as_json=options.as_json)
    _check_answers(request, replayed.sent, not_sent=len(chosen) - len(replayed.sent))
    if replayed.late:
        what = f"{counted(replayed.late, 'stand-in')} lack what was answered 2xx, and stay open for it"
        advice = "`stagehook delivery list --fate pending` shows what waits; `stagehook pipeline cancel` ends the run"
        raise CommandError(what, advice)
    return Exit.FAILED if options.expect and not all(one.same for one in replayed.sent) else Exit.OK


def _requested(options: ReplayOptions, settings: Settings) -> ReplayRequest:
    to = receiver_url("--to", options.to or settings.public_url, allow_remote=options.allow_remote)
    return ReplayRequest(to, options.allow_remote, options.mode, options.start, options.workflow, options.stage or 0)


def _replay(request: ReplayRequest, settings: Settings, options: ReplayOptions) -> Replay:
    return Replay(
        httpx.AsyncClient(timeout=ANSWER_TIMEOUT, trust_env=False),
        CallbackURLs(request.to, settings.callback_keys),
        settings.partners,
        mode=request.mode,
        speed=SPEEDS[options.speed],
        rate=options.rate,
        refer=Calls(settings.store.database).refer if settings.store else None,
    )


def confirm_other_machine() -> None:
    """Ask whether to send to another machine; raises `CommandError` without a terminal."""
    if not sys.stdin.isatty():
        raise CommandError(
            "stdin is not a terminal, so a replay to another machine cannot be confirmed", "say --yes", Exit.USAGE
        )
    confirm()


class Sent(NamedTuple):
    """The sent deliveries, and the stand-ins that miss some of the deliveries that were answered 2xx."""

    sent: list[Replayed]
    late: Sequence[str]


async def _send_and_report(
    replaying: Replay, chosen: Sequence[Delivery], aim: Aim, left_out: int, *, as_json: bool
) -> Sent:
    cancel_on_signals()
    replayed: list[Replayed] = []
    try:
        try:
            await _send_all(replaying, chosen, aim, replayed)
        finally:  # also after an error: these deliveries were sent
            print_replayed(replayed, of=len(chosen), left_out=left_out, as_json=as_json)
        late = await aim.late(replayed)
        for run in late:
            note(f"{printable(run)} is left open: not all that was answered 2xx came to it within {TAKEN_WITHIN:g} s")
    finally:
        await replaying.http.aclose()
        await aim.aclose()
    return Sent(replayed, late)


def receiver_url(option: str, to: str, *, allow_remote: bool) -> str:
    """Return the base URL to send to; raises `CommandError` for another machine without `allow_remote`."""
    given = Environment({option: to, "ALLOW_HTTP": os.environ.get("ALLOW_HTTP", "")})
    url = given.url(option, fix="give the receiver's base URL, such as http://127.0.0.1:8000; https for other machines")
    for fault in given.faults:
        raise CommandError(f"{fault.name} {fault.problem}", fault.fix, Exit.USAGE)
    if not is_loopback(url) and not allow_remote:
        what = f"{url} is not this machine"
        raise CommandError(what, f"give {option} a loopback URL, or say --allow-remote if you mean it", Exit.USAGE)
    return url


def is_remote(request: ReplayRequest) -> bool:
    """Whether the receiver or Temporal, to which the replay sends, is on another machine."""
    return not is_loopback(request.to) or (
        request.mode != "verbatim" and not is_loopback(f"http://{_temporal_address()}")
    )


def _temporal_address() -> str:
    return str(connect_config(os.environ)["target_host"])


def _choose(ids: Sequence[str], filters: Filters, file: str) -> list[Delivery]:
    if ids and file:
        raise CommandError("IDs and --from each say which deliveries", "give IDs, or a file", Exit.USAGE)
    refuse_both(ids, filters)
    if file:
        return choose_from_file(file, filters)
    if not ids and filters == ANY:
        raise click.UsageError("say which: IDs, --from FILE, or filters such as --since 2h")
    archive = need_archive()
    return archive.with_requests(archive.named(ids) if ids else list(archive.every(filters)))


def _select(found: Sequence[Delivery], options: ReplayOptions) -> tuple[list[Delivery], int]:
    """Return the deliveries to send, in the order of capture, and how many are left out; print which, and why."""
    named = bool(options.ids or options.file or options.filters.workflow)
    meant = [delivery for delivery in found if named or not is_stand_in(delivery.workflow_id)]
    unproven = options.mode == "verbatim" or bool(options.ids) or UNPROVEN in options.filters.verdicts
    chosen, left = select(meant, unproven=unproven)
    for delivery, why in left:
        note(f"left out: {printable(delivery.id)}, {why}")
    if replays := len(found) - len(meant):
        what = counted(replays, "delivery", "deliveries")
        note(f"left out: {what} of earlier replays to stand-ins; to send them, give IDs or --of-workflow")
    if not chosen:
        source = "export` writes what --from takes" if options.file else "list` shows what there is"
        advice = f"`stagehook delivery {source}"
        if left and all(why == MISSIGNED for _, why in left):
            advice = "say --verdict unproven to have them signed again, or --mode verbatim to send them as they are"
        raise CommandError("no delivery to replay", advice, Exit.NOT_FOUND)
    return chosen, len(found) - len(chosen)


def tell_temporal(request: ReplayRequest) -> None:
    """Print where runs are begun or answered; raises `CommandError` for another machine without `allow_remote`."""
    address = _temporal_address()
    if not is_loopback(f"http://{address}") and not request.allow_remote:
        what = f"Temporal at {address} is not on this machine, and runs would be begun or answered there"
        raise CommandError(what, "set TEMPORAL_ADDRESS to a local one, or say --allow-remote", Exit.USAGE)
    note(f"Temporal at {address}, namespace {connect_config(os.environ).get('namespace', 'default')}")


async def _aim(request: ReplayRequest, deliveries: Sequence[Delivery], settings: Settings, seconds: float) -> Aim:
    if request.mode == "verbatim":
        return CapturedClaims()
    tell_temporal(request)
    runs = Runs(await connect(os.environ))
    if request.workflow:
        await runs.describe(request.workflow)
        return NamedRun(runs, request.workflow, request.stage)
    lasting = seconds + len(deliveries) * ANSWER_TIMEOUT
    chains = {delivery.chain_id: delivery.workflow_id for delivery in deliveries}
    there = set() if request.start else {chain for chain, run in chains.items() if await runs.has(run, chain)}
    stand_ins = StandIns(runs, deliveries, settings.task_queue, lasting=lasting, there=there)
    stand_ins.check()
    return stand_ins


async def _send_all(replaying: Replay, deliveries: Sequence[Delivery], aim: Aim, replayed: list[Replayed]) -> None:
    """Send the deliveries, and add each to `replayed` when it is answered."""
    with progress_bar("replaying", len(deliveries)) as advance:
        try:
            async for one in replaying.send_all(deliveries, aim):
                replayed.append(one)
                advance()
        except asyncio.CancelledError:
            note(f"stopped: {len(replayed)} of {counted(deliveries, 'delivery', 'deliveries')} had been answered")
            raise


def _check_answers(request: ReplayRequest, replayed: Sequence[Replayed], *, not_sent: int) -> None:
    unanswered = [one for one in replayed if one.error]
    if not unanswered:
        return
    if unanswered[-1].unreachable:
        what = f"{request.to} did not answer ({unanswered[-1].error}); {not_sent} were not sent"
        raise CommandError(what, "start the receiver, and check --to and PUBLIC_URL")
    what = f"{len(unanswered)} of {counted(replayed, 'delivery', 'deliveries')} got no answer that can be read"
    raise CommandError(what, "look at the receiver's log; the lines above say what happened")
