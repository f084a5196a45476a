"""List and count runs: for each open one who is waited for, since when, and until when."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from activities.finding import RunFilter
from activities.listing import FailedRuns, OpenStages, Run, Wait, count_runs, failed_runs, list_runs, waits_of
from activities.partners import PARTNERS
from activities.runs import Runs
from activities.waiting import waiting_runs
from activities.waiting_counts import WaitingCounts, count_waiting
from receiver.cli.output import counted, note, print_json, say
from receiver.cli.partner.lanes import find_lanes
from receiver.cli.pipeline.runs import connect_runs
from receiver.cli.tables import print_list
from receiver.telling.lanes import lane_text
from receiver.telling.moments import deadline_text, span
from workflows.lanes import call_lane

LONGEST_TROUBLE: Final = 120
"""Characters of a trouble or a failure in a list."""

Waits = Mapping[str, Sequence[Wait] | None]


@dataclass(frozen=True)
class _Listed:
    """The runs to print. order: which come first. total: how many match. note: what the order leaves out, or ""."""

    runs: Sequence[Run]
    order: str
    total: int
    note: str = ""


async def print_runs(limit: int, where: RunFilter, *, as_json: bool) -> None:
    """Print the runs that match; raises `AttributesOff`.

    Those chosen by what they wait for come in the order of their urgency, and all others by their start.
    """
    runs = await connect_runs()
    found = await (_most_urgent if where.is_of_stages else _latest)(runs, limit, where)
    listed = found.runs
    waits = await waits_of(runs, (run for run in listed if run.status == "running"))
    if as_json:
        print_json([{**asdict(run), "waits": _as_json(waits.get(run.run_id, []))} for run in listed])
    elif listed:
        _print_table(listed, waits, time.time())
    else:
        note(_nothing(where))
    if found.total > len(listed):
        note(f"the {found.order} {len(listed)} of {found.total} runs: --limit shows more")
    if found.note:
        note(found.note)
    await _note_held_lanes(listed, waits)
    if silent := [id_ for id_, found in waits.items() if found is None]:
        what = f"{counted(silent, 'run')} did not say what is waited for"
        note(f"{what}: start `stagehook worker` if none runs, or list fewer runs")


async def _note_held_lanes(listed: Sequence[Run], waits: Waits) -> None:
    """Say what holds the calls that the list shows as `calling`, on the task queue of their run."""
    calling = {
        (wait.partner, call_lane(run.task_queue, wait.partner))
        for run in listed
        for wait in waits.get(run.run_id) or ()
        if wait.state == "calling"
    }
    lanes = await find_lanes({(name, queue): queue for name, queue in sorted(calling)}) if calling else {}
    for (name, _), lane in lanes.items():
        if lane.hold or not lane.served:
            note(f"calls to {name}: {lane_text(name, lane)}")


async def _latest(runs: Runs, limit: int, where: RunFilter) -> _Listed:
    known = await list_runs(runs, limit=limit + 1, where=where)
    total = len(known) if len(known) <= limit else sum((await count_runs(runs, where)).values())
    return _Listed(known[:limit], "latest", total)


async def _most_urgent(runs: Runs, limit: int, where: RunFilter) -> _Listed:
    found = await waiting_runs(runs, where, now=datetime.now(UTC), first=0, most=limit)
    is_cut = found.total > found.sorted_runs
    note = f"only {found.sorted_runs} runs were put in order: a filter finds the others" if is_cut else ""
    return _Listed(found.shown, "most urgent", found.total, note)


async def print_failed(text: str, since: datetime, *, limit: int, as_json: bool) -> None:
    """Print the runs that failed since with this text in their failure."""
    read = await failed_runs(await connect_runs(), text, since)
    shown = read.found[:limit]
    if as_json:
        print_json([{**asdict(one.run), "failure": one.failure} for one in shown])
    elif shown:
        rows = [(one.run.workflow_id, one.run.pipeline, _utc(one.run.closed_at), _short(one.failure)) for one in shown]
        print_list(("id", "pipeline", "failed (UTC)", "failure"), rows, below=("failure", "failed (UTC)"))
    else:
        note(f"no run that failed since {_utc(since)} UTC has {text!r} in its failure")
    if len(read.found) > limit:
        note(f"the latest {limit} of {len(read.found)} runs: --limit shows more")
    _say_what_was_read(read)


async def print_count(where: RunFilter, failed: tuple[str, datetime] | None, *, as_json: bool) -> None:
    """Print the number of runs that match, by status, and of runs that wait by partner; raises `AttributesOff`."""
    runs, by_partner = await connect_runs(), dict[str, WaitingCounts]()
    if failed:
        read = await failed_runs(runs, *failed)
        by_status = {"failed": len(read.found)} if read.found else {}
        _say_what_was_read(read)
    else:
        by_status = dict(await count_runs(runs, where))
    if where.is_of_stages and by_status:
        names = [where.partner] if where.partner else list(PARTNERS)
        by_partner = {name: counts for name, counts in await _counts(runs, names, where) if counts.waiting}
    total = sum(by_status.values())
    if as_json:
        shown = {name: asdict(counts) for name, counts in by_partner.items()}
        print_json({"runs": total, "by_status": by_status} | ({"by_partner": shown} if where.is_of_stages else {}))
        return
    parts = ", ".join(f"{number} {status}" for status, number in sorted(by_status.items()))
    say(f"{counted(total, 'run')}: {parts}" if parts else "0 runs")
    if by_partner:
        rows = [(name, *map(str, (one.waiting, one.needing_person, one.overdue))) for name, one in by_partner.items()]
        print_list(("partner", "runs", "need a person", "overdue"), rows, below=())


async def _counts(runs: Runs, partners: Sequence[str], where: RunFilter) -> list[tuple[str, WaitingCounts]]:
    async with runs.reaching():
        found = await count_waiting(runs.client, partners, where)
    return sorted(found.items(), key=lambda one: one[1].waiting, reverse=True)


def _say_what_was_read(read: FailedRuns) -> None:
    if read.is_cut:
        note(f"the latest {read.read} failures were read, and there are more: name a later --since for the others")


def _print_table(listed: Sequence[Run], waits: Waits, now: float) -> None:
    rows = [row for run in listed for row in _rows(run, waits.get(run.run_id, []), now)]
    titles = ("id", "pipeline", "status", "stage", "partner", "call", "since", "deadline", "trouble")
    print_list(titles, rows, below=("trouble", "pipeline", "partner", "since"))


def _rows(run: Run, waits: Sequence[Wait] | None, now: float) -> list[tuple[str, ...]]:
    """The lines of a run: one for each open stage; one without a stage if it has none, or does not say it."""
    if waits is None and run.open_stages:
        return [_row_without_worker(run, run.open_stages, now)]
    if not waits:
        ended = run.closed_at or run.started_at
        unknown = "?" if waits is None else ""
        since = f"{span(now - ended.timestamp())} ago"
        return [(run.workflow_id, run.pipeline, run.status, unknown, unknown, "", since, "", "")]
    return [
        (
            run.workflow_id,
            run.pipeline,
            wait.state.replace("_", " "),
            f"{wait.number} {wait.stage}".rstrip(),
            wait.partner,
            str(wait.attempt or ""),
            f"{span(now - wait.since)} ago" if wait.since else "",
            deadline_text(wait.deadline, now),
            _short(wait.trouble),
        )
        for wait in waits
    ]


def _row_without_worker(run: Run, known: OpenStages, now: float) -> tuple[str, ...]:
    """What Temporal knows of a run that no worker tells of: not since when, nor which call."""
    return (
        run.workflow_id,
        run.pipeline,
        known.state.replace("_", " "),
        ", ".join(known.stages),
        ", ".join(known.partners),
        "?",
        "?",
        deadline_text(known.deadline, now),
        "no worker answers",
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TROUBLE else f"{text[: LONGEST_TROUBLE - 3]}..."


def _utc(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""


def _as_json(waits: Sequence[Wait] | None) -> list[dict[str, Any]] | None:
    return None if waits is None else [asdict(wait) for wait in waits]


def _nothing(where: RunFilter) -> str:
    if where.needs_attributes:
        return "no run matches; runs that were started before `stagehook setup` are not found by these filters"
    if where != RunFilter():
        return "no run matches"
    return "no runs yet: start one with `stagehook pipeline start onboarding`"
