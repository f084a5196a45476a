"""Print statistics of partners: of one with its stages, or of all in a list."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Final

from activities.environment import Environment, is_text
from activities.store.store import Store
from receiver.cli.db.store import need_store
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import counted, note, print_json, say
from receiver.cli.partner.settings import check_name, enabled_names
from receiver.cli.tables import print_list
from receiver.cli.terminal import printable
from receiver.deliveries.call_times import MOST_READ
from receiver.deliveries.partner_stats import FEWEST_CALLBACKS, PartnerStats, StageStats, Stats, read_stats
from receiver.deliveries.retention import REFUSED_DAYS
from receiver.durations import short_duration
from receiver.telling.moments import utc_text
from workflows.durations import DAY, MINUTE

STAGE_TITLES: Final = (
    *("stage", "calls", "back", "p50", "p95", "p99"),
    *("waiting", "too long", "late", "timeout", "suggested"),
)
PARTNER_TITLES: Final = ("partner", "calls", "back", "p99", "waiting", "too long", "refused", "last heard", "silent")
MOST_REFUSALS: Final = 10
"""Reasons of refusals that are printed, the most frequent; JSON has all."""


def print_stats(name: str | None, since: float, *, as_json: bool) -> None:
    """Print the statistics of a partner, or of all for None. since: unix seconds.

    Raises `CommandError` for an unknown partner, without a store, and for a time to come; `StoreAway`.
    """
    if name is not None and not (name and is_text(name)):
        check_name(name)
    stats = _read(name or "", since)
    if name and not _is_known(stats.partners[0]):
        check_name(name)
    if as_json:
        print_json(stats)
    elif name:
        _print_partner(stats.partners[0], stats)
    else:
        _print_partners(stats)
    _tell_limits(stats)


def _read(name: str, since: float) -> Stats:
    """Read the statistics since then, but not before what the store keeps."""
    now = time.time()
    if since >= now:
        raise CommandError(f"--since {utc_text(since)} UTC is not over", "name a time before now", Exit.USAGE)
    kept_since = now - _kept_days() * DAY
    if since < kept_since:
        note(f"only since {utc_text(kept_since)} UTC: the store keeps no deliveries from before (RETENTION_DAYS)")
    with need_store().begin() as connection:
        return read_stats(connection, max(since, kept_since), now, name)


def _kept_days() -> int:
    """The days for which the store keeps deliveries; raises `CommandError` if there is no store."""
    env = Environment(os.environ)
    store = Store.read(env)
    env.check()
    if store is None:
        what = "statistics of partners come from a store, and DATABASE_URL is not set"
        advice = "set DATABASE_URL for web and worker, which record callbacks and calls in it, and for this command"
        raise CommandError(what, advice, Exit.USAGE)
    return store.days


def _is_known(one: PartnerStats) -> bool:
    return bool(one.calls or one.refused or one.parked or one.last_heard)


def _print_partners(stats: Stats) -> None:
    found = {one.partner: _partner_cells(one, stats.until) for one in stats.partners}
    never_called = ("0", "0", "", "0", "0", "0", "", "")
    names = sorted({*found, *enabled_names()})
    print_list(PARTNER_TITLES, [(name, *found.get(name, never_called)) for name in names], below=("last heard",))


def _partner_cells(one: PartnerStats, now: float) -> tuple[str, ...]:
    heard = f"{short_duration(now - one.last_heard)} ago" if one.last_heard else ""
    silent = "yes" if one.is_silent else ""
    counts = (one.calls, one.answered, one.waiting, one.overdue, _refused_count(one))
    calls, back, waiting, overdue, refused = map(str, counts)
    return calls, back, short_duration(one.times.p99), waiting, overdue, refused, heard, silent


def _print_partner(one: PartnerStats, stats: Stats) -> None:
    if one.stages:
        print_list(STAGE_TITLES, map(_stage_cells, one.stages), below=("stage",))
        say("")
    facts = list(_facts(one, stats))
    width = max(len(title) for title, _ in facts)
    for title, text in facts:
        say(f"{title:{width}}  {printable(text)}")
    if not one.calls:
        note(f"no call to {one.partner} was recorded since then: a worker with DATABASE_URL records calls")
    elif any(stage.suggested is None for stage in one.stages):
        note(f"too few: a deadline is suggested from {FEWEST_CALLBACKS} callbacks")


def _stage_cells(stage: StageStats) -> tuple[str, ...]:
    times = stage.times
    return (
        f"{stage.pipeline} {stage.stage} {stage.name}".strip(),
        *(str(count) for count in (stage.calls, stage.answered)),
        *(short_duration(seconds) for seconds in (times.p50, times.p95, times.p99)),
        *(str(count) for count in (stage.waiting, stage.overdue, stage.late)),
        short_duration(stage.timeout),
        short_duration(stage.suggested) or "too few",
    )


def _facts(one: PartnerStats, stats: Stats) -> Iterator[tuple[str, str]]:
    yield "since", f"{utc_text(stats.since)} UTC"
    yield "last call", _moment(one.last_call, stats)
    yield "last heard", _moment(one.last_heard, stats)
    yield "silent", _silence(one)
    yield "duplicates", str(one.duplicates)
    yield "conflicts", str(one.conflicts)
    yield "parked", str(one.parked)
    yield "refused", str(_refused_count(one))
    for refusals in one.refused[:MOST_REFUSALS]:
        yield "", f"{refusals.count} {refusals.verdict}" + (f": {refusals.reason}" if refusals.reason else "")
    if (left_out := len(one.refused) - MOST_REFUSALS) > 0:
        yield "", f"and {counted(left_out, 'other reason')}: `stagehook partner stats {one.partner} --json`"


def _moment(at: float | None, stats: Stats) -> str:
    return f"{utc_text(at)} UTC, {short_duration(stats.until - at)} ago" if at else "not since then"


def _silence(one: PartnerStats) -> str:
    if not one.is_silent:
        return "no"
    see = "; see what was refused" if one.refused else ""
    return f"yes: {one.overdue} calls wait too long, nothing since{see}"


def _refused_count(one: PartnerStats) -> int:
    return sum(refusals.count for refusals in one.refused)


def _tell_limits(stats: Stats) -> None:
    """Say on stderr what was not read."""
    cuts: Sequence[tuple[str, float | None]] = (
        ("calls", stats.calls_cut_at),
        ("deliveries", stats.deliveries_cut_at),
    )
    for what, at in cuts:
        if at:
            note(f"only the latest {MOST_READ} {what} of all partners were read: those after {utc_text(at)} UTC")
    if stats.until - stats.since > REFUSED_DAYS * DAY + MINUTE:
        note(f"refused requests, and callbacks after the end of their run, are kept for {REFUSED_DAYS} days only")
