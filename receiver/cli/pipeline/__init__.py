"""`stagehook pipeline`: start, look at, advance and cancel runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import click
from rich.live import Live

from activities.client import connect
from activities.runs import ProgressUnknown, Runs, call_trouble, status_name
from activities.settings import DEFAULT_TASK_QUEUE
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import (
    console,
    json_option,
    live_table,
    note,
    print_json,
    print_list,
    read_json_object,
    run_async,
    say,
)
from receiver.cli.pipeline.stage_table import changes, stage_notes, stage_table
from receiver.cli.pipeline.watching import Look, looks
from receiver.cli.terminal import printable
from workflows.pipelines import PIPELINES

GOOD: Final = ("running", "completed")


@click.group()
def pipeline() -> None:
    """Runs of pipelines."""


async def _runs() -> Runs:
    return Runs(await connect(os.environ))


@pipeline.command()
@click.argument("name")
@click.option("--id", "workflow_id", default="", help="The run's workflow id; a new one by default.")
@click.option("--input", "given", default="{}", metavar="JSON|@FILE|-", help="The run's input, a JSON object.")
@click.option("--wait", is_flag=True, help="Wait for the end; exits 3 if the run failed.")
@json_option
@run_async
async def start(name: str, workflow_id: str, given: str, *, wait: bool, as_json: bool) -> int:
    """Start a run of the pipeline NAME."""
    definition = PIPELINES.get(name)
    if definition is None:
        raise CommandError(f"no pipeline is named {name}", f"use one of {', '.join(PIPELINES)}", Exit.NOT_FOUND)
    data = read_json_object("--input", given)
    task_queue = os.environ.get("TASK_QUEUE", "").strip() or DEFAULT_TASK_QUEUE
    runs = await _runs()
    handle = await runs.start(definition, data, task_queue=task_queue, workflow_id=workflow_id)
    started = {"pipeline": name, "workflow_id": handle.id, "run_id": handle.first_execution_run_id}
    if not wait:
        _print(started, handle.id, as_json=as_json)
        return Exit.OK
    note(f"started {handle.id}")
    status, result, error = await runs.end(handle)
    ended = {**started, "status": status, "error": error, "outcomes": result.outcomes if result else {}}
    _print(ended, f"{handle.id} {status}" + (f": {error}" if error else ""), as_json=as_json)
    return Exit.OK if status == "completed" else Exit.RUN_FAILED


@pipeline.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@json_option
@run_async
async def list_runs(limit: int, *, as_json: bool) -> None:
    """List the latest runs."""
    runs = await (await _runs()).list(limit=limit)
    if as_json:
        print_json(runs)
    elif runs:
        rows = [(run.workflow_id, run.pipeline, run.status, f"{run.started_at:%Y-%m-%d %H:%M:%S}") for run in runs]
        print_list(("id", "pipeline", "status", "started (UTC)"), rows, below=("started (UTC)", "status"))
    else:
        note("no runs yet: start one with `stagehook pipeline start onboarding`")


@pipeline.command()
@click.argument("workflow_id", metavar="ID")
@json_option
@run_async
async def show(workflow_id: str, *, as_json: bool) -> None:
    """Show the run ID: every stage with its state, attempts, deadline, outcome and cause."""
    runs = await _runs()
    described = await runs.describe(workflow_id)
    head = {
        "workflow_id": workflow_id,
        "run_id": described.run_id,
        "status": status_name(described.status),
        "started_at": described.start_time,
        "closed_at": described.close_time,
        "failure": "" if status_name(described.status) in GOOD else await runs.failure(workflow_id),
        "trouble": list(call_trouble(described)),
    }
    try:
        progress = await runs.progress(workflow_id)
    except ProgressUnknown:
        # What Temporal knows by itself is still worth showing.
        failure = f": {head['failure']}" if head["failure"] else ""
        _print({**head, "progress": None}, f"{workflow_id} {head['status']}{failure}", as_json=as_json)
        raise
    if as_json:
        print_json({**head, "progress": progress})
        return
    console().print(stage_table(progress, f"{progress.pipeline} {workflow_id}: {head['status']}"))
    for line in (*stage_notes(progress), *described_notes(head)):
        say(printable(line))


@pipeline.command()
@click.argument("workflow_id", metavar="ID")
@json_option
@run_async
async def watch(workflow_id: str, *, as_json: bool) -> int:
    """Follow the run ID until it ends; exits 3 if it failed. With --json, a line for every change.

    In JSON, "progress" is null where the run does not say how its stages stand.
    """
    runs = await _runs()
    told, status = "", ""
    with live_table(wanted=not as_json) as live:
        show_look = _printer(workflow_id, live, as_json=as_json)
        async for look in looks(runs, workflow_id):
            status = look.status
            if look.trouble not in {"", told}:
                told = look.trouble
                note(printable(f"{told}; following its status"))
            show_look(look)
    failure = "" if status in GOOD else await runs.failure(workflow_id)
    note(printable(f"{workflow_id} {status}" + (f": {failure}" if failure else "")))
    return Exit.OK if status == "completed" else Exit.RUN_FAILED


def _printer(workflow_id: str, live: Live | None, *, as_json: bool) -> Callable[[Look], None]:
    """What prints each look: JSON on a line for every change, a table that is drawn again, or text for each change."""
    before: Look | None = None

    def show_look(look: Look) -> None:
        nonlocal before
        if before and before.status == look.status and look.progress in (None, before.progress):
            return
        if as_json:
            print_json({"status": look.status, "progress": look.progress}, indent=None)
        elif look.progress is None:
            return
        elif live is not None:
            title = f"{look.progress.pipeline} {workflow_id}: {look.status}"
            live.update(stage_table(look.progress, title), refresh=True)
        else:
            for line in changes(before.progress if before else None, look.progress):
                say(line)
        before = look

    return show_look


@pipeline.command()
@click.argument("workflow_id", metavar="ID")
@click.argument("stage", type=int)
@run_async
async def advance(workflow_id: str, stage: int) -> None:
    """End every wait of the run ID up to stage number STAGE, by hand.

    Partners of later stages up to STAGE are still called, but not waited for.
    """
    await (await _runs()).advance(workflow_id, stage)
    note(f"sent: the waits of {workflow_id} up to stage {stage} are over")


@pipeline.command()
@click.argument("workflow_id", metavar="ID")
@run_async
async def cancel(workflow_id: str) -> None:
    """Cancel the run ID."""
    await (await _runs()).cancel(workflow_id)
    note(f"sent: {workflow_id} is asked to end")


def described_notes(head: Mapping[str, Any]) -> list[str]:
    """What Temporal itself knows and the workflow does not: why the run failed, and what its open call fails with."""
    return [*([f"failed: {head['failure']}"] if head["failure"] else []), *head["trouble"]]


def _print(value: Any, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        say(printable(text))
