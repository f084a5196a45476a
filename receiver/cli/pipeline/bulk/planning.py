"""The plan of a bulk command: what is asked, checked; the runs that are listed; and what a state file has left."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import click

from activities.choosing import Chosen, ChosenRun, choose_ended_runs, choose_open_runs
from activities.run_errors import WorkerAway
from activities.runs import Runs
from activities.target import Target
from receiver.cli.durations import read_duration
from receiver.cli.errors import CommandError, Exit
from receiver.cli.pipeline.actors import os_user
from receiver.cli.pipeline.bulk import STAGE_ACTIONS, BulkAction, BulkOptions
from receiver.cli.pipeline.bulk.state import STATE_VERSION, BulkItem, BulkRequest, BulkState
from receiver.cli.tables import progress_bar
from workflows.commands import CommandRefused, read_command
from workflows.contract import Command

OPEN_OR_COMPLETED: Final = ("running", "completed")


@dataclass(frozen=True)
class BulkPlan:
    """What is asked for, and of which runs. target: where they are. total: the runs that match.

    left_out: how many of the listed runs, and why. failures_cut: whether there are more failures than were read.
    """

    request: BulkRequest
    target: Target
    items: Sequence[BulkItem]
    total: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    failures_cut: bool = False


def check_bulk_options(options: BulkOptions) -> None:
    """Raise a usage error for what no run can take, and for filters that find no run on which the action can act."""
    where = options.where
    _check(options.action, options.duration, options.actor or os_user(), options.reason)
    if options.action != "resume":
        if options.failed or where.status not in {"", "running"}:
            raise click.UsageError(f"`{options.action}` is for open runs: leave out --failed-with, and other --status")
    elif where.is_of_stages:
        raise click.UsageError("filters of stages find open runs, and `resume` is for runs that have ended")
    elif where.status in OPEN_OR_COMPLETED or not (where.status or options.failed):
        raise click.UsageError("say which ended runs: --status failed, canceled, terminated or timed_out")


def _check(action: BulkAction, duration: str, actor: str, reason: str) -> None:
    if action == "extend" and not read_duration(duration):
        raise click.UsageError(f"invalid duration {duration!r}: use more than 0")
    try:
        read_command([asdict(Command("sample", "skip", 1, actor, reason))])
    except CommandRefused as refused:
        raise click.UsageError(str(refused)) from None


async def new_plan(runs: Runs, options: BulkOptions) -> BulkPlan:
    """List the runs; raises what `choose_open_runs` and `choose_ended_runs` do, and `CommandError` if none matches."""
    target = Target.of_client(runs.client)
    try:
        chosen, is_cut = await _choose(runs, options)
    except WorkerAway as error:
        advice = "start a worker with `stagehook worker`, then run it again"
        raise CommandError(f"{error}, so nothing was done", advice, Exit.UNREACHABLE) from error
    whole = options.action not in STAGE_ACTIONS
    meant = [run for found in chosen.runs for run in ([found] if whole else _each_stage(found))]
    items = [BulkItem(number, run) for number, run in enumerate(meant, 1)]
    if not items:
        left = "; ".join(f"{count} left out: {why}" for why, count in chosen.left_out.items())
        advice = "`stagehook pipeline list` with the same filters shows what there is"
        raise CommandError("no run matches" + (f" ({left})" if left else ""), advice, Exit.NOT_FOUND)
    return BulkPlan(_request(options, target, len(items)), target, items, chosen.total, chosen.left_out, is_cut)


def _request(options: BulkOptions, target: Target, items: int) -> BulkRequest:
    return BulkRequest(
        version=STATE_VERSION,
        id=uuid.uuid4().hex,
        action=options.action,
        reason=options.reason,
        actor=options.actor or os_user(),
        filters=options.filters,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        address=target.address,
        namespace=target.namespace,
        items=items,
        duration=options.duration,
        stage=options.stage,
    )


async def _choose(runs: Runs, options: BulkOptions) -> tuple[Chosen, bool]:
    where, limit, watch = options.where, options.limit, partial(progress_bar, "looking at runs")
    if options.action == "resume":
        return await choose_ended_runs(runs, where, options.failed, limit=limit, watch=watch)
    with_stages = options.action in STAGE_ACTIONS or where.is_of_stages
    return await choose_open_runs(runs, where, limit=limit, with_stages=with_stages, watch=watch), False


def _each_stage(run: ChosenRun) -> Iterator[ChosenRun]:
    for stage in run.stages:
        yield replace(run, stages=[stage])


def plan_of_rest(state: BulkState, options: BulkOptions, target: Target) -> BulkPlan:
    """The plan of what a state file has left; raises `CommandError` if what is asked or where differs."""
    request = state.request
    _check(request.action, request.duration, request.actor, request.reason)
    asked = {
        "action": (options.action, request.action),
        "reason": (options.reason, request.reason),
        "actor": (options.actor, request.actor),
        "duration": (options.duration, request.duration),
        "stage": (options.stage, request.stage),
        "filters": (options.filters, request.filters),
    }
    for name, (now, then) in asked.items():
        if now and now != then:
            what = f"{options.begun} was begun with the {name} {_said(then)}, not {_said(now)}"
            raise CommandError(what, "give only --resume FILE and the action with which it was begun", Exit.USAGE)
    if request.namespace != target.namespace:
        what = f"{options.begun} is for the namespace {request.namespace} at {request.address}, not {target.namespace}"
        raise CommandError(what, "set TEMPORAL_NAMESPACE and TEMPORAL_ADDRESS as they were", Exit.USAGE)
    return BulkPlan(request, target, state.left[: options.limit], len(state.left))


def _said(value: object) -> str:
    if not isinstance(value, Mapping):
        return repr(value)
    words = (f"--{name.replace('_', '-')}" + ("" if one is True else f" {one}") for name, one in value.items())
    return " ".join(words) or "none"
